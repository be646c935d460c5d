//! Questions to a Kafka cluster that must not block the reader: a topic's id and partitions, and their offsets.
//!
//! Each question goes out at once and its answer is taken from a queue of its own whenever the reader has a moment.
//! The safe client offers neither the topic's id, without which a topic deleted and created again looks the same, nor
//! a question that does not block; hence the native calls here.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_resp_err_t as code;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::error::{Error, Result};
use crate::source::kafka_client::ClientEvents;
use crate::source::kafka_options::Isolation;

// The bindings give these the type of a Rust enum, which a code newer than the bindings would make undefined. In C they
// are plain ints.
unsafe extern "C" {
    #[link_name = "rd_kafka_event_error"]
    fn event_error_code(event: *mut native::rd_kafka_event_t) -> c_int;
    #[link_name = "rd_kafka_error_code"]
    fn error_code(error: *const native::rd_kafka_error_t) -> c_int;
}

/// A topic's identity; a topic created again under the same name has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) struct TopicId(i64, i64);

/// A topic as the cluster describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Topic {
    /// Its identity, from brokers that know of one.
    pub(in crate::source) id: Option<TopicId>,
    /// Its partitions.
    pub(in crate::source) partitions: Vec<i32>,
    /// Those of them that no broker leads at the moment.
    pub(in crate::source) leaderless: Vec<i32>,
    /// The brokers that lead the others.
    pub(in crate::source) brokers: Vec<i32>,
}

/// Which offset of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum OffsetOf {
    /// The oldest record kept.
    Start,
    /// The end of what the isolation lets a reader see.
    End,
    /// The first record at or after this time, ms since the Unix epoch; -1 if there is none.
    Time(i64),
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct LookupError {
    code: c_int,
    /// In the client's words.
    pub(in crate::source) reason: String,
}

impl LookupError {
    fn is(&self, codes: &[code]) -> bool {
        codes.iter().any(|code| *code as c_int == self.code)
    }

    pub(in crate::source) fn is_unknown_topic(&self) -> bool {
        self.is(&[code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC])
    }

    pub(in crate::source) fn is_not_allowed(&self) -> bool {
        self.is(&[
            code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
        ])
    }

    pub(in crate::source) fn is_timeout(&self) -> bool {
        self.is(&[code::RD_KAFKA_RESP_ERR__TIMED_OUT, code::RD_KAFKA_RESP_ERR__TRANSPORT])
    }

    /// True for what goes away by itself: a partition just created, or between two leaders.
    pub(in crate::source) fn is_passing(&self) -> bool {
        self.is(&[
            code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
            code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            code::RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
            code::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
            code::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
            code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
            code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
            code::RD_KAFKA_RESP_ERR__TRANSPORT,
        ])
    }
}

/// What a question brought.
#[derive(Debug)]
pub(in crate::source) enum Answer {
    /// From [`TopicLookup::describe`].
    Topic(Result<Topic, LookupError>),
    /// From [`TopicLookup::offsets`]: the question's own trouble, or each partition's offset or trouble.
    Offsets(Result<ListedOffsets, LookupError>),
}

/// One partition and its offset, or its trouble, for each asked for.
pub(in crate::source) type ListedOffsets = Vec<Result<(i32, i64), LookupError>>;

/// Tells which question an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) struct Ticket(usize);

/// Sends questions and takes answers.
pub(in crate::source) struct TopicLookup {
    asked: AtomicUsize,
    queue: NonNull<native::rd_kafka_queue_t>,
    consumer: Arc<BaseConsumer<ClientEvents>>,
}

// SAFETY: librdkafka's queues may be used from any thread, and the client outlives the queue (see `drop`).
unsafe impl Send for TopicLookup {}

impl TopicLookup {
    pub(in crate::source) fn new(consumer: Arc<BaseConsumer<ClientEvents>>) -> Result<Self> {
        // SAFETY: the client is alive.
        let queue = unsafe { native::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).ok_or_else(|| Error::internal("the Kafka client gave no queue"))?;
        Ok(Self { asked: AtomicUsize::new(0), queue, consumer })
    }

    /// Asks `broker`, or the cluster's controller, what `topic` is. Never creates it.
    pub(in crate::source) fn describe(&self, topic: &str, broker: Option<i32>, timeout: Duration) -> Result<Ticket> {
        let topic = c_name(topic)?;
        let mut names: [*const c_char; 1] = [topic.as_ptr()];
        let options = Options::new(self.client(), native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS)?;
        let ticket = self.next_ticket(&options);
        options.set_timeout(timeout)?;
        if let Some(broker) = broker {
            options.set_broker(broker)?;
        }
        // SAFETY: names, options and queue are alive during the calls, which copy what they keep; the collection is
        // destroyed once, here.
        unsafe {
            let topics = native::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            native::rd_kafka_DescribeTopics(self.client(), topics, options.0.as_ptr(), self.queue.as_ptr());
            native::rd_kafka_TopicCollection_destroy(topics);
        }
        Ok(ticket)
    }

