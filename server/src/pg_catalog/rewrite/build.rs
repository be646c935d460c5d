//! Pieces of syntax trees, made from parts.

use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{
    Array, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    Ident, ObjectName, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, Value,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// `name(arguments)`.
pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    Expr::Function(function(name, args))
}

/// `name(args)`, where the arguments may be stars or named.
pub(super) fn function(name: &str, args: Vec<FunctionArg>) -> Function {
    Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }
}

/// `'text'`.
pub(super) fn string(text: impl Into<String>) -> Expr {
    Expr::value(Value::SingleQuotedString(text.into()))
}

/// A number.
pub(super) fn number(value: i64) -> Expr {
    Expr::value(Value::Number(value.to_string(), false))
}

/// NULL.
pub(super) fn null() -> Expr {
    Expr::value(Value::Null)
}

/// `expr::data_type`.
pub(super) fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::DoubleColon, expr: Box::new(expr), data_type, array: false, format: None }
}

/// `ARRAY[elements]`.
pub(super) fn array(elem: Vec<Expr>) -> Expr {
    Expr::Array(Array { elem, named: true })
}

/// A quoted identifier: it means exactly `name`.
pub(super) fn ident(name: impl Into<String>) -> Ident {
    Ident::with_quote('"', name)
}

/// The text of an identifier as SQL reads it: unquoted ones fold to lower case.
pub(super) fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The parts of a name, folded; `None` if a part is not an identifier.
pub(super) fn fold_name(name: &ObjectName) -> Option<Vec<String>> {
    name.0.iter().map(|part| part.as_ident().map(fold)).collect()
}

/// `SELECT projection FROM from`.
pub(super) fn select(projection: Vec<SelectItem>, from: Vec<TableWithJoins>) -> Query {
    static TEMPLATE: LazyLock<Query> = LazyLock::new(|| {
        let parser = Parser::new(&PostgreSqlDialect {}).try_with_sql("SELECT 1");
        *parser.and_then(|mut parser| parser.parse_query()).expect("SELECT 1 is a query")
    });
    let mut query = TEMPLATE.clone();
    if let Some(select) = plain_select(&mut query) {
        select.projection = projection;
        select.from = from;
    }
    query
}

/// The SELECT a query is, where it is one.
pub(super) fn plain_select(query: &mut Query) -> Option<&mut Select> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

/// `(query) AS alias`.
pub(super) fn derived(query: Query, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::Derived { lateral: false, subquery: Box::new(query), alias, sample: None }
}

/// An alias for a table.
pub(super) fn table_alias(name: Ident) -> TableAlias {
    TableAlias { explicit: true, name, columns: Vec::new(), at: None }
}

/// `expr AS "alias"`.
pub(super) fn aliased(expr: Expr, alias: impl Into<String>) -> SelectItem {
    SelectItem::ExprWithAlias { expr, alias: ident(alias) }
}

/// The expression without parentheses around it.
pub(super) fn unnested(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => unnested(inner),
        other => other,
    }
}

/// The text of a string literal of any spelling.
pub(super) fn literal(expr: &Expr) -> Option<&str> {
    match unnested(expr) {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            Value::DollarQuotedString(text) => Some(&text.value),
            _ => None,
        },
        _ => None,
    }
}

/// True for `$1`.
pub(super) fn is_placeholder(expr: &Expr) -> bool {
    matches!(unnested(expr), Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}

/// The elements of an array written as text, `{a,"b c",NULL}`; `None` if it is not one, or has more dimensions.
pub(super) fn array_elements(text: &str) -> Option<Vec<Option<String>>> {
    let body = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    if body.trim().is_empty() {
        return Some(Vec::new());
    }
    let mut elements = Vec::new();
    let mut rest = body;
    loop {
        let element;
        (element, rest) = next_element(rest.trim_start())?;
        elements.push(element);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return rest.is_empty().then_some(elements),
        }
    }
}

fn next_element(text: &str) -> Option<(Option<String>, &str)> {
    let mut element = String::new();
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        let word = text[..end].trim_end();
        if word.is_empty() || word.contains(['{', '}', '"']) {
            return None;
        }
        let element = (!word.eq_ignore_ascii_case("null")).then(|| word.replace('\\', ""));
        return Some((element, &text[end..]));
    };
    let mut characters = quoted.char_indices();
    loop {
        match characters.next()? {
            (_, '\\') => element.push(characters.next()?.1),
            (at, '"') => return Some((Some(element), quoted[at + 1..].trim_start())),
            (_, c) => element.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_read_as_postgres_reads_them() {
        let some = |words: &[&str]| Some(words.iter().map(|word| Some(word.to_string())).collect::<Vec<_>>());
        assert_eq!(array_elements("{}"), some(&[]));
        assert_eq!(array_elements("{a, b,c}"), some(&["a", "b", "c"]));
        assert_eq!(array_elements(r#"{"a,b","say \"x\""}"#), some(&["a,b", "say \"x\""]));
        assert_eq!(array_elements("{NULL,1}"), Some(vec![None, Some("1".into())]));
        assert_eq!(array_elements("{{1},{2}}"), None);
        assert_eq!(array_elements("{a,}"), None);
        assert_eq!(array_elements("a"), None);
    }
}
