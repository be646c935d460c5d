//! The one module with unsafe code: calls into librdkafka that its safe client does not offer.
//!
//! [`consume_batch`] takes many records a call, borrowed from the client's buffers; [`topic_lookup`] asks for a topic's
//! id, partitions and offsets without blocking. Every block says why it is sound; nothing else in the engine may be unsafe.
#![allow(unsafe_code)]

pub(super) mod consume_batch;
pub(super) mod topic_lookup;
