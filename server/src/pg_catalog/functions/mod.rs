//! PostgreSQL's system functions, as DataFusion scalar functions.
//!
//! Each is one entry in a list: a name, the type it returns, how constant it is, and a body that takes one row's
//! [`Cell`]s and gives one back. Arguments come as they are: the bodies read an OID from a number as well as from text
//! that spells one, as PostgreSQL's implicit casts do. Catalogs are small, so a row at a time is fast enough.

mod arrays;
mod casts;
mod definitions;
mod objects;
mod privileges;
mod sessions;
mod sizes;
mod text;

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::PgCatalog;
use super::rows::{self, Cell};
use super::types::typed_field;

/// One call: what a body sees.
struct Call<'a> {
    catalog: &'a PgCatalog,
    arguments: &'a [Cell],
    fields: &'a [FieldRef],
}

impl Call<'_> {
    /// Argument `at`; NULL where it was not given.
    fn argument(&self, at: usize) -> &Cell {
        self.arguments.get(at).unwrap_or(&Cell::Null)
    }

    /// Argument `at` as text.
    fn text(&self, at: usize) -> &str {
        self.argument(at).text().unwrap_or_default()
    }

    /// Argument `at` as an OID, 0 where it is none.
    fn oid(&self, at: usize) -> u32 {
        self.argument(at).oid().unwrap_or(0)
    }

    /// Argument `at` as a relation: an OID, or its name.
    fn relation(&self, at: usize) -> Result<u32> {
        match self.argument(at).oid() {
            Some(oid) => Ok(oid),
            None => self.catalog.relation_named(self.text(at)),
        }
    }
}

type Body = fn(&Call) -> Result<Cell>;

/// What a function returns.
#[derive(Debug, Clone, Copy)]
enum Returns {
    /// A type, by its `typname`.
    Type(&'static str),
    /// The type of the first argument.
    First,
}

/// One function.
struct Definition {
    name: &'static str,
    returns: Returns,
    volatility: Volatility,
    takes_nulls: bool,
    body: Body,
}

/// A function that gives the same answer throughout a statement, and NULL for a NULL argument.
const fn stable(name: &'static str, returns: &'static str, body: Body) -> Definition {
    let returns = Returns::Type(returns);
    Definition { name, returns, volatility: Volatility::Stable, takes_nulls: false, body }
}

/// A function that does something: called once a row, when the row is made.
const fn volatile(name: &'static str, returns: &'static str, body: Body) -> Definition {
    let returns = Returns::Type(returns);
    Definition { name, returns, volatility: Volatility::Volatile, takes_nulls: false, body }
}

impl Definition {
    /// The same, but NULL arguments reach the body.
    const fn with_nulls(mut self) -> Self {
        self.takes_nulls = true;
        self
    }

    /// The same, but it returns what its first argument is.
    const fn returning_first(mut self) -> Self {
        self.returns = Returns::First;
        self
    }
}

static DEFINITIONS: LazyLock<HashMap<&'static str, &'static Definition>> = LazyLock::new(|| {
    let lists: [&'static [Definition]; 8] = [
        &arrays::LIST,
        &casts::LIST,
        &definitions::LIST,
        &objects::LIST,
        &privileges::LIST,
        &sessions::LIST,
        &sizes::LIST,
        &text::LIST,
    ];
    lists.into_iter().flatten().map(|definition| (definition.name, definition)).collect()
});

/// True if `name` is one of ours.
pub(super) fn is_function(name: &str) -> bool {
    DEFINITIONS.contains_key(name)
}

/// The function `name` over a catalog.
pub(super) fn function(catalog: &PgCatalog, name: &str) -> Option<ScalarUDF> {
    let definition = *DEFINITIONS.get(name)?;
    let any = TypeSignature::OneOf(vec![TypeSignature::Nullary, TypeSignature::VariadicAny]);
    let signature = Signature::new(any, definition.volatility);
    Some(ScalarUDF::new_from_impl(CatalogFunction { definition, catalog: catalog.clone(), signature }))
}

/// Their names.
pub(super) use casts::OBJECT_TYPES;
pub(super) use text::like_escape;

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    DEFINITIONS.keys().copied()
}

struct CatalogFunction {
    definition: &'static Definition,
    catalog: PgCatalog,
    signature: Signature,
}

impl std::fmt::Debug for CatalogFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.definition.name)
    }
}

impl PartialEq for CatalogFunction {
    fn eq(&self, other: &Self) -> bool {
        self.definition.name == other.definition.name && self.catalog.is_same(&other.catalog)
    }
}

impl Eq for CatalogFunction {}

impl Hash for CatalogFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.definition.name.hash(state);
    }
}

impl ScalarUDFImpl for CatalogFunction {
    fn name(&self) -> &str {
        self.definition.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(match self.definition.returns {
            Returns::Type(type_name) => super::types::arrow_type(type_name),
            Returns::First => arguments.first().cloned().unwrap_or(DataType::Null),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(match (self.definition.returns, args.arg_fields.first()) {
            (Returns::First, Some(first)) => {
                Arc::new(first.as_ref().clone().with_name(self.name()).with_nullable(true))
            }
            (Returns::First, None) => Arc::new(typed_field(self.name(), "text")),
            (Returns::Type(type_name), _) => Arc::new(typed_field(self.name(), type_name)),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
            && self.definition.volatility != Volatility::Volatile;
        let count = if is_scalar { 1 } else { args.number_rows };
        let arrays: Vec<ArrayRef> = args.args.iter().map(|arg| arg.to_array(count)).collect::<Result<_>>()?;
        let mut cells = Vec::with_capacity(count);
        for at in 0..count {
            let arguments: Vec<Cell> = arrays.iter().map(|array| Cell::read(array, at)).collect::<Result<_>>()?;
            let call = Call { catalog: &self.catalog, arguments: &arguments, fields: &args.arg_fields };
            let is_null = !self.definition.takes_nulls && arguments.contains(&Cell::Null);
            cells.push(if is_null { Cell::Null } else { (self.definition.body)(&call)? });
        }
        let array = rows::array(args.return_field.data_type(), &cells.iter().collect::<Vec<_>>())?;
        if is_scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg_catalog::tables::function_rows;

    /// Names that PostgreSQL has no function for: casts, and what SQL spells without parentheses.
    const OWN: [&str; 3] = ["current_catalog", "current_role", "user"];

    #[test]
    fn every_function_is_listed_in_pg_proc() {
        for name in names().filter(|name| !name.starts_with("__") && !OWN.contains(name)) {
            assert!(function_rows().iter().any(|row| row.name == name), "{name}");
        }
    }
}
