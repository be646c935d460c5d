//! DataFusion's errors as Postgres reports them.
//!
//! In: whatever planning, folding or execution ended with. Out: an [`SqlError`] with Postgres' SQLSTATE and words, and the
//! position where DataFusion kept a place or the text holds the name concerned. An error of ours that travelled through
//! DataFusion comes out as it went in. What is not recognised is told in DataFusion's words.

mod planning;
mod values;
mod words;

use arrow::error::ArrowError;
use datafusion::common::{Column, DataFusionError, SchemaError, Span};
use datafusion::sql::sqlparser::tokenizer::{Location, Span as SqlSpan, Token, TokenWithSpan};

use engine::row_error::Diagnosis;

use self::planning::{known_plan_message, planning};
use self::values::arrow_error;
pub(crate) use self::values::value_error;
use self::words::{clean, lower_first};
use crate::error::{AboutLiteral, Located};
use crate::parser::{Places, tokens};
use crate::{SqlError, SqlState};

const NO_FUNCTION: &str =
    "No function matches the given name and argument types. You might need to add explicit type casts.";
/// What Postgres hints at where no operator takes two types.
pub(crate) const NO_OPERATOR: &str =
    "No operator matches the given name and argument types. You might need to add explicit type casts.";

/// A statement's text, to find places in.
pub(crate) struct Text<'t> {
    places: Places<'t>,
    text: &'t str,
}

impl<'t> Text<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { places: Places::new(text), text }
    }

    fn position(&self, span: SqlSpan) -> Option<usize> {
        (span.start.line > 0).then(|| self.places.character(span.start) + 1)
    }

    /// Where the operator stands first within `span`.
    fn operator(&self, operator: &str, span: SqlSpan) -> Option<usize> {
        let tokens = tokens(self.text);
        let within = tokens.iter().filter(|token| token.span.start >= span.start && token.span.end <= span.end);
        within.clone().find(|token| token.token.to_string() == operator).and_then(|token| self.position(token.span))
    }

    /// Where the string `value` stands first.
    fn literal(&self, value: &str) -> Option<usize> {
        let stands = |token: &&TokenWithSpan| match &token.token {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => text == value,
            Token::DollarQuotedString(text) => text.value == value,
            _ => false,
        };
        tokens(self.text).iter().find(stands).and_then(|token| self.position(token.span))
    }

    /// Where the name `parts` stands first.
    fn find(&self, parts: &[&str]) -> Option<usize> {
        let tokens = tokens(self.text);
        let matches = |at: usize| {
            parts.iter().enumerate().all(|(n, part)| {
                let named = tokens.get(at + 2 * n).is_some_and(|token| is_named(token, part));
                named && (n == 0 || tokens.get(at + 2 * n - 1).is_some_and(|dot| dot.token == Token::Period))
            })
        };
        let qualified = |at: usize| at > 0 && tokens[at - 1].token == Token::Period;
        let found = (0..tokens.len()).find(|at| matches(*at) && !qualified(*at))?;
        self.position(tokens[found].span)
    }
}

fn is_named(token: &TokenWithSpan, name: &str) -> bool {
    match &token.token {
        Token::Word(word) if word.quote_style.is_some() => word.value == name,
        Token::Word(word) => word.value.eq_ignore_ascii_case(name),
        _ => false,
    }
}

/// What a row's failure is called.
pub(crate) fn diagnose(error: DataFusionError) -> Diagnosis {
    let error = SqlError::from(error);
    Diagnosis { sqlstate: error.state.0.to_owned(), message: error.message }
}

impl From<DataFusionError> for SqlError {
    fn from(error: DataFusionError) -> Self {
        sql_error(error, None)
    }
}

/// True if two columns of one list have the same name, which may be mended by naming them.
pub(crate) fn is_duplicate_name(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::SchemaError(error, _) => matches!(
            error.as_ref(),
            SchemaError::DuplicateQualifiedField { .. }
                | SchemaError::DuplicateUnqualifiedField { .. }
                | SchemaError::AmbiguousReference { .. }
        ),
        DataFusionError::Plan(message) => message.contains("require unique expression names"),
        _ => false,
    }
}

/// Translates `error`; `text` is what its places count in.
pub(crate) fn sql_error(error: DataFusionError, text: Option<&Text<'_>>) -> SqlError {
    let mut layers = Layers::default();
    let mut translated = layers.translate(error, text);
    if translated.position.is_none()
        && let (Some(text), Some(span)) = (text, layers.span)
    {
        let operator = translated.message.strip_prefix("operator does not exist: ").and_then(|operation| {
            let operator = operation.split(' ').find(|word| !word.starts_with(|c: char| c.is_alphanumeric()))?;
            text.operator(operator, span)
        });
        translated.position = operator.or_else(|| text.position(span));
    }
    translated
}

/// What is learned on the way to an error's root.
#[derive(Default)]
struct Layers {
    span: Option<SqlSpan>,
}

