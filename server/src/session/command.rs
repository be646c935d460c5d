//! What a statement about the session asks for: sqlparser's tree brought to the few things a session can do.

use std::time::Duration;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::sql::sqlparser::ast;
use sql::statement::{Parsed, Statement};
use sql::{SqlError, SqlState};

use super::copy_options::{CopyOptions, Direction};
use super::transaction::Modes;

/// One thing a session can do by itself.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Begin {
        modes: Modes,
        tag: &'static str,
    },
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    SetTransaction(Modes),
    SetCharacteristics(Modes),
    /// `None` is DEFAULT.
    Set {
        name: String,
        value: Option<String>,
        local: bool,
    },
    Reset(String),
    ResetAll,
    Show(String),
    ShowAll,
    Declare(Declaration),
    Fetch {
        cursor: String,
        count: Count,
        moves: bool,
        /// How long to wait for rows that have not come yet.
        timeout: Option<Duration>,
    },
    /// `None` is ALL.
    Close(Option<String>),
    Prepare {
        name: String,
        types: Vec<Option<DataType>>,
        query: Box<Parsed>,
    },
    Execute {
        name: String,
        parameters: Vec<ast::Expr>,
    },
    /// `None` is ALL.
    Deallocate(Option<String>),
    DiscardAll,
    Copy {
        source: Copied,
        options: CopyOptions,
    },
    /// COPY table (columns) FROM STDIN.
    CopyIn {
        table: ast::ObjectName,
        columns: Vec<ast::Ident>,
        options: CopyOptions,
    },
    /// Accepted, and nothing happens.
    Nothing(&'static str),
}

/// DECLARE … CURSOR FOR query.
#[derive(Debug, Clone)]
pub(crate) struct Declaration {
    pub name: String,
    pub binary: bool,
    pub hold: bool,
    pub query: Box<Parsed>,
}

/// What COPY gives out.
#[derive(Debug, Clone)]
pub(crate) enum Copied {
    Source(ast::CopySource),
    Subscription(Box<Parsed>),
}

/// How far FETCH and MOVE go; only forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Rows(u64),
    All,
    /// Passes over so many rows and gives the next.
    Relative(u64),
}

/// The command a statement stands for, or `None` if the backend executes it.
///
/// # Errors
/// 0A000 for what no session can do, and what is wrong with the statement itself.
pub(crate) fn command(parsed: &Parsed) -> Result<Option<Command>, SqlError> {
    match &parsed.statement {
        Statement::Session(statement) => of_session(statement).map(Some),
        Statement::Move(statement) => match of_session(statement)? {
            Command::Fetch { cursor, count, timeout, .. } => {
                Ok(Some(Command::Fetch { cursor, count, moves: true, timeout }))
            }
            _ => Err(SqlError::new(SqlState::SYNTAX_ERROR, "MOVE moves a cursor")),
        },
        Statement::FetchWithin { fetch, timeout } => match of_session(fetch)? {
            Command::Fetch { cursor, count, moves, .. } => {
                Ok(Some(Command::Fetch { cursor, count, moves, timeout: Some(*timeout) }))
            }
            _ => Err(SqlError::new(SqlState::SYNTAX_ERROR, "FETCH reads a cursor")),
        },
        Statement::OfSubscription { around, subscribe } => match of_session(around)? {
            Command::Declare(declaration) => {
                Ok(Some(Command::Declare(Declaration { query: subscribe.clone(), ..declaration })))
            }
            Command::Copy { options, .. } => {
                Ok(Some(Command::Copy { source: Copied::Subscription(subscribe.clone()), options }))
            }
            _ => Err(SqlError::unsupported("SUBSCRIBE can stand in COPY and DECLARE alone")),
        },
        _ => Ok(None),
    }
}

