//! Records out of librdkafka, many at a time and borrowed from its own buffers.
//!
//! The safe client hands out one message a call, each behind an event and a reference count. Here one native call
//! fills a reused array with the messages that wait in the consumer's queue; a [`Message`] reads a message's fields in
//! place and gives it back when dropped. Partitions are started one by one at exact offsets, without a consumer group:
//! no coordinator is asked, nothing is committed, nobody can take a partition away.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::bindings::rd_kafka_resp_err_t as code;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::topic_lookup::{c_name, text};
use crate::error::{Error, Result};
use crate::source::kafka_client::ClientEvents;
use crate::source::{RawRecord, ReadHeaders};

/// Reads chosen partitions of one topic.
pub(in crate::source) struct BatchConsumer {
    /// Taken and not yet given back. Filled by the client up to `len`, reused for every batch.
    messages: Vec<Message>,
    started: Vec<i32>,
    queue: NonNull<native::rd_kafka_queue_t>,
    topic: NonNull<native::rd_kafka_topic_t>,
    topic_name: CString,
    consumer: Arc<BaseConsumer<ClientEvents>>,
}

// SAFETY: librdkafka's handles and messages may be used from any thread; `&mut self` keeps to one at a time.
unsafe impl Send for BatchConsumer {}

impl BatchConsumer {
    /// A reader of no partition yet.
    pub(in crate::source) fn new(consumer: Arc<BaseConsumer<ClientEvents>>, topic: &str) -> Result<Self> {
        let topic_name = c_name(topic)?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client is alive and the name ends in a NUL; a null configuration stands for the client's own.
        let (topic, queue) = unsafe {
            let topic = native::rd_kafka_topic_new(client, topic_name.as_ptr(), ptr::null_mut());
            (NonNull::new(topic), native::rd_kafka_queue_new(client))
        };
        let topic = topic.ok_or_else(|| Error::internal("the Kafka client gave no topic handle"))?;
        let queue = NonNull::new(queue).ok_or_else(|| Error::internal("the Kafka client gave no queue"))?;
        Ok(Self { messages: Vec::new(), started: Vec::new(), queue, topic, topic_name, consumer })
    }

    /// Starts to fetch `partition` from `offset` on.
    pub(in crate::source) fn start(&mut self, partition: i32, offset: i64) -> Result<()> {
        // SAFETY: topic and queue are alive.
        let status = unsafe {
            native::rd_kafka_consume_start_queue(self.topic.as_ptr(), partition, offset, self.queue.as_ptr())
        };
        if status != 0 {
            return Err(Error::internal(format!("the Kafka client will not read partition {partition} from {offset}")));
        }
        self.started.push(partition);
        Ok(())
    }

    /// Takes the messages that wait, `max` at most; if none does, waits for the first.
    /// What was taken before is given back.
    pub(in crate::source) fn take(&mut self, max: usize, wait: Duration) -> &[Message] {
        self.messages.clear();
        self.fill(max, Duration::ZERO);
        if self.messages.is_empty() && !wait.is_zero() {
            // The native call waits until its array is full or the time is over, so it is asked for one message.
            self.fill(1, wait);
            if !self.messages.is_empty() {
                self.fill(max - 1, Duration::ZERO);
            }
        }
        &self.messages
    }

    /// Gives the messages taken back.
    pub(in crate::source) fn release(&mut self) {
        self.messages.clear();
    }

    fn fill(&mut self, max: usize, wait: Duration) {
        self.messages.reserve(max);
        let room = self.messages.spare_capacity_mut();
        // SAFETY: the queue is alive, and `room` holds at least `max` slots. `Message` is a transparent wrapper of the
        // non-null pointer the call stores in each of the slots it counts.
        unsafe {
            let slots = room.as_mut_ptr().cast::<*mut native::rd_kafka_message_t>();
            let count = native::rd_kafka_consume_batch_queue(self.queue.as_ptr(), millis(wait), slots, max);
            self.messages.set_len(self.messages.len() + usize::try_from(count).unwrap_or(0));
        }
    }

    /// The log's start and high watermark as the last fetch of `partition` told them; `None` before any word.
    pub(in crate::source) fn watermarks(&self, partition: i32) -> (Option<i64>, Option<i64>) {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the client is alive, the name ends in a NUL; both numbers are written before the call returns. On
        // error they stay as they are.
        let _ = unsafe {
            let client = self.consumer.client().native_ptr();
            native::rd_kafka_get_watermark_offsets(client, self.topic_name.as_ptr(), partition, &mut low, &mut high)
        };
        let known = |offset: i64| (offset >= 0).then_some(offset);
        (known(low), known(high))
    }
}

impl Drop for BatchConsumer {
    fn drop(&mut self) {
        // Messages belong to the client, so they go first.
        self.messages.clear();
        // SAFETY: topic and queue were created by `new` and are destroyed once; `consumer` is dropped after.
        unsafe {
            for partition in &self.started {
                native::rd_kafka_consume_stop(self.topic.as_ptr(), *partition);
            }
            native::rd_kafka_queue_destroy(self.queue.as_ptr());
            native::rd_kafka_topic_destroy(self.topic.as_ptr());
        }
    }
}

