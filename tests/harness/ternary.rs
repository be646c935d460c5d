//! Ternary logic partitioning (Rigger and Su, "Finding bugs in database systems via query partitioning", OOPSLA 2020), on views:
//! what a predicate takes, what its negation takes, and where it is NULL are together the whole view, at every tick.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field};
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::case::Case;
use super::{compare, run};

/// A case's view, and the three parts of it.
#[derive(Debug)]
pub struct Ternary {
    case: Case,
    /// The predicate.
    pub predicate: String,
}

impl Ternary {
    /// The case of a seed with a predicate over one of its view's columns; `None` if no column has one.
    ///
    /// # Errors
    /// What the planner refuses.
    pub fn of(seed: u64) -> Result<Option<Self>, String> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x3);
        let case = Case::of(seed);
        let planned = run::plan(&run::catalog(case.feeds).0, &case.query.create_text());
        let schema = planned.map_err(|error| error.to_string())?.dataflow.schema;
        let predicates = schema.fields().iter().filter_map(|field| predicate(&mut rng, field));
        let predicates: Vec<String> = predicates.collect();
        Ok(predicates.into_iter().choose(&mut rng).map(|predicate| Self { case, predicate }))
    }

    /// Runs the view and its parts over the same records, cuts and restarts.
    ///
    /// # Errors
    /// The first tick at which the parts are not the whole, a failed view, or what the planner refuses.
    pub fn run(&self) -> Result<(), String> {
        let whole = self.case.rows_of(&self.case.query.create_text())?;
        let p = &self.predicate;
        let parts = [p.clone(), format!("NOT ({p})"), format!("({p}) IS NULL")];
        let parts = parts.iter().map(|condition| self.case.rows_of(&self.case.query.create_text_where(condition)));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        for (tick, whole) in whole.iter().enumerate() {
            let together: Vec<RecordBatch> = parts.iter().flat_map(|part| part[tick].iter().cloned()).collect();
            compare::equal(whole, &together).map_err(|error| format!("tick {}: {error}", tick + 1))?;
        }
        Ok(())
    }

    /// The case and the predicate.
    pub fn text(&self) -> String {
        format!("{}\n  by {}", self.case.query.create_text(), self.predicate)
    }
}

fn predicate(rng: &mut impl Rng, field: &Field) -> Option<String> {
    let conditions: &[&str] = match field.data_type() {
        DataType::Boolean => &["", " = false"],
        DataType::Utf8 | DataType::Utf8View => &[" >= 'a'", " = ''", " LIKE '%n%'"],
        DataType::Date32 => &[" < DATE '2026-02-10'", " = DATE '2026-02-02'"],
        DataType::Timestamp(_, None) => &[" < TIMESTAMP '2026-03-02 00:00:00'", " >= TIMESTAMP '2026-03-01 23:59:40'"],
        data_type if data_type.is_integer() => &[" > 0", " % 2 = 0", " = 1", " BETWEEN 1 AND 3"],
        data_type if data_type.is_numeric() => &[" > 10", " <= 0", " <> 1"],
        _ => return None,
    };
    Some(format!("\"{}\"{}", field.name(), conditions.choose(rng)?))
}