    /// Asks for one offset of each of `partitions`, as a reader of `isolation` sees them.
    pub(in crate::source) fn offsets(
        &self,
        topic: &str,
        partitions: &[i32],
        what: OffsetOf,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Ticket> {
        let topic = c_name(topic)?;
        let spec = match what {
            OffsetOf::Start => native::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64,
            OffsetOf::End => native::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64,
            OffsetOf::Time(millis) => millis.max(0),
        };
        let options = Options::new(self.client(), native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS)?;
        let ticket = self.next_ticket(&options);
        options.set_timeout(timeout)?;
        options.set_isolation(isolation)?;
        let count = c_int::try_from(partitions.len()).map_err(|_| Error::internal("too many partitions"))?;
        // SAFETY: the list and the options are alive during the call, which copies what it keeps; `add` returns a
        // pointer into the list, valid until the next `add`; the list is destroyed once, here.
        unsafe {
            let list = native::rd_kafka_topic_partition_list_new(count);
            for partition in partitions {
                (*native::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), *partition)).offset = spec;
            }
            native::rd_kafka_ListOffsets(self.client(), list, options.0.as_ptr(), self.queue.as_ptr());
            native::rd_kafka_topic_partition_list_destroy(list);
        }
        Ok(ticket)
    }

    /// The next answer, if one comes within `wait`, and to which question.
    pub(in crate::source) fn answer(&self, wait: Duration) -> Result<Option<(Ticket, Answer)>> {
        // SAFETY: the queue is alive; the event is ours until destroyed by `Event`'s drop.
        let event = unsafe { native::rd_kafka_queue_poll(self.queue.as_ptr(), super::consume_batch::millis(wait)) };
        let Some(event) = NonNull::new(event).map(Event) else { return Ok(None) };
        // SAFETY: the event is alive. Each result belongs to it and is read only while it lives; the type checked first
        // is what the result functions require.
        let answer = unsafe {
            match native::rd_kafka_event_type(event.0.as_ptr()) {
                native::RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT => {
                    Answer::Topic(event.checked().and_then(|()| described(&event)))
                }
                native::RD_KAFKA_EVENT_LISTOFFSETS_RESULT => {
                    Answer::Offsets(event.checked().map(|()| offsets_listed(&event)))
                }
                other => {
                    return Err(Error::internal(format!("the Kafka client answered with an event of type {other}")));
                }
            }
        };
        // SAFETY: the event is alive; the pointer is the number `next_ticket` gave and is never followed.
        let ticket = Ticket(unsafe { native::rd_kafka_event_opaque(event.0.as_ptr()) }.addr());
        Ok(Some((ticket, answer)))
    }

    fn next_ticket(&self, options: &Options) -> Ticket {
        let ticket = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        // SAFETY: the options are alive; librdkafka carries the pointer along without following it.
        unsafe { native::rd_kafka_AdminOptions_set_opaque(options.0.as_ptr(), ptr::without_provenance_mut(ticket)) };
        Ticket(ticket)
    }

    fn client(&self) -> *mut native::rd_kafka_t {
        self.consumer.client().native_ptr()
    }
}

