//! A view's budget: how many bytes its operators' state and its rows may take together.
//!
//! It is held against what is counted anyway, at the end of each of the view's ticks, and before anyone sees the tick. A view
//! that is over it fails, alone; what it held is given back. Why it failed is told as text, from which it is known again.

use crate::error::{Error, ErrorKind};

/// What stands between the bytes and the budget.
const OVER: &str = " bytes of memory, and its budget is ";

/// Why a view failed that took `held` bytes.
pub fn exceeded(held: usize, bytes_max: usize) -> String {
    format!("its state and its rows took {held}{OVER}{bytes_max}")
}

/// True if a view failed for this reason, or one that it reads did.
pub fn is_exceeded(failure: &str) -> bool {
    failure.contains(OVER)
}

/// A view's failure as an error.
pub fn failure(message: impl Into<String>) -> Error {
    let message = message.into();
    let kind = if is_exceeded(&message) { ErrorKind::Limit } else { ErrorKind::Data };
    Error::new(kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_known_again() {
        let reason = exceeded(2_000, 1_000);
        assert_eq!(failure(reason.as_str()).kind(), ErrorKind::Limit);
        assert!(is_exceeded(&format!("the materialized view \"a\" that it reads has failed: {reason}")));
        assert_eq!(failure("division by zero").kind(), ErrorKind::Data);
    }
}
