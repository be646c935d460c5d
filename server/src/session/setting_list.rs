//! Every session setting there is: PostgreSQL's names and defaults, as far as clients ask for them.
//!
//! A setting that changes nothing here is still accepted and validated where real clients set it; one that Postgres
//! does not know is refused by the caller.

/// What a setting's value may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Bool,
    /// Bounds, and the unit a bare number is in.
    Integer(i64, i64, Unit),
    Real(f64, f64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// Anything.
    Text,
    /// Cut to 63 bytes, what is not printable ASCII replaced.
    Name,
    DateStyle,
    TimeZone,
    Encoding,
    /// A list of schema names.
    SearchPath,
    Isolation,
    /// An amount of memory, or `bounded`.
    StateBudget,
}

/// What a bare number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    None,
    Milliseconds,
    Kilobytes,
}

/// One setting.
#[derive(Debug)]
pub(super) struct Definition {
    pub name: &'static str,
    pub default: &'static str,
    pub kind: Kind,
    /// Told to the client by ParameterStatus.
    pub reported: bool,
    /// Refuses SET with 55P02.
    pub read_only: bool,
    /// Refuses SET with 42501 to all but superusers.
    pub superuser: bool,
    pub description: &'static str,
}

const fn setting(name: &'static str, default: &'static str, kind: Kind, description: &'static str) -> Definition {
    Definition { name, default, kind, reported: false, read_only: false, superuser: false, description }
}

/// Known to clients, without effect here.
const fn accepted(name: &'static str, default: &'static str, kind: Kind) -> Definition {
    setting(name, default, kind, "Accepted; it changes nothing here.")
}

const fn reported(name: &'static str, default: &'static str, kind: Kind, description: &'static str) -> Definition {
    Definition { name, default, kind, reported: true, read_only: false, superuser: false, description }
}

/// Memory that protects the server: superusers set it, for sessions and for roles.
const fn limit(name: &'static str, default: &'static str, description: &'static str) -> Definition {
    Definition { name, default, kind: KILOBYTES, reported: false, read_only: false, superuser: true, description }
}

const fn fixed(name: &'static str, default: &'static str, is_reported: bool, description: &'static str) -> Definition {
    Definition {
        name,
        default,
        kind: Kind::Text,
        reported: is_reported,
        read_only: true,
        superuser: false,
        description,
    }
}

const MESSAGES: Kind = Kind::Word(&[
    "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice", "warning", "error", "info", "fatal",
    "panic",
]);
const MILLISECONDS: Kind = Kind::Integer(0, i32::MAX as i64, Unit::Milliseconds);
const KILOBYTES: Kind = Kind::Integer(0, i32::MAX as i64, Unit::Kilobytes);
const NATURAL: Kind = Kind::Integer(0, i32::MAX as i64, Unit::None);
const COST: Kind = Kind::Real(0.0, f64::MAX);

/// The version clients are told: old enough that they leave out what only newer catalogs answer.
pub const SERVER_VERSION: &str = "13.14";

