//! The relations of `pg_catalog` and `information_schema` themselves: their columns, OIDs and kinds, read once from
//! `static/relations.txt`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{Schema, SchemaRef};

use super::types;

/// One relation of `pg_catalog` or `information_schema`.
#[derive(Debug)]
pub struct SystemRelation {
    /// Its OID: PostgreSQL's own.
    pub oid: u32,
    /// `pg_catalog` or `information_schema`.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// `r` for a table, `v` for a view.
    pub kind: &'static str,
    /// Its columns, in order.
    pub columns: Vec<SystemColumn>,
    /// The same as Arrow has it.
    pub arrow: SchemaRef,
}

/// A column of a [`SystemRelation`].
#[derive(Debug)]
pub struct SystemColumn {
    /// Its name.
    pub name: &'static str,
    /// Its type's `typname`.
    pub type_name: &'static str,
    /// What a row holds that does not say otherwise; `None` is NULL.
    pub default: Option<&'static str>,
}

/// A table function of PostgreSQL that stands in FROM here as a relation of this name; `pg_class` does not list them.
const FUNCTIONS_IN_FROM: [(&str, &str); 3] = [
    ("pg_get_keywords", "word:text catcode:char catdesc:text"),
    ("pg_options_to_table", "option_name:text option_value:text"),
    ("aclexplode", "grantor:oid grantee:oid privilege_type:text is_grantable:bool"),
];

struct System {
    relations: Vec<SystemRelation>,
    by_name: HashMap<(&'static str, &'static str), usize>,
    by_oid: HashMap<u32, usize>,
}

static SYSTEM: LazyLock<System> = LazyLock::new(|| {
    let mut schema = "";
    let mut relations = Vec::new();
    for line in include_str!("static/relations.txt").lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            schema = name.trim_end_matches(']');
            continue;
        }
        let mut words = line.splitn(4, ' ');
        let (Some(oid), Some(kind), Some(name), Some(columns)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        relations.push(relation(oid.parse().unwrap_or_default(), schema, name, kind, columns));
    }
    let listed = relations.len();
    relations.extend(FUNCTIONS_IN_FROM.iter().map(|(name, columns)| relation(0, "pg_catalog", name, "f", columns)));
    let by_name = relations.iter().enumerate().map(|(at, r)| ((r.schema, r.name), at)).collect();
    let by_oid = relations[..listed].iter().enumerate().map(|(at, r)| (r.oid, at)).collect();
    System { relations, by_name, by_oid }
});

fn relation(
    oid: u32,
    schema: &'static str,
    name: &'static str,
    kind: &'static str,
    columns: &'static str,
) -> SystemRelation {
    let columns: Vec<SystemColumn> = columns
        .split(' ')
        .map(|column| {
            let (name, rest) = column.split_once(':').unwrap_or((column, "text"));
            let (type_name, default) = match rest.split_once('=') {
                Some((type_name, default)) => (type_name, Some(default)),
                None => (rest, None),
            };
            SystemColumn { name, type_name, default }
        })
        .collect();
    let fields: Vec<_> = columns.iter().map(|column| types::typed_field(column.name, column.type_name)).collect();
    SystemRelation { oid, schema, name, kind, columns, arrow: Arc::new(Schema::new(fields)) }
}

/// All of them that `pg_class` lists.
pub fn relations() -> impl Iterator<Item = &'static SystemRelation> {
    SYSTEM.relations.iter().filter(|relation| relation.oid != 0)
}

/// The relation `name` of `schema`; both in lower case.
pub fn find(schema: &str, name: &str) -> Option<&'static SystemRelation> {
    SYSTEM.by_name.get(&(schema, name)).map(|at| &SYSTEM.relations[*at])
}

/// The relation with this OID.
pub fn by_oid(oid: u32) -> Option<&'static SystemRelation> {
    SYSTEM.by_oid.get(&oid).map(|at| &SYSTEM.relations[*at])
}

/// OID of the schema `pg_catalog`.
pub const PG_CATALOG: u32 = 11;
/// OID of the schema `public`.
pub const PUBLIC: u32 = 2200;
/// OID of the schema `information_schema`.
pub const INFORMATION_SCHEMA: u32 = 13220;

/// The OID of a schema the server is born with.
pub fn schema_oid(name: &str) -> Option<u32> {
    match name {
        "pg_catalog" => Some(PG_CATALOG),
        "information_schema" => Some(INFORMATION_SCHEMA),
        "public" => Some(PUBLIC),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_in_postgres_order_with_a_type_we_know() {
        let class = find("pg_catalog", "pg_class").expect("listed");
        assert_eq!(class.oid, 1259);
        assert_eq!(class.columns.len(), 33);
        assert_eq!((class.columns[0].name, class.columns[16].name), ("oid", "relkind"));
        assert_eq!(by_oid(1249).map(|r| r.name), Some("pg_attribute"));
        assert!(by_oid(0).is_none() && find("pg_catalog", "aclexplode").is_some());
        for relation in relations() {
            assert!(schema_oid(relation.schema).is_some());
            for column in &relation.columns {
                assert!(types::by_name(column.type_name).is_some(), "{} {}", relation.name, column.type_name);
            }
        }
    }
}
