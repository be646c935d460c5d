//! tick
