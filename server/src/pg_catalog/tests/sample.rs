//! A small database: a source, two materialized views, a view, and a system view in a schema of its own.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use parking_lot::Mutex;
use sql::administration::Privilege;
use sql::error::{SqlError, SqlState};

use crate::pg_catalog::{
    BOOTSTRAP_ROLE, CatalogSnapshot, Contents, Grantee, PgCatalog, Relation, RelationKind, Role, SchemaEntry,
    SessionAccess, SessionActivity, SessionFacts, Setting,
};
use crate::roles::privileges::{Grant, Privileges};
use crate::roles::{Membership, Roles, Securable};

pub(super) const BIDS: u32 = 16385;
pub(super) const PER_MINUTE: u32 = 16386;
pub(super) const HOT: u32 = 16387;
pub(super) const RECENT: u32 = 16388;
pub(super) const TICKS: u32 = 16389;

fn field(name: &str, data: DataType, nullable: bool) -> FieldRef {
    Arc::new(Field::new(name, data, nullable))
}

fn relation(oid: u32, name: &str, kind: RelationKind, columns: Vec<FieldRef>) -> Relation {
    Relation {
        oid,
        schema: "public".into(),
        name: name.into(),
        kind,
        columns,
        definition: None,
        comment: None,
        column_comments: Vec::new(),
        rows: None,
        bytes: None,
        depends_on: Vec::new(),
        owner: BOOTSTRAP_ROLE,
        acl: None,
        grants: Roles::default().grants_on(Securable::Relation(oid), BOOTSTRAP_ROLE),
        accessible: true,
    }
}

pub(super) fn contents() -> Contents {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    let tags = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    let bids = Relation {
        comment: Some("Bids as they come".into()),
        column_comments: vec![(3, "in euro".into())],
        rows: Some(120_000),
        bytes: Some(9_000_000),
        ..relation(
            BIDS,
            "bids",
            RelationKind::Source,
            vec![
                field("auction", DataType::Int64, false),
                field("bidder", DataType::Int64, true),
                field("price", DataType::Decimal128(10, 2), true),
                field("channel", DataType::Utf8, true),
                field("ts", timestamp.clone(), true),
                field("tags", tags, true),
                field("_partition", DataType::Int32, true),
            ],
        )
    };
    let per_minute = Relation {
        definition: Some("SELECT date_trunc('minute', ts) AS window_start, auction, count(*) AS n, max(price) AS top\n   FROM bids\n  GROUP BY 1, 2".into()),
        rows: Some(42),
        bytes: Some(20_000),
        depends_on: vec![BIDS],
        ..relation(PER_MINUTE, "bids_per_minute", RelationKind::MaterializedView, vec![
            field("window_start", timestamp, true),
            field("auction", DataType::Int64, true),
            field("n", DataType::Int64, true),
            field("top", DataType::Decimal128(10, 2), true),
        ])
    };
    let hot = Relation {
        definition: Some("SELECT auction, sum(n) AS bids FROM bids_per_minute GROUP BY auction".into()),
        rows: Some(7),
        depends_on: vec![PER_MINUTE],
        ..relation(
            HOT,
            "hot",
            RelationKind::MaterializedView,
            vec![field("auction", DataType::Int64, true), field("bids", DataType::Decimal128(38, 0), true)],
        )
    };
    let recent = Relation {
        definition: Some("SELECT auction, price FROM bids WHERE ts > now() - INTERVAL '1 hour'".into()),
        depends_on: vec![BIDS],
        ..relation(
            RECENT,
            "recent",
            RelationKind::View,
            vec![field("auction", DataType::Int64, true), field("price", DataType::Decimal128(10, 2), true)],
        )
    };
    let ticks = Relation {
        schema: "tidemark".into(),
        ..relation(
            TICKS,
            "ticks",
            RelationKind::View,
            vec![field("tick", DataType::Int64, false), field("rows", DataType::Int64, false)],
        )
    };
    let role = |oid, name: &str, superuser, member_of| Role {
        oid,
        name: name.into(),
        superuser,
        login: true,
        connection_limit: -1,
        inherit: true,
        valid_until: None,
        settings: Vec::new(),
        member_of,
    };
    let member = Membership { role: 16391, member: 16390, grantor: BOOTSTRAP_ROLE, admin: false };
    let select = Privileges::of([Privilege::Select]);
    let granted =
        Grant { grantee: Some(16391), grantor: BOOTSTRAP_ROLE, privileges: select, grantable: Privileges::default() };
    let mut per_minute = per_minute;
    per_minute.grants.push(granted);
    per_minute.acl = Some(per_minute.grants.clone());
    Contents {
        version: 5,
        database: "tidemark".into(),
        database_oid: 16384,
        schemas: vec![SchemaEntry { oid: 16383, name: "tidemark".into(), comment: None }],
        roles: vec![
            role(BOOTSTRAP_ROLE, "admin", true, Vec::new()),
            role(16390, "reader", false, vec![member]),
            Role { login: false, ..role(16391, "analysts", false, Vec::new()) },
        ],
        relations: vec![hot, bids, recent, per_minute, ticks],
        indexes: Vec::new(),
        schema_acl: None,
        database_acl: None,
    }
}