/// All settings, sorted by name as SHOW ALL lists them.
pub(super) const SETTINGS: &[Definition] = &[
    reported("application_name", "", Kind::Name, "The name the client gives itself; shown in the list of sessions."),
    accepted("array_nulls", "on", Kind::Bool),
    setting(
        "as_of_tick",
        "-1",
        Kind::Integer(-1, i64::MAX, Unit::None),
        "The tick that reads see, while it is kept; -1 is the newest.",
    ),
    accepted("backslash_quote", "safe_encoding", Kind::Word(&["safe_encoding", "on", "off"])),
    fixed("block_size", "8192", false, "Shown for compatibility."),
    setting("bytea_output", "hex", Kind::Word(&["hex", "escape"]), "How bytea is written as text: hex or escape."),
    accepted("check_function_bodies", "on", Kind::Bool),
    reported("client_encoding", "UTF8", Kind::Encoding, "The encoding of text on the wire; always UTF-8."),
    setting("client_min_messages", "notice", MESSAGES, "The least severe notice that is sent."),
    accepted("cpu_tuple_cost", "0.01", COST),
    reported(
        "DateStyle",
        "ISO, MDY",
        Kind::DateStyle,
        "How dates are written; always ISO, the order of day and month is kept.",
    ),
    accepted("default_tablespace", "", Kind::Text),
    accepted("default_transaction_deferrable", "off", Kind::Bool),
    setting(
        "default_transaction_isolation",
        "serializable",
        Kind::Isolation,
        "The isolation level new transactions report; reads are serializable at every level.",
    ),
    reported("default_transaction_read_only", "off", Kind::Bool, "Whether new transactions refuse definitions."),
    accepted("effective_cache_size", "4GB", KILOBYTES),
    accepted("enable_bitmapscan", "on", Kind::Bool),
    accepted("enable_hashagg", "on", Kind::Bool),
    accepted("enable_hashjoin", "on", Kind::Bool),
    accepted("enable_indexscan", "on", Kind::Bool),
    accepted("enable_mergejoin", "on", Kind::Bool),
    accepted("enable_nestloop", "on", Kind::Bool),
    accepted("enable_seqscan", "on", Kind::Bool),
    accepted("enable_sort", "on", Kind::Bool),
    accepted("escape_string_warning", "on", Kind::Bool),
    setting(
        "extra_float_digits",
        "1",
        Kind::Integer(-15, 3, Unit::None),
        "Digits of floats: above 0 the shortest exact text, else 15 plus this many.",
    ),
    accepted("force_parallel_mode", "off", Kind::Word(&["off", "on", "regress"])),
    accepted("from_collapse_limit", "8", NATURAL),
    accepted("geqo", "on", Kind::Bool),
    accepted("gin_fuzzy_search_limit", "0", NATURAL),
    setting(
        "idle_in_transaction_session_timeout",
        "0",
        MILLISECONDS,
        "Ends a session that waits this long inside a transaction block; 0 never does.",
    ),
    setting(
        "idle_session_timeout",
        "0",
        MILLISECONDS,
        "Ends a session that waits this long outside a transaction block; 0 never does.",
    ),
    fixed("in_hot_standby", "off", true, "Whether the server is a standby; it is not."),
    fixed("integer_datetimes", "on", true, "Times are sent as whole microseconds."),
    reported(
        "IntervalStyle",
        "postgres",
        Kind::Word(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]),
        "How intervals are written: postgres or iso_8601.",
    ),
    fixed("is_superuser", "off", true, "Whether the session's role may do everything."),
    accepted("jit", "off", Kind::Bool),
    accepted("join_collapse_limit", "8", NATURAL),
    fixed("lc_collate", "C", false, "The order of texts: by code point."),
    fixed("lc_ctype", "C.UTF-8", false, "The classes of characters."),
    accepted("lc_messages", "C", Kind::Text),
    accepted("lc_monetary", "C", Kind::Text),
    accepted("lc_numeric", "C", Kind::Text),
    accepted("lc_time", "C", Kind::Text),
    accepted("lo_compat_privileges", "off", Kind::Bool),
    accepted("lock_timeout", "0", MILLISECONDS),
    accepted("log_min_duration_statement", "-1", Kind::Integer(-1, i32::MAX as i64, Unit::Milliseconds)),
    accepted("log_statement", "none", Kind::Word(&["none", "ddl", "mod", "all"])),
    accepted("maintenance_work_mem", "64MB", KILOBYTES),
    fixed("max_connections", "100", false, "Sessions at a time."),
    fixed("max_identifier_length", "63", false, "Bytes of an identifier in PostgreSQL."),
    fixed("max_index_keys", "32", false, "Shown for compatibility."),
    accepted("max_parallel_workers_per_gather", "2", NATURAL),
    setting(
        "max_view_state",
        "0",
        Kind::StateBudget,
        "What views created from now on may take: an amount of memory, bounded to refuse state that never shrinks, or 0.",
    ),
    accepted("plan_cache_mode", "auto", Kind::Word(&["auto", "force_generic_plan", "force_custom_plan"])),
    limit("query_memory_max", "1GB", "What a query may hold while it runs; 0 is any amount."),
    accepted("quote_all_identifiers", "off", Kind::Bool),
    accepted("random_page_cost", "4", COST),
    setting("role", "none", Kind::Text, "The role the session acts as."),
    limit("role_memory_max", "4GB", "What all queries of the session's role may hold while they run; 0 is any amount."),
    accepted("row_security", "on", Kind::Bool),
    setting(
        "search_path",
        "\"$user\", public",
        Kind::SearchPath,
        "The schemas in which names without one are looked up.",
    ),
    accepted("seq_page_cost", "1", COST),
    fixed("server_encoding", "UTF8", true, "The encoding of stored text."),
    fixed("server_version", SERVER_VERSION, true, "The PostgreSQL version whose behaviour clients may expect."),
    fixed("server_version_num", "130014", false, "The same version as a number."),
    fixed("session_authorization", "", true, "The role the session logged in as."),
    accepted("session_replication_role", "origin", Kind::Word(&["origin", "replica", "local"])),
    accepted("ssl_renegotiation_limit", "0", Kind::Integer(0, 0, Unit::Kilobytes)),
    reported("standard_conforming_strings", "on", Kind::Bool, "Accepted; it changes nothing here."),
    setting("statement_timeout", "0", MILLISECONDS, "Cancels a statement that runs this long; 0 never does."),
    accepted("synchronize_seqscans", "on", Kind::Bool),
    accepted("synchronous_commit", "on", Kind::Word(&["local", "remote_write", "remote_apply", "on", "off"])),
    accepted("temp_buffers", "8MB", KILOBYTES),
    reported("TimeZone", "UTC", Kind::TimeZone, "The time zone in which timestamptz is written and read."),
    accepted("timezone_abbreviations", "Default", Kind::Text),
    accepted("transaction_deferrable", "off", Kind::Bool),
    setting("transaction_isolation", "serializable", Kind::Isolation, "The isolation level the transaction reports."),
    setting("transaction_read_only", "off", Kind::Bool, "Whether the transaction refuses definitions."),
    accepted("transform_null_equals", "off", Kind::Bool),
    accepted("vacuum_cost_delay", "0", Kind::Real(0.0, 100.0)),
    accepted("work_mem", "4MB", KILOBYTES),
    accepted("xmlbinary", "base64", Kind::Word(&["base64", "hex"])),
    accepted("xmloption", "content", Kind::Word(&["content", "document"])),
];

/// The definition of a setting, by its name in any case.
pub(super) fn find(name: &str) -> Option<&'static Definition> {
    SETTINGS.iter().find(|definition| definition.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_defaults_are_valid() {
        for pair in SETTINGS.windows(2) {
            assert!(pair[0].name.to_ascii_lowercase() < pair[1].name.to_ascii_lowercase(), "{}", pair[1].name);
        }
        for definition in SETTINGS.iter().filter(|d| d.kind != Kind::Text) {
            let canonical = super::super::setting_value::canonical(definition, definition.default);
            assert_eq!(canonical.as_deref(), Ok(definition.default), "{}", definition.name);
        }
    }
}
