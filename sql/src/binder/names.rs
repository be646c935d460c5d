//! What an unnamed output column is called, as Postgres decides it (`FigureColname` in its parser).

use datafusion::sql::sqlparser::ast::{
    AccessExpr, CastKind, DataType, Expr, Ident, SelectItem, SetExpr, Subscript, TableAlias, TableAliasColumnDef,
    TableFactor, TrimWhereField, TypedString, Value,
};

use crate::parser::fold;

/// The name of a column without one: the column's own, the function's, the type's in a cast of a constant, …; `None` is
/// `?column?`.
pub(crate) fn column_name(expr: &Expr) -> Option<String> {
    figure(expr).map(|(name, _)| name)
}

/// Names the one column of a function in FROM that gives values: by its alias, or else by the function's name.
pub(super) fn name_function_in_from(factor: &mut TableFactor) {
    let (function, alias) = match factor {
        TableFactor::Table { name, alias, args: Some(_), .. } => {
            let [part] = name.0.as_slice() else { return };
            let Some(function) = part.as_ident().map(fold) else { return };
            if !SERIES.contains(&function.as_str()) {
                return;
            }
            (function, alias)
        }
        TableFactor::UNNEST { alias, array_exprs, with_offset: false, with_ordinality: false, .. }
            if array_exprs.len() == 1 =>
        {
            ("unnest".to_owned(), alias)
        }
        _ => return,
    };
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::with_quote('"', function),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() {
        alias.columns = vec![TableAliasColumnDef { name: alias.name.clone(), data_type: None }];
    }
}

/// Functions of FROM that give values.
const SERIES: [&str; 2] = ["generate_series", "range"];

/// How much a name says: a cast or CASE gives way to what is inside, anything else does not.
#[derive(PartialEq)]
enum Strength {
    Weak,
    Strong,
}

fn strong(name: impl Into<String>) -> Option<(String, Strength)> {
    Some((name.into(), Strength::Strong))
}

fn weak(name: impl Into<String>) -> Option<(String, Strength)> {
    Some((name.into(), Strength::Weak))
}

fn figure(expr: &Expr) -> Option<(String, Strength)> {
    match expr {
        Expr::Identifier(name) => strong(fold(name)),
        Expr::CompoundIdentifier(parts) => strong(fold(parts.last()?)),
        Expr::CompoundFieldAccess { root, access_chain } => access(access_chain).map_or_else(|| figure(root), strong),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => figure(inner),
        Expr::Function(function) => match function.name.0.last()?.as_ident().map(fold)?.as_str() {
            "current_catalog" => strong("current_database"),
            name => strong(name),
        },
        Expr::Cast { expr, data_type, kind, .. } if *kind != CastKind::TryCast => cast(expr, data_type),
        Expr::TypedString(TypedString { data_type, .. }) => weak(type_name(data_type)),
        Expr::Interval(_) => weak("interval"),
        Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => weak("bool"),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure) {
            Some((name, Strength::Strong)) => strong(name),
            _ => weak("case"),
        },
        Expr::Exists { .. } => strong("exists"),
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::ExprWithAlias { alias, .. } => strong(fold(alias)),
                SelectItem::UnnamedExpr(expr) => strong(column_name(expr).unwrap_or_else(|| super::UNNAMED.into())),
                _ => None,
            },
            SetExpr::Values(_) => strong("column1"),
            _ => None,
        },
        Expr::Array(_) => strong("array"),
        Expr::Tuple(_) => strong("row"),
        Expr::Extract { .. } => strong("extract"),
        Expr::Position { .. } => strong("position"),
        Expr::Substring { .. } => strong("substring"),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Trim { trim_where, .. } => strong(match trim_where {
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        _ => None,
    }
}

/// The last field named in `(row).a.b`, if one is.
fn access(chain: &[AccessExpr]) -> Option<String> {
    chain.iter().rev().find_map(|step| match step {
        AccessExpr::Dot(Expr::Identifier(name)) => Some(fold(name)),
        AccessExpr::Subscript(Subscript::Index { .. } | Subscript::Slice { .. }) | AccessExpr::Dot(_) => None,
    })
}

fn cast(expr: &Expr, data_type: &DataType) -> Option<(String, Strength)> {
    match figure(expr) {
        Some((name, Strength::Strong)) => strong(name),
        _ => weak(type_name(data_type)),
    }
}

/// The internal name Postgres gives a type.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4".into(),
        DataType::BigInt(_) | DataType::Int8(_) => "int8".into(),
        DataType::SmallInt(_) | DataType::Int2(_) => "int2".into(),
        DataType::Real | DataType::Float4 => "float4".into(),
        DataType::Float(_) | DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 => "float8".into(),
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => "numeric".into(),
        DataType::Bool | DataType::Boolean => "bool".into(),
        DataType::Varchar(_) | DataType::CharVarying(_) | DataType::CharacterVarying(_) => "varchar".into(),
        DataType::Char(_) | DataType::Character(_) => "bpchar".into(),
        DataType::Timestamp(_, zone) => {
            use datafusion::sql::sqlparser::ast::TimezoneInfo as Zone;
            match zone {
                Zone::Tz | Zone::WithTimeZone => "timestamptz".into(),
                Zone::None | Zone::WithoutTimeZone => "timestamp".into(),
            }
        }
        DataType::Interval { .. } => "interval".into(),
        DataType::Array(
            datafusion::sql::sqlparser::ast::ArrayElemTypeDef::SquareBracket(of, _)
            | datafusion::sql::sqlparser::ast::ArrayElemTypeDef::AngleBracket(of),
        ) => type_name(of),
        DataType::Custom(name, _) => {
            name.0.last().and_then(|part| part.as_ident()).map(fold).unwrap_or_else(|| name.to_string())
        }
        other => other.to_string().to_ascii_lowercase(),
    }
}
