//! Errors as Postgres reports them: SQLSTATE, message, detail, hint and the position in the statement's text.

use std::error::Error as _;
use std::fmt;

use arrow::error::ArrowError;
use datafusion::sql::sqlparser::tokenizer::Span;
use engine::{Error, ErrorKind};

use crate::diagnosis;

/// A five-character SQLSTATE (PostgreSQL documentation, appendix A).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState(pub &'static str);

#[allow(missing_docs)]
impl SqlState {
    pub const SYNTAX_ERROR: Self = Self("42601");
    pub const UNDEFINED_TABLE: Self = Self("42P01");
    pub const UNDEFINED_COLUMN: Self = Self("42703");
    pub const UNDEFINED_FUNCTION: Self = Self("42883");
    pub const UNDEFINED_OBJECT: Self = Self("42704");
    pub const UNDEFINED_SCHEMA: Self = Self("3F000");
    pub const UNDEFINED_DATABASE: Self = Self("3D000");
    pub const DUPLICATE_TABLE: Self = Self("42P07");
    pub const DUPLICATE_COLUMN: Self = Self("42701");
    pub const AMBIGUOUS_COLUMN: Self = Self("42702");
    pub const GROUPING_ERROR: Self = Self("42803");
    pub const DATATYPE_MISMATCH: Self = Self("42804");
    pub const WRONG_OBJECT_TYPE: Self = Self("42809");
    pub const INDETERMINATE_DATATYPE: Self = Self("42P18");
    pub const INVALID_PARAMETER_VALUE: Self = Self("22023");
    pub const NULL_VALUE_NOT_ALLOWED: Self = Self("22004");
    pub const INVALID_ESCAPE_SEQUENCE: Self = Self("22025");
    pub const INVALID_TEXT_REPRESENTATION: Self = Self("22P02");
    pub const NUMERIC_VALUE_OUT_OF_RANGE: Self = Self("22003");
    pub const DIVISION_BY_ZERO: Self = Self("22012");
    pub const INVALID_DATETIME_FORMAT: Self = Self("22007");
    pub const DATETIME_FIELD_OVERFLOW: Self = Self("22008");
    pub const INTERVAL_FIELD_OVERFLOW: Self = Self("22015");
    pub const INVALID_ROW_COUNT_IN_LIMIT: Self = Self("2201W");
    pub const INVALID_ROW_COUNT_IN_OFFSET: Self = Self("2201X");
    pub const DUPLICATE_ALIAS: Self = Self("42712");
    pub const INVALID_COLUMN_REFERENCE: Self = Self("42P10");
    pub const INVALID_NAME: Self = Self("42602");
    pub const NAME_TOO_LONG: Self = Self("42622");
    pub const UNDEFINED_PARAMETER: Self = Self("42P02");
    pub const WINDOWING_ERROR: Self = Self("42P20");
    pub const INVALID_OBJECT_DEFINITION: Self = Self("42P17");
    pub const INVALID_TABLE_DEFINITION: Self = Self("42P16");
    pub const CANNOT_COERCE: Self = Self("42846");
    pub const CARDINALITY_VIOLATION: Self = Self("21000");
    pub const FEATURE_NOT_SUPPORTED: Self = Self("0A000");
    pub const DEPENDENT_OBJECTS_STILL_EXIST: Self = Self("2BP01");
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: Self = Self("55000");
    pub const CONNECTION_FAILURE: Self = Self("08006");
    pub const PROTOCOL_VIOLATION: Self = Self("08P01");
    pub const BAD_COPY_FILE_FORMAT: Self = Self("22P04");
    pub const PROGRAM_LIMIT_EXCEEDED: Self = Self("54000");
    pub const STATEMENT_TOO_COMPLEX: Self = Self("54001");
    pub const CONFIGURATION_LIMIT_EXCEEDED: Self = Self("53400");
    pub const QUERY_CANCELED: Self = Self("57014");
    pub const CANNOT_CONNECT_NOW: Self = Self("57P03");
    pub const OUT_OF_MEMORY: Self = Self("53200");
    pub const UNIQUE_VIOLATION: Self = Self("23505");
    pub const NOT_NULL_VIOLATION: Self = Self("23502");
    pub const SERIALIZATION_FAILURE: Self = Self("40001");
    pub const READ_ONLY_SQL_TRANSACTION: Self = Self("25006");
    pub const INTERNAL_ERROR: Self = Self("XX000");
}

/// An error a client sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// The SQLSTATE.
    pub state: SqlState,
    /// One line, lower case, no full stop, as Postgres writes them.
    pub message: String,
    /// More about what is wrong.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// 1-based character (not byte) position in the statement's text.
    pub position: Option<usize>,
}

impl SqlError {
    /// An error with a state and a message.
    pub fn new(state: SqlState, message: impl Into<String>) -> Self {
        Self { state, message: message.into(), detail: None, hint: None, position: None }
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the 1-based character position.
    #[must_use]
    pub fn at(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }

    /// A refusal by name: 0A000.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(SqlState::FEATURE_NOT_SUPPORTED, message)
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.state.0, self.message)
    }
}

impl std::error::Error for SqlError {}

impl From<Error> for SqlError {
    fn from(error: Error) -> Self {
        let state = match error.kind() {
            ErrorKind::Data => {
                // What a record's values did to an expression, in Arrow's words.
                let message = error.to_string();
                if let Some(cause) = error.source().and_then(|cause| cause.source().or(Some(cause)))
                    && cause.downcast_ref::<ArrowError>().is_some()
                {
                    return Self::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range").detail(message);
                }
                return match message.strip_prefix("Arrow error: ") {
                    Some(message) => diagnosis::value_error(message),
                    None => Self::new(SqlState::INVALID_TEXT_REPRESENTATION, message),
                };
            }
            ErrorKind::Input => SqlState::INVALID_PARAMETER_VALUE,
            ErrorKind::Unsupported => SqlState::FEATURE_NOT_SUPPORTED,
            ErrorKind::Unavailable => SqlState::CONNECTION_FAILURE,
            ErrorKind::Conflict => SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
            ErrorKind::Limit => SqlState::CONFIGURATION_LIMIT_EXCEEDED,
            ErrorKind::Cancelled => SqlState::QUERY_CANCELED,
            ErrorKind::Fenced => SqlState::CANNOT_CONNECT_NOW,
            ErrorKind::Internal => SqlState::INTERNAL_ERROR,
        };
        Self::new(state, error.to_string())
    }
}

/// An error with the place in the tree it concerns, on its way through DataFusion to where the text is known.
#[derive(Debug)]
pub(crate) struct Located {
    /// The error, its position not set yet.
    pub error: Box<SqlError>,
    /// The place; empty if there is none.
    pub span: Span,
}

impl Located {
    /// `error`, at `span`.
    pub fn new(error: SqlError, span: Span) -> Self {
        Self { error: Box::new(error), span }
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Located {}

/// An error about a literal, on its way through DataFusion, which keeps no places of literals, to where the text is known.
#[derive(Debug)]
pub(crate) struct AboutLiteral {
    /// The error, its position not set yet.
    pub error: Box<SqlError>,
    /// The literal's value.
    pub literal: String,
}

impl fmt::Display for AboutLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for AboutLiteral {}