impl Layers {
    fn translate(&mut self, error: DataFusionError, text: Option<&Text<'_>>) -> SqlError {
        match error {
            DataFusionError::Diagnostic(diagnostic, inner) => {
                if let Some(span) = diagnostic.span {
                    self.span = Some(sql_span(span));
                }
                self.translate(*inner, text)
            }
            DataFusionError::Context(_, inner) => self.translate(*inner, text),
            DataFusionError::Collection(errors) => match errors.into_iter().next() {
                Some(first) => self.translate(first, text),
                None => SqlError::new(SqlState::INTERNAL_ERROR, "an error without a cause"),
            },
            // Shared errors cannot be taken apart; their text can.
            DataFusionError::Shared(inner) => match inner.find_root() {
                DataFusionError::ArrowError(error, _) => arrow_error(error),
                DataFusionError::External(inner) => borrowed(inner.as_ref()),
                root => worded(root, text),
            },
            DataFusionError::External(inner) => match inner.downcast::<Located>() {
                Ok(located) => {
                    let Located { mut error, span } = *located;
                    if error.position.is_none() {
                        error.position = text.and_then(|text| text.position(span));
                    }
                    *error
                }
                Err(inner) => match inner.downcast::<AboutLiteral>() {
                    Ok(about) => {
                        let AboutLiteral { mut error, literal } = *about;
                        error.position = text.and_then(|text| text.literal(&literal));
                        *error
                    }
                    Err(inner) => match inner.downcast::<engine::Error>() {
                        Ok(error) => SqlError::from(*error),
                        Err(inner) => borrowed(inner.as_ref()),
                    },
                },
            },
            DataFusionError::ArrowError(error, _) => arrow_error(&error),
            DataFusionError::SchemaError(error, _) => schema_error(&error, text),
            other => worded(&other, text),
        }
    }
}

fn sql_span(span: Span) -> SqlSpan {
    SqlSpan::new(Location::new(span.start.line, span.start.column), Location::new(span.end.line, span.end.column))
}

fn borrowed(error: &(dyn std::error::Error + Send + Sync + 'static)) -> SqlError {
    if let Some(error) = error.downcast_ref::<SqlError>() {
        return error.clone();
    }
    if let Some(about) = error.downcast_ref::<AboutLiteral>() {
        return about.error.as_ref().clone();
    }
    if let Some(error) = error.downcast_ref::<ArrowError>() {
        return arrow_error(error);
    }
    SqlError::new(SqlState::INTERNAL_ERROR, error.to_string())
}

fn schema_error(error: &SchemaError, text: Option<&Text<'_>>) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => undefined_column(field, valid_fields, text),
        SchemaError::AmbiguousReference { field } => {
            let error =
                SqlError::new(SqlState::AMBIGUOUS_COLUMN, format!("column reference \"{}\" is ambiguous", field.name));
            place(error, field, text)
        }
        SchemaError::DuplicateQualifiedField { qualifier, .. } => SqlError::new(
            SqlState::DUPLICATE_ALIAS,
            format!("table name \"{}\" specified more than once", qualifier.table()),
        ),
        SchemaError::DuplicateUnqualifiedField { name } => {
            SqlError::new(SqlState::DUPLICATE_COLUMN, format!("column name \"{name}\" specified more than once"))
        }
    }
}

fn undefined_column(field: &Column, valid: &[Column], text: Option<&Text<'_>>) -> SqlError {
    let error = match &field.relation {
        Some(relation)
            if !valid.iter().any(|column| column.relation.as_ref().is_some_and(|r| r.table() == relation.table())) =>
        {
            SqlError::new(
                SqlState::UNDEFINED_TABLE,
                format!("missing FROM-clause entry for table \"{}\"", relation.table()),
            )
        }
        Some(relation) => SqlError::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column {}.{} does not exist", relation.table(), field.name),
        ),
        None => SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{}\" does not exist", field.name)),
    };
    let error = match closest(&field.name, valid) {
        Some(column) if error.state == SqlState::UNDEFINED_COLUMN => {
            error.hint(format!("Perhaps you meant to reference the column \"{column}\"."))
        }
        _ => error,
    };
    place(error, field, text)
}

/// The known column whose name is most like `name`, as Postgres writes it.
fn closest(name: &str, valid: &[Column]) -> Option<String> {
    let closeness = |column: &Column| likeness(&column.name, name);
    let best = valid.iter().max_by(|a, b| closeness(a).total_cmp(&closeness(b)))?;
    if closeness(best) < 0.5 || best.name.contains(crate::binder::HIDDEN) {
        return None;
    }
    Some(match &best.relation {
        Some(relation) => format!("{}.{}", relation.table(), best.name),
        None => best.name.clone(),
    })
}

/// From 0, nothing alike, to 1, equal.
pub(crate) fn likeness(a: &str, b: &str) -> f64 {
    datafusion::common::utils::datafusion_strsim::normalized_levenshtein(a, b)
}

fn place(error: SqlError, field: &Column, text: Option<&Text<'_>>) -> SqlError {
    let Some(text) = text else { return error };
    let span = field.spans.first().map(sql_span).and_then(|span| text.position(span));
    let found = || match &field.relation {
        Some(relation) => text.find(&[relation.table(), &field.name]).or_else(|| text.find(&[&field.name])),
        None => text.find(&[&field.name]),
    };
    SqlError { position: span.or_else(found), ..error }
}

/// Errors that are only words.
fn worded(error: &DataFusionError, text: Option<&Text<'_>>) -> SqlError {
    match error {
        DataFusionError::Plan(message) => planning(clean(message), text),
        DataFusionError::Execution(message) => {
            let message = clean(message);
            known_plan_message(message, text).unwrap_or_else(|| value_error(message))
        }
        DataFusionError::NotImplemented(message) => SqlError::unsupported(lower_first(clean(message))),
        DataFusionError::ResourcesExhausted(message) => {
            SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory").detail(clean(message))
        }
        DataFusionError::SQL(error, _) => SqlError::new(SqlState::SYNTAX_ERROR, error.to_string()),
        DataFusionError::Configuration(message) => {
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, clean(message).to_string())
        }
        other => {
            let message = other.strip_backtrace();
            // Physical planning and the optimiser call what they lack internal errors, too.
            if message.contains("Physical plan does not support logical expression") {
                return SqlError::unsupported("this use of a subquery is not supported").detail(message);
            }
            SqlError::new(SqlState::INTERNAL_ERROR, message)
        }
    }
}
