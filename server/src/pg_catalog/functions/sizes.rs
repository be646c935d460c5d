//! How much there is: sizes in bytes, and the counters behind the statistics views.

use datafusion::error::Result;

use super::{Call, Definition, stable};
use crate::pg_catalog::rows::Cell;
use crate::pg_catalog::types::{self, type_of};

pub(super) static LIST: [Definition; 20] = [
    stable("pg_relation_size", "int8", relation_size),
    stable("pg_table_size", "int8", relation_size),
    stable("pg_total_relation_size", "int8", relation_size),
    stable("pg_indexes_size", "int8", |_| Ok(0.into())),
    stable("pg_database_size", "int8", |call| {
        let bytes: u64 = call.catalog.snapshot().relations().iter().filter_map(|relation| relation.bytes).sum();
        Ok((bytes as i64).into())
    }),
    stable("pg_tablespace_size", "int8", |_| Ok(0.into())),
    stable("pg_size_pretty", "text", |call| Ok(call.argument(0).int().map(size_pretty).into())),
    stable("pg_column_size", "int4", column_size),
    stable("pg_relation_filenode", "oid", |_| Ok(Cell::Null)),
    stable("pg_relation_filepath", "text", |_| Ok(Cell::Null)),
    stable("pg_stat_get_numscans", "int8", |_| Ok(0.into())),
    stable("pg_stat_get_tuples_returned", "int8", |_| Ok(0.into())),
    stable("pg_stat_get_tuples_fetched", "int8", |_| Ok(0.into())),
    stable("pg_stat_get_tuples_inserted", "int8", |_| Ok(0.into())),
    stable("pg_stat_get_tuples_updated", "int8", |_| Ok(0.into())),
    stable("pg_stat_get_tuples_deleted", "int8", |_| Ok(0.into())),
    stable("pg_stat_get_live_tuples", "int8", |call| {
        let rows = call.catalog.snapshot().relation(call.oid(0)).and_then(|relation| relation.rows);
        Ok((rows.unwrap_or(0) as i64).into())
    }),
    stable("pg_stat_get_dead_tuples", "int8", |_| Ok(0.into())),
    stable("pg_stat_get_blocks_fetched", "int8", |_| Ok(0.into())),
    stable("pg_stat_get_blocks_hit", "int8", |_| Ok(0.into())),
];

/// The bytes a relation holds; NULL for one that does not exist.
fn relation_size(call: &Call) -> Result<Cell> {
    let oid = call.relation(0)?;
    let snapshot = call.catalog.snapshot();
    let known = snapshot.qualified_name(oid).map(|_| snapshot.relation(oid).and_then(|relation| relation.bytes));
    Ok(known.map(|bytes| bytes.unwrap_or(0) as i64).into())
}

/// `pg_size_pretty`: the largest unit in which the number has at least 5 digits left of it, rounded half up.
fn size_pretty(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let mut size = i128::from(bytes);
    let mut unit = 0;
    // As PostgreSQL does it, one bit is kept below the unit so that the last division can round.
    while size.abs() >= if unit == 0 { 10 * 1024 } else { 20 * 1024 - 1 } && unit + 1 < UNITS.len() {
        size /= if unit == 0 { 512 } else { 1024 };
        unit += 1;
    }
    if unit > 0 {
        size = (size + size.signum()) / 2;
    }
    format!("{size} {}", UNITS[unit])
}

fn column_size(call: &Call) -> Result<Cell> {
    let length = call.fields.first().and_then(|field| types::by_oid(type_of(field).0)).map_or(-1, |row| row.length);
    Ok(match u64::try_from(length) {
        Ok(bytes) => (bytes as i64).into(),
        Err(_) => {
            let bytes = call.argument(0).render().unwrap_or_default().len() as i64;
            // A short value has a header of one byte, a long one of four.
            (bytes + if bytes < 127 { 1 } else { 4 }).into()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::size_pretty;

    #[test]
    fn sizes_read_as_postgres_writes_them() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (10239, "10239 bytes"),
            (10240, "10 kB"),
            (1_048_576, "1024 kB"),
            (10_485_247, "10239 kB"),
            (10_485_248, "10 MB"),
            (-10_240, "-10 kB"),
            (1 << 40, "1024 GB"),
        ] {
            assert_eq!(size_pretty(bytes), text);
        }
    }
}
