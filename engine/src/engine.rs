//! The handle the server holds.
