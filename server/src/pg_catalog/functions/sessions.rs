//! Functions about the session and the server: who, where, which settings, and the ends of other sessions.

use datafusion::error::Result;
use sql::error::{SqlError, SqlState};

use super::{Call, Definition, stable, volatile};
use crate::pg_catalog::names::refuse;
use crate::pg_catalog::rows::Cell;
use crate::pg_catalog::version;

pub(super) static LIST: [Definition; 29] = [
    stable("version", "text", |_| Ok(version().into())),
    stable("current_database", "name", |call| Ok(call.catalog.snapshot().database().into())),
    stable("current_catalog", "name", |call| Ok(call.catalog.snapshot().database().into())),
    stable("current_schema", "name", |call| Ok(call.catalog.schemas_in_path(false).first().copied().into())),
    stable("current_schemas", "_name", |call| {
        Ok(call.catalog.schemas_in_path(call.argument(0) == &Cell::Bool(true)).into())
    }),
    stable("current_user", "name", |call| Ok((&call.catalog.facts().user).into())),
    stable("current_role", "name", |call| Ok((&call.catalog.facts().user).into())),
    stable("user", "name", |call| Ok((&call.catalog.facts().user).into())),
    stable("session_user", "name", |call| Ok((&call.catalog.facts().session_user).into())),
    stable("pg_backend_pid", "int4", |call| Ok(call.catalog.facts().backend_pid.into())),
    stable("pg_is_in_recovery", "bool", |_| Ok(false.into())),
    stable("pg_postmaster_start_time", "timestamptz", |call| Ok(call.catalog.facts().server_started.into())),
    stable("pg_conf_load_time", "timestamptz", |call| Ok(call.catalog.facts().server_started.into())),
    stable("inet_client_addr", "inet", |call| Ok(call.catalog.facts().client.map(|a| a.ip().to_string()).into())),
    stable("inet_client_port", "int4", |call| Ok(call.catalog.facts().client.map(|a| a.port()).into())),
    stable("inet_server_addr", "inet", |call| Ok(call.catalog.facts().server.map(|a| a.ip().to_string()).into())),
    stable("inet_server_port", "int4", |call| Ok(call.catalog.facts().server.map(|a| a.port()).into())),
    // Clients compare it with what they saw before to learn whether anything changed.
    stable("txid_current", "int8", |call| Ok((call.catalog.snapshot().version() as i64).into())),
    stable("pg_my_temp_schema", "oid", |_| Ok(0.into())),
    stable("pg_is_other_temp_schema", "bool", |_| Ok(false.into())),
    stable("getdatabaseencoding", "name", |_| Ok("UTF8".into())),
    stable("pg_client_encoding", "name", |_| Ok("UTF8".into())),
    stable("pg_encoding_to_char", "name", |call| {
        let at = call.argument(0).int().and_then(|number| usize::try_from(number).ok());
        Ok(at.and_then(|at| ENCODINGS.get(at).copied()).unwrap_or_default().into())
    }),
    stable("pg_char_to_encoding", "int4", |call| {
        let at = ENCODINGS.iter().position(|name| name.eq_ignore_ascii_case(call.text(0)));
        Ok(at.map_or(-1, |at| at as i32).into())
    }),
    stable("current_setting", "text", current_setting),
    volatile("set_config", "text", set_config).with_nulls(),
    volatile("pg_cancel_backend", "bool", |call| refusing(call.catalog.facts().access.cancel(pid(call)))),
    volatile("pg_terminate_backend", "bool", |call| refusing(call.catalog.facts().access.terminate(pid(call)))),
    volatile("pg_advisory_unlock_all", "void", |_| Ok("".into())),
];

/// PostgreSQL's encodings, by number.
const ENCODINGS: [&str; 42] = [
    "SQL_ASCII",
    "EUC_JP",
    "EUC_CN",
    "EUC_KR",
    "EUC_TW",
    "EUC_JIS_2004",
    "UTF8",
    "MULE_INTERNAL",
    "LATIN1",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "LATIN10",
    "WIN1256",
    "WIN1258",
    "WIN866",
    "WIN874",
    "KOI8R",
    "WIN1251",
    "WIN1252",
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "WIN1250",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1257",
    "KOI8U",
    "SJIS",
    "BIG5",
    "GBK",
    "UHC",
    "GB18030",
    "JOHAB",
    "SHIFT_JIS_2004",
];

fn refusing(done: std::result::Result<bool, SqlError>) -> Result<Cell> {
    done.map(Cell::from).map_err(|error| datafusion::error::DataFusionError::External(Box::new(error)))
}

fn pid(call: &Call) -> i32 {
    call.argument(0).int().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(-1)
}

/// `current_setting(name [, missing_ok])`.
fn current_setting(call: &Call) -> Result<Cell> {
    let name = call.text(0);
    match call.catalog.facts().access.setting(&name.to_ascii_lowercase()) {
        Some(value) => Ok(value.into()),
        None if call.argument(1) == &Cell::Bool(true) => Ok(Cell::Null),
        None => Err(refuse(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))),
    }
}

/// `set_config(name, value, is_local)`; a NULL value is the empty string.
fn set_config(call: &Call) -> Result<Cell> {
    let name = call.text(0).to_ascii_lowercase();
    if name.is_empty() {
        return Err(refuse(SqlState::INVALID_PARAMETER_VALUE, "SET requires parameter name"));
    }
    let value = call.argument(1).render().unwrap_or_default();
    let value = call.catalog.facts().access.set(&name, &value, call.argument(2) == &Cell::Bool(true));
    value.map(Cell::from).map_err(|error| datafusion::error::DataFusionError::External(Box::new(error)))
}