/// One message of the queue: a record, or word about a partition.
#[repr(transparent)]
pub(in crate::source) struct Message(NonNull<native::rd_kafka_message_t>);

/// What a message is.
#[derive(Debug)]
pub(in crate::source) enum Event<'a> {
    /// A record of the log.
    Record(RawRecord<'a>),
    /// The partition's end stands at this offset, and everything before it was handed out.
    End {
        /// Partition number.
        partition: i32,
        /// The next offset to be read, once there is one.
        offset: i64,
    },
    /// Trouble with the partition.
    Trouble(Trouble),
}

/// Trouble with one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Trouble {
    /// Partition number.
    pub(in crate::source) partition: i32,
    /// The offset concerned; negative where there is none.
    pub(in crate::source) offset: i64,
    /// Of which sort.
    pub(in crate::source) sort: TroubleSort,
    /// In the client's words.
    pub(in crate::source) reason: String,
}

/// Sorts of trouble, by what follows from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum TroubleSort {
    /// The position is not in the log, or the log before it is another now.
    PositionGone,
    /// The records at the offset cannot be read; the client has gone past them.
    Unreadable,
    /// Goes away by itself or with someone's help, and nothing is lost meanwhile.
    Waiting,
}

impl Message {
    /// What the message is.
    pub(in crate::source) fn event(&self) -> Event<'_> {
        let message = self.raw();
        // SAFETY: the field is an int in C; read as one, a code newer than the bindings stays defined.
        let error = unsafe { ptr::addr_of!((*self.0.as_ptr()).err).cast::<c_int>().read() };
        if error == code::RD_KAFKA_RESP_ERR_NO_ERROR as c_int {
            return Event::Record(RawRecord {
                partition: message.partition,
                offset: message.offset,
                timestamp_ms: self.timestamp_ms(),
                key: self.bytes(message.key, message.key_len),
                payload: self.bytes(message.payload, message.len),
                headers: crate::source::Headers(Some(self)),
            });
        }
        if error == code::RD_KAFKA_RESP_ERR__PARTITION_EOF as c_int {
            return Event::End { partition: message.partition, offset: message.offset };
        }
        Event::Trouble(Trouble {
            partition: message.partition,
            offset: message.offset,
            sort: sort_of(error),
            // SAFETY: the text belongs to the message, which is alive, and is copied.
            reason: unsafe { text(native::rd_kafka_message_errstr(self.0.as_ptr())) },
        })
    }

    fn raw(&self) -> &native::rd_kafka_message_t {
        // SAFETY: the message is ours, alive and not written to until dropped. Its `err` is not read through this.
        unsafe { self.0.as_ref() }
    }

    fn bytes(&self, first: *mut c_void, length: usize) -> Option<&[u8]> {
        // SAFETY: a field of the message: null for none, else `length` bytes that live as long as the message.
        (!first.is_null()).then(|| unsafe { std::slice::from_raw_parts(first.cast::<u8>(), length) })
    }

    fn timestamp_ms(&self) -> Option<i64> {
        let mut sort = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive; the call stores one of the enum's three values.
        let millis = unsafe { native::rd_kafka_message_timestamp(self.0.as_ptr(), &mut sort) };
        (sort != native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && millis >= 0).then_some(millis)
    }
}

impl ReadHeaders for Message {
    fn for_each(&self, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive and `Message` is not `Sync`, so nobody else parses its headers now. The headers,
        // their names (with a NUL) and values (`size` bytes, or null) belong to the message.
        unsafe {
            if native::rd_kafka_message_headers(self.0.as_ptr(), &mut headers) != code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            let (mut name, mut value, mut size): (*const c_char, *const c_void, usize) = (ptr::null(), ptr::null(), 0);
            for index in 0.. {
                let status = native::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size);
                if status != code::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return;
                }
                each(&CStr::from_ptr(name).to_string_lossy(), self.bytes(value.cast_mut(), size));
            }
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message is ours and given back once.
        unsafe { native::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// What follows from an error code.
fn sort_of(error: c_int) -> TroubleSort {
    let is = |codes: &[code]| codes.iter().any(|code| *code as c_int == error);
    if is(&[
        code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET,
        code::RD_KAFKA_RESP_ERR__LOG_TRUNCATION,
        code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
    ]) {
        return TroubleSort::PositionGone;
    }
    if is(&[
        code::RD_KAFKA_RESP_ERR__BAD_MSG,
        code::RD_KAFKA_RESP_ERR__BAD_COMPRESSION,
        code::RD_KAFKA_RESP_ERR__UNDERFLOW,
        code::RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED,
    ]) {
        return TroubleSort::Unreadable;
    }
    TroubleSort::Waiting
}

/// A wait as librdkafka takes it: whole milliseconds, rounded up so that a short wait is not a busy one.
pub(in crate::source) fn millis(wait: Duration) -> c_int {
    c_int::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX)
}
