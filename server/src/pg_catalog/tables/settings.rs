//! Settings and time zones.

use std::sync::LazyLock;

use arrow::array::RecordBatch;
use chrono::{Offset, TimeZone, Utc};
use chrono_tz::{OffsetComponents, OffsetName, TZ_VARIANTS};
use datafusion::error::Result;

use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::session::SessionFacts;
use crate::pg_catalog::system::SystemRelation;

pub(super) fn pg_settings(facts: &SessionFacts, relation: &'static SystemRelation) -> Result<RecordBatch> {
    let columns = ["name", "setting", "unit", "category", "short_desc", "context", "vartype", "source"];
    let mut rows = Rows::new(relation, &[&columns[..], &["enumvals", "boot_val", "reset_val"]].concat());
    for setting in facts.access.settings() {
        rows.push([
            setting.name.into(),
            setting.value.into(),
            setting.unit.into(),
            setting.category.into(),
            setting.description.into(),
            setting.context.into(),
            setting.value_type.into(),
            setting.source.into(),
            if setting.choices.is_empty() { Cell::Null } else { setting.choices.into() },
            setting.boot_value.into(),
            setting.reset_value.into(),
        ]);
    }
    rows.finish()
}

/// Every zone with its abbreviation and offset now.
pub(super) fn pg_timezone_names(relation: &'static SystemRelation) -> Result<RecordBatch> {
    static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| TZ_VARIANTS.iter().map(|zone| zone.name()).collect());
    let now = Utc::now().naive_utc();
    let mut rows = Rows::new(relation, &["name", "abbrev", "utc_offset", "is_dst"]);
    for (zone, name) in TZ_VARIANTS.iter().zip(NAMES.iter()) {
        let offset = zone.offset_from_utc_datetime(&now);
        rows.push([
            (*name).into(),
            offset.abbreviation().into(),
            (i64::from(offset.fix().local_minus_utc()) * 1_000_000).into(),
            (!offset.dst_offset().is_zero()).into(),
        ]);
    }
    rows.finish()
}
