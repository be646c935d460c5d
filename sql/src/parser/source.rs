//! `CREATE SOURCE`, and `CREATE TABLE … WITH (connector = …)`, which is the same.
//!
//! Behind the column list, INCLUDE, WITH and FORMAT … ENVELOPE stand in any order, each once. Spellings of Flink,
//! RisingWave and Arroyo for the same options are understood (`OPTION_ALIASES`).

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::envelope::{self, PrimaryKey};
use super::options::{self, Assignment, take};
use super::secret::is_secret_option;
use super::{data_type, start, watermark};
use crate::statement::{CreateSource, Envelope, MetadataColumn};
use crate::{SqlError, SqlState, types};

/// Most columns, as in Postgres.
pub(crate) const COLUMNS_MAX: usize = 1600;

/// Other systems' names for our options.
const OPTION_ALIASES: [(&str, &str); 14] = [
    ("bootstrap.server", "bootstrap"),
    ("bootstrap.servers", "bootstrap"),
    ("bootstrap_server", "bootstrap"),
    ("bootstrap_servers", "bootstrap"),
    ("properties.bootstrap.server", "bootstrap"),
    ("properties.bootstrap.servers", "bootstrap"),
    ("scan.startup.mode", "start"),
    ("source.offset", "start"),
    ("scan.startup.timestamp.millis", "start_timestamp"),
    ("scan.startup.timestamp_millis", "start_timestamp"),
    ("scan.startup.timestamp-millis", "start_timestamp"),
    ("scan.startup.specific-offsets", "start_offsets"),
    ("value.format", "format"),
    ("kafka_topic", "topic"),
];

/// Reads what follows SOURCE or TABLE, to the end of the statement.
pub(crate) fn parse(cursor: &mut Cursor<'_>, or_replace: bool) -> Result<CreateSource, SqlError> {
    let if_not_exists = super::create::if_not_exists(cursor, or_replace)?;
    let (name, _) = super::create::new_name(cursor)?;
    if cursor.peek_word("from") {
        return Err(SqlError::unsupported("CREATE SOURCE … FROM is not supported")
            .hint("Declare the columns, and name the broker in WITH (connector = 'kafka', bootstrap = …, topic = …).")
            .at(cursor.position()));
    }
    let mut elements = Elements::default();
    cursor.list(|cursor| elements.element(cursor))?;
    let mut clauses = Clauses::default();
    while !cursor.at_end() {
        clauses.clause(cursor)?;
    }
    let Elements { mut columns, watermark, key } = elements;
    if columns.is_empty() {
        return Err(SqlError::new(SqlState::INVALID_OBJECT_DEFINITION, format!("source \"{name}\" has no columns")));
    }
    check_metadata_names(&columns, &clauses.include)?;
    let mut options = clauses.options.unwrap_or_default();
    let secrets = take_secrets(&mut options)?;
    let (envelope, at) = clauses.envelope.resolve(&mut options)?;
    check_type(&mut options)?;
    let watermark_position = watermark.as_ref().map(|(_, position)| *position);
    let primary_key = envelope::check((envelope, at), key.as_ref(), &mut columns, watermark_position)?;
    if envelope != Envelope::None {
        check_reserved_names(&columns, &clauses.include)?;
    }
    let watermark = watermark.map(|(watermark, _)| watermark.resolve(&columns)).transpose()?;
    let start = start::take_start(&mut options)?;
    check_connector(&name, &options)?;
    Ok(CreateSource {
        name,
        if_not_exists,
        or_replace,
        columns,
        primary_key,
        envelope,
        watermark,
        include: clauses.include.into_iter().map(|(column, name, _)| (column, name)).collect(),
        options: options.into_iter().map(|option| (option.name, option.value)).collect(),
        secrets,
        start,
    })
}

/// What stands in the column list.
#[derive(Default)]
struct Elements {
    columns: Vec<FieldRef>,
    /// With its position.
    watermark: Option<(watermark::Watermark, usize)>,
    key: Option<PrimaryKey>,
}

