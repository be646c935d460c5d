//! Group aggregates.
