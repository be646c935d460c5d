//! The server: the only crate that listens. It owns no rule about data.