impl Elements {
    fn element(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SqlError> {
        let position = cursor.position();
        if cursor.words(&["watermark", "for"]) {
            if self.watermark.is_some() {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "more than one WATERMARK").at(position));
            }
            self.watermark = Some((watermark::parse(cursor)?, position));
            return Ok(());
        }
        if envelope::primary_key(cursor, true) {
            return PrimaryKey::parse(cursor, position)?.note(&mut self.key);
        }
        check_no_constraint(cursor)?;
        let (name, position) = cursor.identifier()?;
        if self.columns.iter().any(|column| *column.name() == name) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            )
            .at(position));
        }
        if self.columns.len() == COLUMNS_MAX {
            return Err(SqlError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("sources can have at most {COLUMNS_MAX} columns"),
            )
            .at(position));
        }
        let position = cursor.position();
        let sql_type = data_type::parse(cursor)?;
        let field = types::field(&sql_type).map_err(|error| error.at(position))?;
        if holds_interval(field.data_type()) {
            return Err(SqlError::unsupported("type interval is not supported in a source").at(position));
        }
        let nullable = self.column_options(cursor, &name)?;
        self.columns.push(Arc::new(field.as_ref().clone().with_name(name).with_nullable(nullable)));
        Ok(())
    }

    /// `NOT NULL`, `NULL` and `PRIMARY KEY` behind the column `name`; true if it may be null.
    fn column_options(&mut self, cursor: &mut Cursor<'_>, name: &str) -> Result<bool, SqlError> {
        let mut nullable = None;
        while envelope::null_option(cursor, name, &mut nullable, &mut self.key)? {}
        const REFUSED: [(&str, &str); 10] = [
            ("unique", "UNIQUE"),
            ("check", "CHECK"),
            ("default", "DEFAULT"),
            ("references", "REFERENCES"),
            ("generated", "GENERATED"),
            ("constraint", "CONSTRAINT"),
            ("collate", "COLLATE"),
            ("metadata", "METADATA"),
            ("comment", "COMMENT"),
            ("as", "a computed column"),
        ];
        match REFUSED.iter().find(|(word, _)| cursor.peek_word(word)) {
            Some((_, what)) => Err(refused_in_source(what).at(cursor.position())),
            None => Ok(nullable.unwrap_or(true)),
        }
    }
}

/// True for intervals and what is made of them: JSON has no spelling for one.
fn holds_interval(data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(_) => true,
        DataType::List(of) => holds_interval(of.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_interval(field.data_type())),
        _ => false,
    }
}

/// Refuses UNIQUE (…), CHECK (…) and the like among the columns.
fn check_no_constraint(cursor: &Cursor<'_>) -> Result<(), SqlError> {
    let refused = if cursor.peek_words(&["foreign", "key"]) {
        "FOREIGN KEY"
    } else if cursor.peek_word("constraint") {
        "CONSTRAINT"
    } else if cursor.peek_word("like") {
        "LIKE"
    } else if cursor.peek_word("unique") && *cursor.peek_nth(1) == Token::LParen {
        "UNIQUE"
    } else if cursor.peek_word("check") && *cursor.peek_nth(1) == Token::LParen {
        "CHECK"
    } else {
        return Ok(());
    };
    Err(refused_in_source(refused).at(cursor.position()))
}

fn refused_in_source(what: &str) -> SqlError {
    let error = SqlError::unsupported(format!("{what} in a source is not supported"));
    match what {
        "METADATA" => error.hint("Write INCLUDE PARTITION, OFFSET, TIMESTAMP, KEY, HEADERS, TOPIC after the columns."),
        _ => error,
    }
}

/// What stands behind the column list.
#[derive(Default)]
struct Clauses {
    /// Each with the name its column gets and the position it was named at.
    include: Vec<(MetadataColumn, String, usize)>,
    options: Option<Vec<Assignment>>,
    envelope: envelope::Clauses,
}

