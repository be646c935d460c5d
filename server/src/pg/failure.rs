//! How the handling of a message can fail.

use sql::SqlError;

use super::wire::WireError;

/// What became of a message that could not be handled.
#[derive(Debug)]
pub(super) enum Failure {
    /// The client is told, and the session goes on.
    Error(SqlError),
    /// The client is told, and the connection closes.
    Fatal(SqlError),
    /// There is nobody left to tell.
    Gone,
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self::Error(error)
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Gone => Self::Gone,
            WireError::Protocol(message) => Self::Fatal(super::frontend::violation(message)),
        }
    }
}