pub(crate) fn of_session(statement: &ast::Statement) -> Result<Command, SqlError> {
    use ast::Statement as S;
    Ok(match statement {
        S::StartTransaction { modes, begin, .. } => {
            let tag = if *begin { "BEGIN" } else { "START TRANSACTION" };
            Command::Begin { modes: transaction_modes(modes), tag }
        }
        S::Commit { chain, .. } => Command::Commit { chain: *chain },
        S::Rollback { chain, savepoint: None } => Command::Rollback { chain: *chain },
        S::Rollback { savepoint: Some(name), .. } => Command::RollbackTo(fold(name)),
        S::Savepoint { name } => Command::Savepoint(fold(name)),
        S::ReleaseSavepoint { name } => Command::Release(fold(name)),
        S::Set(set) => set_command(set)?,
        S::Reset(ast::ResetStatement { reset: ast::Reset::ALL }) => Command::ResetAll,
        S::Reset(ast::ResetStatement { reset: ast::Reset::ConfigurationParameter(name) }) => {
            let name = match name.to_string().to_ascii_lowercase().as_str() {
                "session authorization" => "session_authorization".to_owned(),
                _ => dotted(name),
            };
            Command::Reset(name)
        }
        S::ShowVariable { variable } => show(variable),
        S::ShowVariables { .. } => Command::ShowAll,
        S::Declare { stmts } => declare(stmts)?,
        S::Fetch { name, direction, .. } => {
            Command::Fetch { cursor: fold(name), count: count(direction)?, moves: false, timeout: None }
        }
        S::Close { cursor: ast::CloseCursor::All } => Command::Close(None),
        S::Close { cursor: ast::CloseCursor::Specific { name } } => Command::Close(Some(fold(name))),
        S::Prepare { name, data_types, statement } => {
            let types = data_types.iter().map(sql_type).collect::<Result<_, _>>()?;
            match statement.as_ref() {
                S::Query(query) => Command::Prepare { name: fold(name), types, query: Box::new(of_query(query)) },
                _ => return Err(SqlError::unsupported("only queries can be prepared")),
            }
        }
        S::Execute { name: Some(name), parameters, .. } => {
            Command::Execute { name: dotted(name), parameters: parameters.clone() }
        }
        S::Deallocate { name, .. } => match fold(name) {
            name if name == "all" && name_is_bare(statement) => Command::Deallocate(None),
            name => Command::Deallocate(Some(name)),
        },
        S::Discard { object_type: ast::DiscardObject::ALL } => Command::DiscardAll,
        S::Discard { object_type } => Command::Nothing(match object_type {
            ast::DiscardObject::PLANS => "DISCARD PLANS",
            ast::DiscardObject::SEQUENCES => "DISCARD SEQUENCES",
            _ => "DISCARD TEMP",
        }),
        S::LISTEN { .. } => Command::Nothing("LISTEN"),
        S::UNLISTEN { .. } => Command::Nothing("UNLISTEN"),
        S::NOTIFY { .. } => Command::Nothing("NOTIFY"),
        S::Copy { source, to: true, target: ast::CopyTarget::Stdout, options, legacy_options, .. } => Command::Copy {
            source: Copied::Source(source.clone()),
            options: CopyOptions::new(Direction::Out, options, legacy_options)?,
        },
        S::Copy { to: true, .. } => {
            let error = SqlError::unsupported("COPY to a file or program is not supported");
            return Err(error.hint("Use COPY … TO STDOUT, or psql's \\copy."));
        }
        S::Copy { source: ast::CopySource::Table { table_name, columns }, options, legacy_options, .. } => {
            let options = CopyOptions::new(Direction::In, options, legacy_options)?;
            Command::CopyIn { table: table_name.clone(), columns: columns.clone(), options }
        }
        S::Copy { .. } => return Err(SqlError::new(SqlState::SYNTAX_ERROR, "COPY FROM needs a table")),
        other => {
            let words: Vec<_> = other.to_string().split_whitespace().take(2).map(str::to_owned).collect();
            return Err(SqlError::unsupported(format!("{} is not supported", words.join(" "))));
        }
    })
}

/// A query inside another statement, as a statement of its own.
pub(crate) fn of_query(query: &ast::Query) -> Parsed {
    Parsed {
        statement: Statement::Query(Box::new(query.clone())),
        text: query.to_string(),
        offset: 0,
        as_of_tick: None,
    }
}

