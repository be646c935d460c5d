//! `information_schema.columns` and the privileges on columns.

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use datafusion::error::Result;

use super::yes_or_no;
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::session::SessionFacts;
use crate::pg_catalog::snapshot::CatalogSnapshot;
use crate::pg_catalog::system::{self, SystemRelation};
use crate::pg_catalog::types::{self, type_of};

/// Bytes the longest character takes in UTF-8, as `character_octet_length` counts them.
const CHARACTER_BYTES_MAX: i32 = 4;
/// The octet length of a string without a limit.
const OCTETS_MAX: i32 = 1 << 30;

/// What the standard says of a type beside its name.
#[derive(Default)]
pub(super) struct TypeFacts {
    pub name: String,
    pub typname: &'static str,
    pub characters: Option<i32>,
    pub octets: Option<i32>,
    pub precision: Option<i32>,
    pub radix: Option<i32>,
    pub scale: Option<i32>,
    pub datetime_precision: Option<i32>,
}

/// Reads the facts of a type with a modifier (-1 for none).
pub(super) fn type_facts(oid: u32, typmod: i32) -> TypeFacts {
    let typname = types::by_oid(oid).map_or("text", |row| row.name);
    let is_array = typname.starts_with('_');
    let name = if is_array { "ARRAY".to_string() } else { types::format_type(oid, -1) };
    let mut facts = TypeFacts { name, typname, ..TypeFacts::default() };
    let mut number = |bits: i32, radix: i32, scale: Option<i32>| {
        (facts.precision, facts.radix, facts.scale) = (Some(bits), Some(radix), scale);
    };
    match typname {
        "int2" => number(16, 2, Some(0)),
        "int4" => number(32, 2, Some(0)),
        "int8" => number(64, 2, Some(0)),
        "float4" => number(24, 2, None),
        "float8" => number(53, 2, None),
        "numeric" if typmod > 4 => number((typmod - 4) >> 16, 10, Some((typmod - 4) & 0xffff)),
        "numeric" => facts.radix = Some(10),
        "text" | "varchar" | "bpchar" => {
            facts.characters = (typmod > 4).then_some(typmod - 4);
            facts.octets = Some(facts.characters.map_or(OCTETS_MAX, |count| count * CHARACTER_BYTES_MAX));
        }
        "date" => facts.datetime_precision = Some(0),
        "time" | "timetz" | "timestamp" | "timestamptz" | "interval" => {
            facts.datetime_precision = Some(if typmod < 0 { 6 } else { typmod });
        }
        _ => {}
    }
    facts
}

pub(super) fn columns(snapshot: &CatalogSnapshot, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let named = ["table_catalog", "table_schema", "table_name", "column_name", "ordinal_position", "is_nullable"];
    let typed = ["data_type", "character_maximum_length", "character_octet_length", "numeric_precision"];
    let more = ["numeric_precision_radix", "numeric_scale", "datetime_precision", "udt_catalog", "udt_schema"];
    let last = ["udt_name", "dtd_identifier", "is_self_referencing", "is_identity", "identity_cycle"];
    let flags = ["is_generated", "is_updatable"];
    let mut rows = Rows::new(relation, &[&named[..], &typed, &more, &last, &flags].concat());
    for_each_column(snapshot, &mut |schema, table, position, field| {
        let (oid, typmod) = type_of(field);
        let facts = type_facts(oid, typmod);
        let database = || Cell::from(snapshot.database());
        rows.push([
            database(),
            schema.into(),
            table.into(),
            field.name().into(),
            position.into(),
            yes_or_no(field.is_nullable()),
            facts.name.into(),
            facts.characters.into(),
            facts.octets.into(),
            facts.precision.into(),
            facts.radix.into(),
            facts.scale.into(),
            facts.datetime_precision.into(),
            database(),
            "pg_catalog".into(),
            facts.typname.into(),
            position.to_string().into(),
            yes_or_no(false),
            yes_or_no(false),
            yes_or_no(false),
            "NEVER".into(),
            yes_or_no(false),
        ]);
    });
    rows.finish()
}

/// The same as the privileges on tables, column by column; of those that a column can have.
pub(in crate::pg_catalog::tables) fn column_privileges(
    snapshot: &CatalogSnapshot,
    facts: &SessionFacts,
    relation: &'static SystemRelation,
    public: bool,
) -> Result<RecordBatch> {
    let columns = ["grantor", "grantee", "table_catalog", "table_schema", "table_name", "column_name"];
    let mut rows = Rows::new(relation, &[&columns[..], &["privilege_type", "is_grantable"]].concat());
    let listed = super::listed(snapshot, facts, public);
    for found in listed.iter().filter(|found| matches!(found.privilege, "SELECT" | "INSERT" | "UPDATE")) {
        for field in &found.relation.columns {
            rows.push([
                found.grantor.into(),
                found.grantee.into(),
                snapshot.database().into(),
                (&found.relation.schema).into(),
                (&found.relation.name).into(),
                field.name().into(),
                found.privilege.into(),
                yes_or_no(found.grantable),
            ]);
        }
    }
    rows.finish()
}

/// Calls `each` with schema, table, position from 1 and field of every column there is.
fn for_each_column(snapshot: &CatalogSnapshot, each: &mut dyn FnMut(&str, &str, i32, &Field)) {
    for own in system::relations() {
        for (at, field) in own.arrow.fields().iter().enumerate() {
            each(own.schema, own.name, at as i32 + 1, field);
        }
    }
    for user in snapshot.relations().iter().filter(|user| user.accessible) {
        for (at, field) in user.columns.iter().enumerate() {
            each(&user.schema, &user.name, at as i32 + 1, field);
        }
    }
}
