//! `SHOW SOURCES` and its kin, `DESCRIBE`, `SHOW CREATE`.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use sql::binder::{Relation, Relations as _};
use sql::catalog::{Definition, Object};
use sql::rename::quoted;
use sql::secret::HIDDEN;
use sql::statement::{ObjectKind, ShowObjects};
use sql::{SqlError, SqlState};

use super::Reading;
use super::relations::ReadRelations;

/// The SELECT that a SHOW stands for.
pub fn query(show: ShowObjects) -> &'static str {
    match show {
        ShowObjects::Sources => "SELECT * FROM tidemark.sources ORDER BY name",
        ShowObjects::MaterializedViews => "SELECT * FROM tidemark.materialized_views ORDER BY name",
        ShowObjects::Views => "SELECT * FROM tidemark.views ORDER BY name",
        ShowObjects::Tables => "SELECT * FROM tidemark.relations ORDER BY name",
        ShowObjects::Backfills => "SELECT * FROM tidemark.backfills",
        ShowObjects::Checkpoints => "SELECT * FROM tidemark.checkpoints ORDER BY at DESC LIMIT 20",
        ShowObjects::Ticks => "SELECT * FROM tidemark.ticks ORDER BY tick DESC LIMIT 20",
    }
}

/// A table of text columns.
pub fn text_table(columns: &[(&str, Vec<Option<String>>)]) -> RecordBatch {
    let fields: Vec<_> = columns.iter().map(|(name, _)| Field::new(*name, DataType::Utf8View, true)).collect();
    let array =
        |values: &Vec<Option<String>>| Arc::new(values.iter().map(Option::as_deref).collect::<StringViewArray>()) as _;
    let arrays = columns.iter().map(|(_, values)| array(values)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("text columns of equal length")
}

/// `DESCRIBE name`: its columns.
///
/// # Errors
/// 42P01.
pub fn describe(
    schema: Option<&str>,
    name: &str,
    reading: &Reading,
    relations: &ReadRelations<'_>,
) -> Result<RecordBatch, SqlError> {
    let fields = match (schema, object(name, reading)) {
        (None, Ok(object)) => object.columns.iter().cloned().collect::<Fields>(),
        // A relation that comes with a source, or one of the system's.
        (_, missing) => match relations.relation(schema, name) {
            Some(Relation::Table(table)) => table.schema().fields().clone(),
            _ => {
                return Err(missing
                    .err()
                    .unwrap_or_else(|| no_relation(&format!("{}.{name}", schema.unwrap_or_default()))));
            }
        },
    };
    let columns = fields.iter();
    Ok(text_table(&[
        ("column", columns.clone().map(|field| Some(field.name().clone())).collect()),
        ("type", columns.clone().map(|field| Some(sql::types::display(field))).collect()),
        ("nullable", columns.map(|field| Some(if field.is_nullable() { "YES" } else { "NO" }.into())).collect()),
    ]))
}

/// `SHOW CREATE … name`: the statement that made it, with the values of secret options hidden.
///
/// # Errors
/// 42P01, 42809 if the name stands for another kind of object than the statement says.
pub fn create(
    kind: Option<ObjectKind>,
    name: &str,
    reading: &Reading,
    is_hidden: &dyn Fn(&str) -> bool,
) -> Result<RecordBatch, SqlError> {
    let object = object(name, reading)?;
    if let Some(kind) = kind {
        reading.catalog.expect(name, kind)?;
    }
    Ok(text_table(&[
        ("name", vec![Some(object.name.clone())]),
        ("create_statement", vec![Some(without_secrets(object, is_hidden))]),
    ]))
}

/// The text of the statement that made an object, fit to be shown.
fn without_secrets(object: &Object, is_hidden: &dyn Fn(&str) -> bool) -> String {
    let mut text = object.text.clone();
    let Definition::Source(create) = &object.definition else { return text };
    // Secrets with names of their own show these. From the last to the first, so that the places before stay where they are.
    let places = sql::parser::option_places(&object.text).into_iter().rev();
    for (_, place) in places.filter(|(name, _)| sql::parser::is_secret_option(name)) {
        let given = |name: &String| {
            let shown = &text[place.clone()];
            (shown.ends_with(name) || shown.ends_with(&quoted(name))) && !is_hidden(name)
        };
        if !create.secrets.iter().any(|(_, name)| given(name)) {
            text.replace_range(place, &format!("'{HIDDEN}'"));
        }
    }
    text
}

fn no_relation(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
}

fn object<'a>(name: &str, reading: &'a Reading) -> Result<&'a Arc<Object>, SqlError> {
    reading.catalog.get(name).ok_or_else(|| no_relation(name))
}
