//! `CREATE [OR REPLACE] [MATERIALIZED] VIEW`.
//!
//! `EMIT ON …` and `WITH [NO] DATA` stand behind the query, where sqlparser would take EMIT for an alias. They are
//! recognised from the statement's end and cut off before the query is parsed.

use datafusion::sql::sqlparser::ast::Query;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::{Cursor, is_word};
use super::script::{self, Chunk, Places};
use super::{create, options, query};
use crate::state_budget::StateBudget;
use crate::statement::{CreateMaterializedView, CreateView, Emit, OnError};
use crate::{SqlError, SqlState};

/// What may stand behind a materialized view's query.
#[derive(Clone, Copy)]
enum Suffix {
    Emit(Emit),
    WithData,
    WithNoData,
}

const SUFFIXES: [(&[&str], Suffix); 4] = [
    (&["emit", "on", "window", "close"], Suffix::Emit(Emit::OnWindowClose)),
    (&["emit", "on", "update"], Suffix::Emit(Emit::OnUpdate)),
    (&["with", "no", "data"], Suffix::WithNoData),
    (&["with", "data"], Suffix::WithData),
];

/// A materialized view.
pub(crate) fn materialized(chunk: &Chunk<'_>, or_replace: bool) -> Result<CreateMaterializedView, SqlError> {
    let (tokens, clause) = cut_suffixes(chunk)?;
    let mut cursor = Cursor::with_tokens(chunk, tokens);
    let head = Head::parse(&mut cursor, or_replace, &["materialized", "view"])?;
    let Options { emit: option, on_error, max_state } =
        if cursor.word("with") { view_options(&mut cursor)? } else { Options::default() };
    for refused in ["using", "tablespace"] {
        if cursor.peek_word(refused) {
            let what = refused.to_ascii_uppercase();
            return Err(
                SqlError::unsupported(format!("{what} in a materialized view is not supported")).at(cursor.position())
            );
        }
    }
    let emit = match (option, clause) {
        (Some((option, position)), Some(clause)) if option != clause => {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "conflicting EMIT clause and emit option").at(position));
        }
        (option, clause) => clause.or(option.map(|(emit, _)| emit)).unwrap_or_default(),
    };
    let (query, query_text) = body(&mut cursor, chunk)?;
    let Head { name, columns, if_not_exists } = head;
    Ok(CreateMaterializedView {
        name,
        columns,
        or_replace,
        if_not_exists,
        query,
        query_text,
        emit,
        on_error,
        max_state,
    })
}

/// A plain view.
pub(crate) fn plain(chunk: &Chunk<'_>, or_replace: bool) -> Result<CreateView, SqlError> {
    let mut cursor = Cursor::new(chunk);
    let head = Head::parse(&mut cursor, or_replace, &["view"])?;
    if cursor.peek_word("with") {
        return Err(SqlError::unsupported("options of a view are not supported").at(cursor.position()));
    }
    let (query, query_text) = body(&mut cursor, chunk)?;
    let Head { name, columns, if_not_exists } = head;
    Ok(CreateView { name, columns, or_replace, if_not_exists, query, query_text })
}

/// The text of a `CREATE MATERIALIZED VIEW` with one more option in its WITH.
///
/// # Errors
/// 42601 if `text` is no such statement.
pub fn with_option(text: &str, name: &str, value: &str) -> Result<String, SqlError> {
    let chunks = script::split(text)?;
    let chunk = chunks.first().ok_or_else(|| SqlError::new(SqlState::SYNTAX_ERROR, "no statement"))?;
    let mut cursor = Cursor::new(chunk);
    let or_replace = cursor.peek_words(&["create", "or", "replace"]);
    Head::parse(&mut cursor, or_replace, &["materialized", "view"])?;
    let value = value.replace('\'', "''");
    let (before, addition) = match cursor.word("with") {
        // Behind the bracket.
        true => (cursor.byte() + 1, format!("{name} = '{value}', ")),
        false => (cursor.byte(), format!("WITH ({name} = '{value}') ")),
    };
    let mut text = chunk.text.to_string();
    text.insert_str(before, &addition);
    Ok(text)
}