pub(crate) fn set_command(set: &ast::Set) -> Result<Command, SqlError> {
    use ast::Set;
    Ok(match set {
        Set::SingleAssignment { scope, variable, values, .. } => {
            let name = dotted(variable);
            let value = setting_value(&name, values)?;
            Command::Set { name, value, local: *scope == Some(ast::ContextModifier::Local) }
        }
        Set::SetTimeZone { local, value } => {
            let value = match value {
                ast::Expr::Identifier(name) if matches!(fold(name).as_str(), "local" | "default") => None,
                ast::Expr::Interval(interval) => Some(zone_of_interval(interval)?),
                value => setting_value("timezone", std::slice::from_ref(value))?,
            };
            Command::Set { name: "timezone".into(), value, local: *local }
        }
        Set::SetNames { charset_name, .. } => {
            Command::Set { name: "client_encoding".into(), value: Some(charset_name.value.clone()), local: false }
        }
        Set::SetNamesDefault {} => Command::Set { name: "client_encoding".into(), value: None, local: false },
        Set::SetTransaction { snapshot: Some(_), .. } => {
            return Err(SqlError::unsupported("SET TRANSACTION SNAPSHOT is not supported"));
        }
        Set::SetTransaction { modes, session: false, .. } => Command::SetTransaction(transaction_modes(modes)),
        Set::SetTransaction { modes, session: true, .. } => Command::SetCharacteristics(transaction_modes(modes)),
        Set::SetRole { role_name, context_modifier } => Command::Set {
            name: "role".into(),
            value: role_name.as_ref().map(fold),
            local: *context_modifier == Some(ast::ContextModifier::Local),
        },
        Set::SetSessionAuthorization(ast::SetSessionAuthorizationParam { kind, .. }) => Command::Set {
            name: "session_authorization".into(),
            value: match kind {
                ast::SetSessionAuthorizationParamKind::Default => None,
                ast::SetSessionAuthorizationParamKind::User(name) => Some(fold(name)),
            },
            local: false,
        },
        other => return Err(SqlError::unsupported(format!("{other} is not supported"))),
    })
}

/// The value of SET as text; `None` is DEFAULT.
fn setting_value(name: &str, values: &[ast::Expr]) -> Result<Option<String>, SqlError> {
    if let [ast::Expr::Identifier(word)] = values
        && word.quote_style.is_none()
        && word.value.eq_ignore_ascii_case("default")
    {
        return Ok(None);
    }
    let is_list = name.eq_ignore_ascii_case("search_path");
    let parts = values.iter().map(|value| literal(value, is_list)).collect::<Result<Vec<_>, _>>()?;
    Ok(Some(parts.join(", ")))
}

fn literal(value: &ast::Expr, is_list: bool) -> Result<String, SqlError> {
    Ok(match value {
        ast::Expr::Identifier(name) if is_list => quoted_if_needed(&fold(name)),
        ast::Expr::Identifier(name) => name.value.clone(),
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Number(digits, _) => digits.clone(),
            ast::Value::Boolean(value) => value.to_string(),
            // `default` and `null` among several values, and every string.
            other => {
                let text = other.clone().into_string().unwrap_or_else(|| other.to_string());
                if is_list { quoted_if_needed(&text) } else { text }
            }
        },
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => format!("-{}", literal(expr, false)?),
        ast::Expr::UnaryOp { op: ast::UnaryOperator::Plus, expr } => literal(expr, false)?,
        ast::Expr::TypedString(typed) => typed.value.value.clone().into_string().unwrap_or_default(),
        other => {
            let message = format!("SET takes a constant, not \"{other}\"");
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
    })
}

/// `INTERVAL '+02:00' HOUR TO MINUTE` and `INTERVAL '-8'` name a fixed offset.
fn zone_of_interval(interval: &ast::Interval) -> Result<String, SqlError> {
    let text = literal(&interval.value, false)?;
    let signed = if text.starts_with(['+', '-']) { text } else { format!("+{text}") };
    let hours_and_minutes = signed.splitn(3, ':').take(2).collect::<Vec<_>>().join(":");
    Ok(hours_and_minutes)
}

/// An identifier as a list of names shows it: quoted where it would read otherwise without.
fn quoted_if_needed(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn show(variable: &[ast::Ident]) -> Command {
    let words: Vec<_> = variable.iter().map(fold).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["all"] => Command::ShowAll,
        ["transaction", "isolation", "level"] => Command::Show("transaction_isolation".into()),
        ["session", "authorization"] => Command::Show("session_authorization".into()),
        ["time", "zone"] => Command::Show("TimeZone".into()),
        words => Command::Show(words.join(".")),
    }
}

fn transaction_modes(modes: &[ast::TransactionMode]) -> Modes {
    let mut asked = Modes::default();
    for mode in modes {
        match mode {
            ast::TransactionMode::AccessMode(access) => {
                asked.read_only = Some(*access == ast::TransactionAccessMode::ReadOnly);
            }
            ast::TransactionMode::IsolationLevel(level) => {
                asked.isolation = Some(match level {
                    ast::TransactionIsolationLevel::ReadUncommitted => "read uncommitted",
                    ast::TransactionIsolationLevel::ReadCommitted => "read committed",
                    ast::TransactionIsolationLevel::RepeatableRead => "repeatable read",
                    ast::TransactionIsolationLevel::Serializable | ast::TransactionIsolationLevel::Snapshot => {
                        "serializable"
                    }
                });
            }
        }
    }
    asked
}