impl Drop for TopicLookup {
    fn drop(&mut self) {
        // SAFETY: created by `new`, destroyed once; `consumer`, whose client the queue belongs to, is dropped after.
        unsafe { native::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// Reads the one topic of a DescribeTopics answer.
///
/// # Safety
/// `event` must be a DescribeTopics result without error.
unsafe fn described(event: &Event) -> Result<Topic, LookupError> {
    // SAFETY: the caller's promise; everything read here belongs to the event, which outlives this call, and the arrays
    // hold as many elements as the calls say.
    unsafe {
        let result = native::rd_kafka_event_DescribeTopics_result(event.0.as_ptr());
        let mut count = 0;
        let topics = native::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let Some(topic) = elements(topics, count).first().copied() else {
            return Err(LookupError { code: 0, reason: "the broker's answer names no topic".to_owned() });
        };
        let error = native::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() && error_code(error) != 0 {
            return Err(LookupError { code: error_code(error), reason: text(native::rd_kafka_error_string(error)) });
        }
        let id = native::rd_kafka_TopicDescription_topic_id(topic);
        let id =
            TopicId(native::rd_kafka_Uuid_most_significant_bits(id), native::rd_kafka_Uuid_least_significant_bits(id));
        let mut described = Topic {
            id: (id != TopicId(0, 0)).then_some(id),
            partitions: Vec::new(),
            leaderless: Vec::new(),
            brokers: Vec::new(),
        };
        let partitions = native::rd_kafka_TopicDescription_partitions(topic, &mut count);
        for partition in elements(partitions, count) {
            let number = native::rd_kafka_TopicPartitionInfo_partition(*partition);
            described.partitions.push(number);
            let leader = native::rd_kafka_TopicPartitionInfo_leader(*partition);
            if leader.is_null() {
                described.leaderless.push(number);
            } else {
                described.brokers.push(native::rd_kafka_Node_id(leader));
            }
        }
        described.brokers.sort_unstable();
        described.brokers.dedup();
        described.partitions.sort_unstable();
        Ok(described)
    }
}

/// Reads a ListOffsets answer.
///
/// # Safety
/// `event` must be a ListOffsets result without error.
unsafe fn offsets_listed(event: &Event) -> ListedOffsets {
    // SAFETY: as in `described`. The error code is read as the int it is in C.
    unsafe {
        let result = native::rd_kafka_event_ListOffsets_result(event.0.as_ptr());
        let mut count = 0;
        let infos = native::rd_kafka_ListOffsets_result_infos(result, &mut count);
        let one = |info: &*const native::rd_kafka_ListOffsetsResultInfo_t| {
            let partition = native::rd_kafka_ListOffsetsResultInfo_topic_partition(*info);
            match ptr::addr_of!((*partition).err).cast::<c_int>().read() {
                0 => Ok(((*partition).partition, (*partition).offset)),
                code => {
                    Err(LookupError { code, reason: format!("partition {}: {}", (*partition).partition, name(code)) })
                }
            }
        };
        elements(infos, count).iter().map(one).collect()
    }
}

/// An event taken from a queue.
struct Event(NonNull<native::rd_kafka_event_t>);

impl Event {
    /// The error the whole answer carries, if any.
    fn checked(&self) -> Result<(), LookupError> {
        // SAFETY: the event is alive; its error text belongs to it and is copied.
        unsafe {
            match event_error_code(self.0.as_ptr()) {
                0 => Ok(()),
                code => Err(LookupError { code, reason: text(native::rd_kafka_event_error_string(self.0.as_ptr())) }),
            }
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: taken from a queue, destroyed once.
        unsafe { native::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

/// Sets one number among a question's options, or says why not in a buffer of the given size.
type NumberSetter = unsafe extern "C" fn(
    *mut native::rd_kafka_AdminOptions_t,
    c_int,
    *mut c_char,
    usize,
) -> native::rd_kafka_resp_err_t;

/// The options of one question.
struct Options(NonNull<native::rd_kafka_AdminOptions_t>);

impl Options {
    fn new(client: *mut native::rd_kafka_t, question: native::rd_kafka_admin_op_t) -> Result<Self> {
        // SAFETY: the client is alive.
        let options = unsafe { native::rd_kafka_AdminOptions_new(client, question) };
        NonNull::new(options).map(Self).ok_or_else(|| Error::internal("the Kafka client gave no options"))
    }

    fn set_timeout(&self, timeout: Duration) -> Result<()> {
        let millis = super::consume_batch::millis(timeout);
        self.set(native::rd_kafka_AdminOptions_set_request_timeout, millis, "a request timeout")
    }

    fn set_broker(&self, broker: i32) -> Result<()> {
        self.set(native::rd_kafka_AdminOptions_set_broker, broker, "a broker to ask")
    }

    fn set(&self, setter: NumberSetter, number: c_int, what: &str) -> Result<()> {
        let mut reason = [0 as c_char; 256];
        // SAFETY: the options are alive; at most `reason.len()` bytes are written, with the final NUL.
        unsafe {
            match setter(self.0.as_ptr(), number, reason.as_mut_ptr(), reason.len()) {
                code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
                _ => Err(Error::internal(format!("{what} of {number}: {}", text(reason.as_ptr())))),
            }
        }
    }

    fn set_isolation(&self, isolation: Isolation) -> Result<()> {
        use native::rd_kafka_IsolationLevel_t as level;
        let level = match isolation {
            Isolation::ReadCommitted => level::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
            Isolation::ReadUncommitted => level::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        };
        // SAFETY: the options are alive; an error returned is ours to destroy.
        unsafe {
            let error = native::rd_kafka_AdminOptions_set_isolation_level(self.0.as_ptr(), level);
            if error.is_null() {
                return Ok(());
            }
            let reason = text(native::rd_kafka_error_string(error));
            native::rd_kafka_error_destroy(error);
            Err(Error::internal(format!("an isolation level for offsets: {reason}")))
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: created by `new`, destroyed once.
        unsafe { native::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) }
    }
}

/// The elements of a C array that may be null when empty.
///
/// # Safety
/// `first` must point to `count` elements that live as long as the slice is used, unless `count` is 0.
unsafe fn elements<'a, T>(first: *mut *const T, count: usize) -> &'a [*const T] {
    // SAFETY: the caller's promise.
    if first.is_null() { &[] } else { unsafe { std::slice::from_raw_parts(first, count) } }
}

/// A C string, copied.
///
/// # Safety
/// `text` must be null or end in a NUL.
pub(in crate::source) unsafe fn text(text: *const c_char) -> String {
    // SAFETY: the caller's promise.
    if text.is_null() { String::new() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() }
}

/// An error code in words.
pub(in crate::source) fn name(number: c_int) -> String {
    // SAFETY: every known code has a static string.
    code::try_from(number)
        .map_or_else(|_| format!("error {number}"), |code| unsafe { text(native::rd_kafka_err2str(code)) })
}

/// A topic's name for C.
pub(in crate::source) fn c_name(topic: &str) -> Result<CString> {
    CString::new(topic).map_err(|_| Error::input("a topic's name holds a NUL"))
}