/// The tokens without what stands behind the query, and the EMIT clause if there is one.
fn cut_suffixes(chunk: &Chunk<'_>) -> Result<(Vec<TokenWithSpan>, Option<Emit>), SqlError> {
    let mut tokens = chunk.tokens.clone();
    let (mut emit, mut data) = (None, false);
    while let Some((at, suffix)) = suffix(&tokens) {
        let position = Places::new(chunk.text).character(tokens[at].span.start) + 1;
        let repeated = match suffix {
            Suffix::Emit(this) => emit.replace(this).is_some(),
            Suffix::WithData => std::mem::replace(&mut data, true),
            Suffix::WithNoData => {
                return Err(SqlError::unsupported("WITH NO DATA is not supported")
                    .hint("A materialized view is filled from its sources' start and maintained from then on.")
                    .at(position));
            }
        };
        if repeated {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "clause behind the query given twice").at(position));
        }
        tokens.truncate(at);
    }
    Ok((tokens, emit))
}

fn suffix(tokens: &[TokenWithSpan]) -> Option<(usize, Suffix)> {
    SUFFIXES.iter().find_map(|(words, suffix)| {
        let at = tokens.len().checked_sub(words.len())?;
        let found = tokens[at..].iter().zip(*words).all(|(token, word)| is_word(&token.token, word));
        found.then_some((at, *suffix))
    })
}

/// `CREATE … name [(columns)]`.
struct Head {
    name: String,
    columns: Vec<String>,
    if_not_exists: bool,
}

impl Head {
    fn parse(cursor: &mut Cursor<'_>, or_replace: bool, kind: &[&str]) -> Result<Self, SqlError> {
        cursor.expect_word("create")?;
        if or_replace {
            cursor.expect_words(&["or", "replace"])?;
        }
        cursor.expect_words(kind)?;
        let if_not_exists = create::if_not_exists(cursor, or_replace)?;
        let (name, _) = create::new_name(cursor)?;
        let mut columns: Vec<String> = Vec::new();
        if *cursor.peek() == Token::LParen {
            cursor.list(|cursor| {
                let (column, position) = cursor.identifier()?;
                if columns.contains(&column) {
                    return Err(SqlError::new(
                        SqlState::DUPLICATE_COLUMN,
                        format!("column \"{column}\" specified more than once"),
                    )
                    .at(position));
                }
                columns.push(column);
                Ok(())
            })?;
        }
        Ok(Self { name, columns, if_not_exists })
    }
}

/// What stands in WITH.
#[derive(Default)]
struct Options {
    /// With its position.
    emit: Option<(Emit, usize)>,
    on_error: OnError,
    max_state: Option<StateBudget>,
}

/// `(emit = 'on_window_close' | 'on_update', on_error = 'exclude' | 'fail', max_state = '512MB')`.
fn view_options(cursor: &mut Cursor<'_>) -> Result<Options, SqlError> {
    let mut options = Options::default();
    for option in options::parse(cursor)? {
        let invalid = |message: String| {
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .hint(
                    "The options are emit = 'on_update' or 'on_window_close', on_error = 'exclude' or 'fail', and max_state, \
                     an amount of memory.",
                )
                .at(option.position)
        };
        let unknown = || invalid(format!("invalid value for parameter \"{}\": \"{}\"", option.name, option.value));
        let value = option.value.to_ascii_lowercase();
        match option.name.as_str() {
            "emit" => {
                let emit = match value.as_str() {
                    "on_window_close" | "on window close" => Emit::OnWindowClose,
                    "on_update" | "on update" => Emit::OnUpdate,
                    _ => return Err(unknown()),
                };
                options.emit = Some((emit, option.position));
            }
            "on_error" => {
                options.on_error = match value.as_str() {
                    "exclude" => OnError::Exclude,
                    "fail" => OnError::Fail,
                    _ => return Err(unknown()),
                };
            }
            "max_state" => {
                let budget = option.value.parse::<StateBudget>();
                options.max_state = Some(budget.map_err(|error| error.at(option.position))?);
            }
            _ => return Err(invalid(format!("unrecognized parameter \"{}\"", option.name))),
        }
    }
    Ok(options)
}

/// `AS query`, to the end.
fn body(cursor: &mut Cursor<'_>, chunk: &Chunk<'_>) -> Result<(Box<Query>, String), SqlError> {
    cursor.expect_word("as")?;
    let start = cursor.byte();
    let end = cursor.last_byte();
    let query = query::parse(cursor)?;
    cursor.expect_end()?;
    Ok((query, chunk.text[start..end].to_string()))
}
