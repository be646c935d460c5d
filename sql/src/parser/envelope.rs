//! What a source's records are: `FORMAT …`, `ENVELOPE …`, and the `PRIMARY KEY` that some envelopes need.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::options::{Assignment, take};
use crate::statement::Envelope;
use crate::{SqlError, SqlState};

/// A PRIMARY KEY as written.
#[derive(Debug)]
pub(crate) struct PrimaryKey {
    /// Each column with the position it is named at.
    columns: Vec<(String, usize)>,
    position: usize,
}

impl PrimaryKey {
    /// `PRIMARY KEY` behind the column `name`.
    pub fn of_column(name: &str, position: usize) -> Self {
        Self { columns: vec![(name.to_owned(), position)], position }
    }

    /// Reads `(column, …)` behind PRIMARY KEY, which stands at `position`; Flink's NOT ENFORCED says nothing new.
    pub fn parse(cursor: &mut Cursor<'_>, position: usize) -> Result<Self, SqlError> {
        let mut columns: Vec<(String, usize)> = Vec::new();
        cursor.list(|cursor| {
            let (name, position) = cursor.identifier()?;
            if columns.iter().any(|(earlier, _)| *earlier == name) {
                let message = format!("column \"{name}\" appears twice in primary key constraint");
                return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message).at(position));
            }
            columns.push((name, position));
            Ok(())
        })?;
        cursor.words(&["not", "enforced"]);
        Ok(Self { columns, position })
    }

    /// Notes that a source has this key, unless it has another.
    pub fn note(self, earlier: &mut Option<Self>) -> Result<(), SqlError> {
        if earlier.is_some() {
            let error = SqlError::new(SqlState::INVALID_TABLE_DEFINITION, "multiple primary keys are not allowed");
            return Err(error.at(self.position));
        }
        *earlier = Some(self);
        Ok(())
    }

    /// Finds the columns, makes them NOT NULL, and returns their places.
    pub fn resolve(&self, columns: &mut [FieldRef]) -> Result<Vec<usize>, SqlError> {
        let mut found = Vec::new();
        for (name, position) in &self.columns {
            let Some(place) = columns.iter().position(|column| column.name() == name) else {
                let message = format!("column \"{name}\" named in key does not exist");
                return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message).at(*position));
            };
            let column = &mut columns[place];
            if matches!(column.data_type(), DataType::List(_) | DataType::Struct(_))
                || column.extension_type_name() == Some(crate::types::JSON)
            {
                let message = format!("column \"{name}\" is of a type that cannot be in a primary key");
                return Err(SqlError::unsupported(message).at(*position));
            }
            *column = Field::clone(column).with_nullable(false).into();
            found.push(place);
        }
        Ok(found)
    }
}

/// What FORMAT and ENVELOPE say, each with its position.
#[derive(Debug, Default)]
pub(crate) struct Clauses {
    /// The envelope that FORMAT names, if it names one: `FORMAT UPSERT ENCODE JSON`.
    format: Option<(Option<Envelope>, usize)>,
    envelope: Option<(Envelope, usize)>,
}