fn declare(statements: &[ast::Declare]) -> Result<Command, SqlError> {
    let [ast::Declare { names, binary, hold, for_query: Some(query), .. }] = statements else {
        return Err(SqlError::unsupported("DECLARE declares one cursor for one query"));
    };
    let [name] = names.as_slice() else {
        return Err(SqlError::unsupported("DECLARE declares one cursor for one query"));
    };
    Ok(Command::Declare(Declaration {
        name: fold(name),
        binary: *binary == Some(true),
        hold: *hold == Some(true),
        query: Box::new(of_query(query)),
    }))
}

fn count(direction: &ast::FetchDirection) -> Result<Count, SqlError> {
    use ast::FetchDirection as D;
    let forward_only =
        || SqlError::unsupported("cursor can only scan forward").hint("Declare a new cursor to start again.");
    let number = |limit: &ast::ValueWithSpan| -> Result<i64, SqlError> {
        let text = limit.value.to_string();
        text.parse().map_err(|_| SqlError::new(SqlState::SYNTAX_ERROR, format!("\"{text}\" is no number of rows")))
    };
    let rows = |limit| u64::try_from(number(limit)?).map(Count::Rows).map_err(|_| forward_only());
    match direction {
        D::Count { limit } | D::Forward { limit: Some(limit) } => rows(limit),
        D::Next | D::Forward { limit: None } => Ok(Count::Rows(1)),
        D::All | D::ForwardAll => Ok(Count::All),
        D::Relative { limit } => match u64::try_from(number(limit)?) {
            Ok(0) => Ok(Count::Rows(0)),
            Ok(rows) => Ok(Count::Relative(rows - 1)),
            Err(_) => Err(forward_only()),
        },
        D::Prior | D::First | D::Last | D::Absolute { .. } | D::Backward { .. } | D::BackwardAll => Err(forward_only()),
    }
}

/// An identifier as Postgres reads it: in lower case unless quoted.
pub(crate) fn fold(name: &ast::Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

fn dotted(name: &ast::ObjectName) -> String {
    let parts = name.0.iter().filter_map(|part| part.as_ident());
    parts.map(fold).collect::<Vec<_>>().join(".")
}

/// `DEALLOCATE ALL`, not `DEALLOCATE "all"`.
fn name_is_bare(statement: &ast::Statement) -> bool {
    matches!(statement, ast::Statement::Deallocate { name, .. } if name.quote_style.is_none())
}

/// The type of a parameter of PREPARE; `unknown` is inferred.
fn sql_type(data_type: &ast::DataType) -> Result<Option<DataType>, SqlError> {
    use ast::DataType as T;
    let micros = TimeUnit::Microsecond;
    Ok(Some(match data_type {
        T::Bool | T::Boolean => DataType::Boolean,
        T::SmallInt(_) | T::Int2(_) => DataType::Int16,
        T::Int(_) | T::Integer(_) | T::Int4(_) => DataType::Int32,
        T::BigInt(_) | T::Int8(_) => DataType::Int64,
        T::Real | T::Float4 => DataType::Float32,
        T::Double(_) | T::DoublePrecision | T::Float8 | T::Float(_) => DataType::Float64,
        T::Numeric(_) | T::Decimal(_) | T::Dec(_) => DataType::Decimal128(38, 10),
        T::Text
        | T::Varchar(_)
        | T::Char(_)
        | T::Character(_)
        | T::CharacterVarying(_)
        | T::JSON
        | T::JSONB
        | T::Uuid => DataType::Utf8,
        T::Bytea => DataType::Binary,
        T::Date => DataType::Date32,
        T::Time(..) => DataType::Time64(micros),
        T::Timestamp(_, zone) => match zone {
            ast::TimezoneInfo::None | ast::TimezoneInfo::WithoutTimeZone => DataType::Timestamp(micros, None),
            _ => DataType::Timestamp(micros, Some("UTC".into())),
        },
        T::Interval { .. } => DataType::Interval(IntervalUnit::MonthDayNano),
        T::Custom(name, _) if dotted(name) == "unknown" => return Ok(None),
        T::Custom(name, _) if dotted(name) == "timestamptz" => DataType::Timestamp(micros, Some("UTC".into())),
        T::Custom(name, _) if dotted(name) == "oid" => DataType::UInt32,
        other => {
            let message = format!("type \"{}\" does not exist", other.to_string().to_lowercase());
            return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
        }
    }))
}