impl Clauses {
    fn clause(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SqlError> {
        let position = cursor.position();
        let twice = |what: &str| SqlError::new(SqlState::SYNTAX_ERROR, format!("{what} given twice")).at(position);
        if cursor.word("include") {
            self.metadata(cursor)?;
            while cursor.token(&Token::Comma) {
                self.metadata(cursor)?;
            }
        } else if cursor.word("with") {
            let mut options = options::parse_with_secrets(cursor)?;
            rename_options(&mut options)?;
            if self.options.replace(options).is_some() {
                return Err(twice("WITH"));
            }
        } else if cursor.word("format") {
            self.envelope.format(cursor, position)?;
        } else if cursor.word("envelope") {
            self.envelope.envelope(cursor, position)?;
        } else {
            return Err(cursor.expected("INCLUDE, WITH, FORMAT or ENVELOPE"));
        }
        Ok(())
    }

    fn metadata(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SqlError> {
        let mut position = cursor.position();
        let column = match cursor.one_of(&["partition", "offset", "timestamp", "key", "headers", "header", "topic"]) {
            Some("partition") => MetadataColumn::Partition,
            Some("offset") => MetadataColumn::Offset,
            Some("timestamp") => MetadataColumn::Timestamp,
            Some("key") => MetadataColumn::Key,
            Some("headers" | "header") => MetadataColumn::Headers,
            Some("topic") => MetadataColumn::Topic,
            _ => return Err(cursor.expected("PARTITION, OFFSET, TIMESTAMP, KEY, HEADERS or TOPIC")),
        };
        let mut name = column.default_name().to_string();
        if cursor.word("as") {
            (name, position) = cursor.identifier()?;
        }
        self.include.push((column, name, position));
        Ok(())
    }
}

/// Our names for other systems' options.
fn rename_options(options: &mut [Assignment]) -> Result<(), SqlError> {
    for n in 0..options.len() {
        if let Some((_, ours)) = OPTION_ALIASES.iter().find(|(theirs, _)| *theirs == options[n].name) {
            if options.iter().any(|option| option.name == *ours) {
                return Err(SqlError::new(
                    SqlState::SYNTAX_ERROR,
                    format!("option \"{ours}\" specified more than once, here as \"{}\"", options[n].name),
                )
                .at(options[n].position));
            }
            options[n].name = (*ours).to_string();
        }
    }
    Ok(())
}

/// Included columns stand beside the declared ones and need names of their own.
fn check_metadata_names(columns: &[FieldRef], include: &[(MetadataColumn, String, usize)]) -> Result<(), SqlError> {
    for (n, (column, name, position)) in include.iter().enumerate() {
        let declared = columns.iter().any(|column| column.name() == name);
        if declared || include[..n].iter().any(|(_, earlier, _)| earlier == name) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            )
            .hint(format!("Name the included column: INCLUDE {} AS other_name.", format!("{column:?}").to_uppercase()))
            .at(*position));
        }
    }
    Ok(())
}

/// The engine has columns of its own beside those of a source with a key.
fn check_reserved_names(columns: &[FieldRef], include: &[(MetadataColumn, String, usize)]) -> Result<(), SqlError> {
    let included = include.iter().map(|(_, name, position)| (name, Some(*position)));
    let mut names = columns.iter().map(|column| (column.name(), None)).chain(included);
    let Some((name, position)) = names.find(|(name, _)| engine::ingest::is_reserved(name)) else { return Ok(()) };
    let error = SqlError::new(SqlState::INVALID_NAME, format!("column name \"{name}\" is reserved"));
    Err(if let Some(position) = position { error.at(position) } else { error })
}

/// The options that stand for secrets, each with the secret's name.
fn take_secrets(options: &mut Vec<Assignment>) -> Result<Vec<(String, String)>, SqlError> {
    let mut secrets = Vec::new();
    for option in std::mem::take(options) {
        match &option.secret {
            Some(_) if !is_secret_option(&option.name) => return Err(options::not_a_secret(&option)),
            Some(secret) => secrets.push((option.name.clone(), secret.clone())),
            None => options.push(option),
        }
    }
    Ok(secrets)
}

/// Arroyo's `type = 'source'`.
fn check_type(options: &mut Vec<Assignment>) -> Result<(), SqlError> {
    if let Some(option) = take(options, "type")
        && !option.value.eq_ignore_ascii_case("source")
    {
        return Err(SqlError::unsupported(format!("type = '{}' is not supported", option.value)).at(option.position));
    }
    Ok(())
}

/// The options no Kafka source can do without.
fn check_connector(name: &str, options: &[Assignment]) -> Result<(), SqlError> {
    let find = |wanted: &str| options.iter().find(|option| option.name == wanted);
    let missing = |option: &str, example: &str| {
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, format!("source \"{name}\" lacks the option \"{option}\""))
            .hint(format!("Add WITH ({option} = '{example}', …)."))
    };
    let Some(connector) = find("connector") else {
        return Err(missing("connector", "kafka"));
    };
    if !connector.value.eq_ignore_ascii_case("kafka") {
        return Err(SqlError::unsupported(format!("connector \"{}\" is not supported", connector.value))
            .hint("The connectors are: kafka.")
            .at(connector.position));
    }
    for (option, example) in [("bootstrap", "localhost:9092"), ("topic", name)] {
        match find(option) {
            None => return Err(missing(option, example)),
            Some(given) if given.value.trim().is_empty() => {
                return Err(SqlError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("option \"{option}\" must not be empty"),
                )
                .at(given.position));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
