//! One error type for the engine, sorted by who must act.

use std::fmt;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who must act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The user mends a definition, an option or a statement.
    Input,
    /// Nobody can maintain this query today; the message names the part that is refused.
    Unsupported,
    /// A record or saved state is not what it should be.
    Data,
    /// Something outside is away; trying again may succeed.
    Unavailable,
    /// The thing exists already, or something still depends on it.
    Conflict,
    /// A limit that the user set was reached; the user raises it, or asks for less.
    Limit,
    /// The caller asked for the work to stop.
    Cancelled,
    /// Another engine has taken over the data; this one must stop.
    Fenced,
    /// A bug of ours.
    Internal,
}

/// An error with its kind, what was being done, and the cause where there is one.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    context: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `context` says what went wrong and names the thing concerned.
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// The user must mend something.
    pub fn input(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, context)
    }

    /// The query, or this part of it, cannot be maintained.
    pub fn unsupported(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, context)
    }

    /// A bug of ours: a state the code says cannot be.
    pub fn internal(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, context)
    }

    /// Something outside is away.
    pub fn unavailable(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, context)
    }

    /// A record or saved state is broken.
    pub fn data(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, context)
    }

    /// The thing exists, or is still needed.
    pub fn conflict(context: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, context)
    }

    /// Keeps `source` as the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Who must act.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What went wrong, without the cause.
    pub fn context(&self) -> &str {
        &self.context
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        use DataFusionError as D;
        let kind = match error.find_root() {
            D::NotImplemented(_) => ErrorKind::Unsupported,
            D::Plan(_) | D::SchemaError(..) | D::SQL(..) => ErrorKind::Input,
            D::ResourcesExhausted(_) => ErrorKind::Unavailable,
            D::Internal(_) => ErrorKind::Internal,
            D::ArrowError(error, _) if !is_of_values(error) => ErrorKind::Internal,
            _ => ErrorKind::Data,
        };
        Self::new(kind, error.strip_backtrace())
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        let kind = if is_of_values(&error) { ErrorKind::Data } else { ErrorKind::Internal };
        Self::new(kind, error.to_string())
    }
}

/// True if Arrow says something of values, and not of how it was called: columns that do not fit their schema, lengths that
/// differ, a batch without a row count. Of invalid arguments it says both, and only the words tell.
pub(crate) fn is_of_values(error: &ArrowError) -> bool {
    const OF_VALUES: [&str; 9] = [
        "too large to store",
        "too small to store",
        "decimal format",
        "Cannot convert",
        "Cannot parse",
        "Can't cast",
        "Cannot cast",
        "overflow",
        "out of range",
    ];
    match error {
        ArrowError::SchemaError(_) => false,
        ArrowError::ComputeError(message) => !message.contains("different length"),
        ArrowError::InvalidArgumentError(message) => {
            let message = message.to_ascii_lowercase();
            OF_VALUES.iter().any(|words| message.contains(&words.to_ascii_lowercase()))
        }
        _ => true,
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int64Array, RecordBatch};
    use arrow::compute::{CastOptions, cast_with_options};
    use arrow::datatypes::{DataType, Schema};

    use super::*;

    #[test]
    fn what_arrow_says_of_a_batch_is_a_bug_of_ours() {
        let no_count = RecordBatch::try_new(Arc::new(Schema::empty()), vec![]).expect_err("no rows are known");
        assert_eq!(Error::from(no_count).kind(), ErrorKind::Internal);
        let no_count = RecordBatch::try_new(Arc::new(Schema::empty()), vec![]).expect_err("no rows are known");
        assert_eq!(Error::from(DataFusionError::from(no_count)).kind(), ErrorKind::Internal);
        let short = arrow::compute::kernels::numeric::add(&Int64Array::from(vec![1]), &Int64Array::from(vec![1, 2]));
        assert_eq!(Error::from(short.expect_err("lengths differ")).kind(), ErrorKind::Internal);
    }

    #[test]
    fn what_arrow_says_of_values_is_of_the_data() {
        let failing = CastOptions { safe: false, ..CastOptions::default() };
        let large = Decimal128Array::from(vec![123_456]).with_precision_and_scale(6, 0).expect("it fits");
        let large = cast_with_options(&large, &DataType::Decimal128(3, 0), &failing).expect_err("too large");
        assert_eq!(Error::from(large).kind(), ErrorKind::Data);
        let text = arrow::array::StringArray::from(vec!["x1"]);
        for to in [DataType::Int64, DataType::Decimal128(5, 2), DataType::Date32] {
            let unread = cast_with_options(&text, &to, &failing).expect_err("no such value");
            assert_eq!(Error::from(unread).kind(), ErrorKind::Data, "{to}");
        }
        let zero = arrow::compute::kernels::numeric::div(&Int64Array::from(vec![1]), &Int64Array::from(vec![0]));
        assert_eq!(Error::from(zero.expect_err("division by zero")).kind(), ErrorKind::Data);
    }
}
