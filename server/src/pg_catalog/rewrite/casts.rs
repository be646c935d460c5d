//! Casts to PostgreSQL's types.
//!
//! `x::regclass` and its like call a function that finds the object, `x::oid` one that keeps the type, and `x::text` one
//! that knows how each of PostgreSQL's types is written. `'{a,b}'::text[]` becomes `ARRAY['a', 'b']`. What has a type of
//! DataFusion's own under another name (`pg_catalog.int4`) gets that.

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType, Expr, TypedString};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::build::{array, array_elements, call, cast, fold, is_placeholder, literal, string};
use super::spelling::take;
use crate::pg_catalog::functions::OBJECT_TYPES;

/// What a cast turns into.
enum Target {
    /// A call of this function.
    Function(String),
    /// A call of the function that writes any value as text.
    Text,
    /// A cast to this type.
    Native(DataType),
    /// An array of these.
    Array(Box<Target>),
}

/// Rewrites `expr` if it is a cast.
pub(super) fn respell(expr: &mut Expr) -> Result<(), DataFusionError> {
    match expr {
        Expr::Cast { expr: inner, data_type, .. } => {
            if let Some(target) = target(data_type) {
                *expr = apply(take(inner), &target);
            }
        }
        // regclass 'name'
        Expr::TypedString(TypedString { data_type, value, .. }) => {
            if let Some(target @ Target::Function(_)) = target(data_type) {
                *expr = apply(Expr::Value(value.clone()), &target);
            }
        }
        _ => {}
    }
    Ok(())
}

/// The type DataFusion has under the name `name`.
pub(super) fn native(name: &str) -> Option<DataType> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(name).ok()?.parse_data_type().ok()
}

/// What a cast to `data_type` becomes; `None` where it can stay as it is.
fn target(data_type: &DataType) -> Option<Target> {
    match data_type {
        DataType::Regclass => Some(Target::Function("__regclass".to_string())),
        DataType::Text | DataType::Varchar(None) | DataType::CharacterVarying(None) => Some(Target::Text),
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => {
            let element = target(element).unwrap_or_else(|| Target::Native(element.as_ref().clone()));
            Some(Target::Array(Box::new(element)))
        }
        DataType::Custom(name, _) => {
            let ident = name.0.last()?.as_ident()?;
            let is_quoted_char = ident.quote_style.is_some() && ident.value == "char";
            if is_quoted_char { Some(Target::Text) } else { custom(&fold(ident)) }
        }
        _ => None,
    }
}

fn custom(name: &str) -> Option<Target> {
    Some(match name {
        "oid" | "xid" | "cid" => Target::Function("__oid".to_string()),
        name if OBJECT_TYPES.contains(&name) => Target::Function(format!("__{name}")),
        "name" | "text" | "varchar" | "cstring" | "unknown" | "inet" | "aclitem" | "pg_node_tree" => Target::Text,
        "sql_identifier" | "character_data" | "yes_or_no" => Target::Text,
        "cardinal_number" => Target::Native(native("integer")?),
        "time_stamp" | "timestamptz" => Target::Native(native("timestamp with time zone")?),
        other => match native(other)? {
            DataType::Custom(..) => return None,
            data_type => Target::Native(data_type),
        },
    })
}

fn apply(expr: Expr, target: &Target) -> Expr {
    match target {
        Target::Function(name) if is_placeholder(&expr) => call(name, vec![as_text(expr)]),
        Target::Function(name) => call(name, vec![expr]),
        Target::Text if is_placeholder(&expr) || literal(&expr).is_some() => as_text(expr),
        Target::Text => call("__text", vec![expr]),
        Target::Native(data_type) => cast(expr, data_type.clone()),
        Target::Array(element) => match literal(&expr).and_then(array_elements) {
            Some(elements) if !elements.is_empty() => {
                let value = |text: Option<String>| text.map_or_else(super::build::null, string);
                array(elements.into_iter().map(|text| apply(value(text), element)).collect())
            }
            Some(_) => cast(array(Vec::new()), array_of(element)),
            None => cast(expr, array_of(element)),
        },
    }
}

fn as_text(expr: Expr) -> Expr {
    cast(expr, DataType::Text)
}

fn array_of(element: &Target) -> DataType {
    let element = match element {
        Target::Text => DataType::Text,
        Target::Function(_) => DataType::IntUnsigned(None),
        Target::Native(data_type) => data_type.clone(),
        Target::Array(inner) => array_of(inner),
    };
    DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(element), None))
}