impl Clauses {
    /// Reads what follows FORMAT, which stands at `position`: `JSON`, or RisingWave's `{PLAIN | UPSERT | DEBEZIUM} ENCODE JSON`.
    pub fn format(&mut self, cursor: &mut Cursor<'_>, position: usize) -> Result<(), SqlError> {
        let at = cursor.position();
        let refused = |what: String| Err(SqlError::unsupported(format!("FORMAT {what} is not supported")).at(at));
        let (name, _) = cursor.identifier().map_err(|_| cursor.expected("a format"))?;
        let encoding = if cursor.word("encode") { Some(cursor.identifier()?.0) } else { None };
        let envelope = match (name.as_str(), encoding.as_deref()) {
            ("json", None) => None,
            ("plain", Some("json")) => Some(Envelope::None),
            ("upsert", Some("json")) => Some(Envelope::Upsert),
            ("debezium", Some("json")) => Some(Envelope::Debezium),
            ("plain" | "upsert" | "debezium", None) => return Err(cursor.expected("ENCODE")),
            (name, None) => return refused(name.to_ascii_uppercase()),
            (name, Some(encoding)) => return refused(format!("{name} ENCODE {encoding}").to_ascii_uppercase()),
        };
        if self.format.replace((envelope, at)).is_some() {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "FORMAT given twice").at(position));
        }
        Ok(())
    }

    /// Reads what follows ENVELOPE, which stands at `position`.
    pub fn envelope(&mut self, cursor: &mut Cursor<'_>, position: usize) -> Result<(), SqlError> {
        let at = cursor.position();
        let (name, _) = cursor.identifier().map_err(|_| cursor.expected("an envelope"))?;
        let envelope = match name.as_str() {
            "none" | "append" => Envelope::None,
            "upsert" => Envelope::Upsert,
            "debezium" => Envelope::Debezium,
            other => {
                let message = format!("ENVELOPE {} is not supported", other.to_ascii_uppercase());
                return Err(SqlError::unsupported(message).hint("The envelopes are NONE, UPSERT and DEBEZIUM.").at(at));
            }
        };
        if self.envelope.replace((envelope, at)).is_some() {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "ENVELOPE given twice").at(position));
        }
        Ok(())
    }

    /// What the clauses and the option `format` come to, with the position that says so.
    pub fn resolve(&self, options: &mut Vec<Assignment>) -> Result<(Envelope, Option<usize>), SqlError> {
        if let Some(option) = take(options, "format") {
            if !option.value.eq_ignore_ascii_case("json") {
                return Err(SqlError::unsupported(format!("FORMAT {} is not supported", option.value.to_uppercase()))
                    .at(option.position));
            }
        } else if self.format.is_none() {
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "the source's format is missing")
                .hint("Add FORMAT JSON."));
        }
        let of_format = self.format.and_then(|(envelope, at)| Some((envelope?, at)));
        match (of_format, self.envelope) {
            (Some((format, _)), Some((envelope, at))) if format != envelope => {
                let message = format!("ENVELOPE {envelope} contradicts FORMAT {}", format.format_name());
                Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(at))
            }
            (_, Some((envelope, at))) | (Some((envelope, at)), None) => Ok((envelope, Some(at))),
            (None, None) => Ok((Envelope::None, None)),
        }
    }
}

/// Holds envelope, key and watermark against each other; makes the key's columns NOT NULL and returns their places.
pub(crate) fn check(
    (envelope, at): (Envelope, Option<usize>),
    key: Option<&PrimaryKey>,
    columns: &mut [FieldRef],
    watermark: Option<usize>,
) -> Result<Vec<usize>, SqlError> {
    let placed = |error: SqlError, at: Option<usize>| if let Some(at) = at { error.at(at) } else { error };
    if envelope == Envelope::None {
        let Some(key) = key else { return Ok(vec![]) };
        let error = SqlError::unsupported("PRIMARY KEY in a source with ENVELOPE NONE is not supported");
        let hint =
            "Each of its records is a row of its own. With ENVELOPE UPSERT the last record of each key is the row.";
        return Err(error.hint(hint).at(key.position));
    }
    let Some(key) = key else {
        let error =
            SqlError::new(SqlState::INVALID_OBJECT_DEFINITION, format!("ENVELOPE {envelope} needs a primary key"));
        return Err(placed(error.hint("Add PRIMARY KEY (column, …) to the columns."), at));
    };
    if let Some(watermark) = watermark {
        let error = SqlError::unsupported(format!("WATERMARK in a source with ENVELOPE {envelope} is not supported"));
        let hint = "A row may be updated at any time, so none of its windows is ever final. Leave the WATERMARK out: \
                    windows over the source's rows are updated as these are.";
        return Err(error.hint(hint).at(watermark));
    }
    key.resolve(columns)
}

/// Reads `NOT NULL`, `NULL` or `PRIMARY KEY` behind the column `name`, and notes it; false if none of them is next.
///
/// # Errors
/// 42601 if it contradicts what `nullable` says already; a second key's.
pub(crate) fn null_option(
    cursor: &mut Cursor<'_>,
    name: &str,
    nullable: &mut Option<bool>,
    key: &mut Option<PrimaryKey>,
) -> Result<bool, SqlError> {
    let position = cursor.position();
    let this = if cursor.words(&["not", "null"]) {
        false
    } else if cursor.word("null") {
        true
    } else if primary_key(cursor, false) {
        PrimaryKey::of_column(name, position).note(key)?;
        false
    } else {
        return Ok(false);
    };
    if nullable.replace(this).is_some_and(|earlier| earlier != this) {
        let message = "conflicting NULL/NOT NULL declarations";
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(position));
    }
    Ok(true)
}

/// True at `PRIMARY KEY`, which is read; `parenthesis` says whether a list must follow.
pub(crate) fn primary_key(cursor: &mut Cursor<'_>, parenthesis: bool) -> bool {
    let is_list = *cursor.peek_nth(2) == Token::LParen;
    is_list == parenthesis && cursor.words(&["primary", "key"])
}
