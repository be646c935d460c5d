//! One error type for the engine, sorted by who must act.

use std::fmt;

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

impl From<datafusion::error::DataFusionError> for Error {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        use datafusion::error::DataFusionError as D;
        let kind = match error.find_root() {
            D::NotImplemented(_) => ErrorKind::Unsupported,
            D::Plan(_) | D::SchemaError(..) | D::SQL(..) => ErrorKind::Input,
            D::ResourcesExhausted(_) => ErrorKind::Unavailable,
            D::Internal(_) => ErrorKind::Internal,
            _ => ErrorKind::Data,
        };
        Self::new(kind, error.strip_backtrace())
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::new(ErrorKind::Data, error.to_string())
    }
}

impl From<Error> for datafusion::error::DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}