/// One session's settings, and its neighbours.
#[derive(Debug, Default)]
pub(super) struct Access {
    pub changed: Mutex<Vec<(String, String)>>,
    pub cancelled: Mutex<Vec<i32>>,
}

const SETTINGS: [(&str, &str); 8] = [
    ("application_name", "psql"),
    ("default_table_access_method", "heap"),
    ("jit", "off"),
    ("max_index_keys", "32"),
    ("search_path", "\"$user\", public"),
    ("server_version", "13.14"),
    ("server_version_num", "130014"),
    ("TimeZone", "UTC"),
];

impl SessionAccess for Access {
    fn setting(&self, name: &str) -> Option<String> {
        let changed = self.changed.lock().iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.clone());
        let own = SETTINGS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        changed.or_else(|| own.map(|(_, value)| value.to_string()))
    }

    fn set(&self, name: &str, value: &str, _: bool) -> Result<String, SqlError> {
        if self.setting(name).is_none() && !name.contains('.') {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
        }
        self.changed.lock().push((name.to_string(), value.to_string()));
        Ok(value.to_string())
    }

    fn settings(&self) -> Vec<Setting> {
        let setting = |(name, value): &(&str, &str)| Setting {
            name: name.to_string(),
            value: value.to_string(),
            category: "Client Connection Defaults".into(),
            context: "user",
            value_type: "string",
            source: "default",
            boot_value: Some(value.to_string()),
            reset_value: Some(value.to_string()),
            ..Setting::default()
        };
        SETTINGS.iter().map(setting).collect()
    }

    fn sessions(&self) -> Vec<SessionActivity> {
        vec![SessionActivity {
            pid: 77,
            user: "reader".into(),
            application_name: "psql".into(),
            client: "127.0.0.1:50123".parse().ok(),
            backend_start: 1_700_000_000_000_000,
            state: "idle".into(),
            query: "SELECT 1".into(),
            ..SessionActivity::default()
        }]
    }

    fn cancel(&self, pid: i32) -> Result<bool, SqlError> {
        self.cancelled.lock().push(pid);
        Ok(pid == 77)
    }

    fn terminate(&self, pid: i32) -> Result<bool, SqlError> {
        Ok(pid == 77)
    }

    fn holds(&self, grantee: Grantee, on: Securable, privilege: Option<Privilege>, grantable: bool) -> bool {
        let reads = on == Securable::Relation(PER_MINUTE) && privilege == Some(Privilege::Select) && !grantable;
        matches!(grantee, Grantee::Asker | Grantee::Role(BOOTSTRAP_ROLE)) || (grantee == Grantee::Role(16390) && reads)
    }

    fn is_member(&self, member: Grantee, of: u32, _: bool, admin: bool) -> bool {
        matches!(member, Grantee::Asker | Grantee::Role(BOOTSTRAP_ROLE))
            || (member == Grantee::Role(16390) && of == 16391 && !admin)
    }
}

pub(super) fn catalog_with(access: Arc<Access>) -> PgCatalog {
    let facts = SessionFacts {
        user: "admin".into(),
        session_user: "admin".into(),
        enabled_roles: [BOOTSTRAP_ROLE, 16390, 16391].into(),
        backend_pid: 76,
        search_path: vec!["$user".into(), "public".into()],
        client: "127.0.0.1:50122".parse().ok(),
        server: "127.0.0.1:5432".parse().ok(),
        server_started: 1_700_000_000_000_000,
        access,
    };
    PgCatalog::new(Arc::new(CatalogSnapshot::new(contents())), Arc::new(facts))
}

pub(super) fn catalog() -> PgCatalog {
    catalog_with(Arc::default())
}
