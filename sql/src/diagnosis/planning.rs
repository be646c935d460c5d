//! DataFusion's planning messages, in Postgres' words.

use super::words::{after, arrow_type, arrow_types, between, lower_first};
use super::{NO_FUNCTION, NO_OPERATOR, Text, likeness};
use crate::{SqlError, SqlState};

pub(super) fn planning(message: &str, text: Option<&Text<'_>>) -> SqlError {
    known_plan_message(message, text).unwrap_or_else(|| {
        SqlError::new(SqlState::SYNTAX_ERROR, lower_first(message.lines().next().unwrap_or(message)))
    })
}

pub(super) fn known_plan_message(message: &str, text: Option<&Text<'_>>) -> Option<SqlError> {
    undefined_function(message, text)
        .or_else(|| undefined_operator(message))
        .or_else(|| wrong_type(message))
        .or_else(|| grouping(message, text))
        .or_else(|| other_plan_message(message, text))
}

fn undefined_function(message: &str, text: Option<&Text<'_>>) -> Option<SqlError> {
    let at = |error: SqlError, name: &str| SqlError { position: text.and_then(|text| text.find(&[name])), ..error };
    if let Some((name, rest)) = between(message, "Invalid function '", "'") {
        let error = SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function {name} does not exist"));
        let error = match between(rest, "Did you mean '", "'") {
            Some((close, _)) if likeness(close, name) >= 0.6 => {
                error.hint(format!("Perhaps you meant the function {close}."))
            }
            _ => error.hint(NO_FUNCTION),
        };
        return Some(at(error, name));
    }
    let no_match = |name: &str, arguments: &str| {
        let call = if arguments.is_empty() { name.to_string() } else { format!("{name}({arguments})") };
        SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function {call} does not exist")).hint(NO_FUNCTION)
    };
    if let Some((call, _)) = between(message, "No function matches the given name and argument types '", "'") {
        let (name, arguments) = call.split_once('(')?;
        let arguments = arrow_types(arguments.strip_suffix(')').unwrap_or(arguments));
        return Some(at(no_match(name, &arguments), name));
    }
    if let Some((name, rest)) = between(message, "to satisfy a call to '", "' function") {
        let arguments = between(rest, "coercion from ", " to the signature").map(|(types, _)| arrow_types(types));
        return Some(at(no_match(name, &arguments.unwrap_or_default()), name));
    }
    for start in ["Function '", "The function '", "For function '", "function '"] {
        if let Some((name, rest)) = between(message, start, "'")
            && [" expect", " could not coerce", " requires", " has signature", " are not coercible", " user-defined"]
                .iter()
                .any(|words| rest.contains(words))
        {
            return Some(at(no_match(name, "").detail(message.lines().next().unwrap_or_default()), name));
        }
    }
    if let Some(rest) = message.strip_prefix("The function ")
        && let Some((name, rest)) = rest.split_once(' ')
        && (rest.starts_with("expects ") || rest.starts_with("does not accept"))
    {
        return Some(at(no_match(name, "").detail(message.lines().next().unwrap_or_default()), name));
    }
    None
}

fn undefined_operator(message: &str) -> Option<SqlError> {
    const BEGINNINGS: [&str; 8] = [
        "Cannot infer common argument type for comparison operation ",
        "Cannot infer common argument type for regex operation ",
        "Cannot infer common argument type for operation ",
        "Cannot infer common type for bitwise operation ",
        "Cannot infer common string type for string concat operation ",
        "Cannot coerce arithmetic expression ",
        "Cannot get result type for temporal operation ",
        "Cannot get result type for arithmetic operation ",
    ];
    if let Some(rest) = after(message, "Cannot infer common argument type for logical boolean operation ") {
        let (left, operator, right) = operation(rest)?;
        let wrong = if left == "boolean" { right } else { left };
        return Some(SqlError::new(
            SqlState::DATATYPE_MISMATCH,
            format!("argument of {operator} must be type boolean, not type {wrong}"),
        ));
    }
    let rest = BEGINNINGS.iter().find_map(|beginning| after(message, beginning))?;
    let rest = rest.split(" to valid types").next().unwrap_or(rest);
    let (left, operator, right) = operation(rest.split(": ").next().unwrap_or(rest))?;
    Some(
        SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {left} {operator} {right}"))
            .hint(NO_OPERATOR),
    )
}

/// `Utf8 + Int64`, in SQL's types.
fn operation(text: &str) -> Option<(String, String, String)> {
    // Types may hold blanks and commas in brackets, operators hold neither.
    let mut depth = 0_i32;
    let mut words = vec![String::new()];
    for c in text.trim().chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if c == ' ' && depth == 0 {
            words.push(String::new());
        } else {
            words.last_mut()?.push(c);
        }
    }
    match words.as_slice() {
        [left, middle @ .., right] if !middle.is_empty() => {
            Some((arrow_type(left), middle.join(" "), arrow_type(right)))
        }
        _ => None,
    }
}

fn wrong_type(message: &str) -> Option<SqlError> {
    let mismatch = |message: String| Some(SqlError::new(SqlState::DATATYPE_MISMATCH, message));
    if let Some((_, found)) = between(message, "Cannot create filter with non-boolean predicate '", "' returning ") {
        return mismatch(format!("argument of WHERE must be type boolean, not type {}", arrow_type(found)));
    }
    if let Some((what, rest)) = between(message, "", " must be boolean type, but got ") {
        return mismatch(format!("{} must be type boolean, not type {}", lower_first(what), arrow_type(rest)));
    }
    if message.contains("Unary operator 'NOT' requires a boolean expression") {
        let found = message.rsplit("got ").next().map(arrow_type).unwrap_or_default();
        return mismatch(format!("argument of NOT must be type boolean, not type {found}"));
    }
    if message.contains("in CASE WHEN expression") || message.contains("CASE expression 'then' values") {
        return Some(
            SqlError::new(SqlState::DATATYPE_MISMATCH, "CASE types cannot be matched")
                .detail(message.lines().next().unwrap_or_default()),
        );
    }
    if message.starts_with("Incompatible inputs for Union") {
        return Some(SqlError::new(SqlState::DATATYPE_MISMATCH, "UNION types cannot be matched").detail(message));
    }
    if let Some((from, to)) = between(message, "Cannot automatically convert ", " to ") {
        return Some(SqlError::new(
            SqlState::CANNOT_COERCE,
            format!("cannot cast type {} to {}", arrow_type(from), arrow_type(to)),
        ));
    }
    if let Some((from, to)) = between(message, "Unsupported CAST from ", " to ") {
        return Some(SqlError::new(
            SqlState::CANNOT_COERCE,
            format!("cannot cast type {} to {}", arrow_type(from), arrow_type(to)),
        ));
    }
    if message.contains("can't cast to") || message.starts_with("Can not find compatible types to compare") {
        return Some(
            SqlError::new(SqlState::UNDEFINED_FUNCTION, "operator does not exist: values cannot be compared")
                .detail(message),
        );
    }
    None
}

fn grouping(message: &str, text: Option<&Text<'_>>) -> Option<SqlError> {
    let error = |message: String| Some(SqlError::new(SqlState::GROUPING_ERROR, message));
    if message.contains("must appear in the GROUP BY clause") {
        let column = between(message, "column \"", "\"")
            .map(|(column, _)| column)
            .or_else(|| between(message, "HAVING clause references: ", " must appear").map(|(column, _)| column))?;
        // DataFusion names the whole expression of a HAVING clause.
        let column = column
            .split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ','))
            .find(|word| word.contains('.') && !word.starts_with(|c: char| c.is_ascii_digit()))
            .unwrap_or(column);
        let mut error = error(format!(
            "column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function"
        ))?;
        let parts: Vec<&str> = column.split('.').collect();
        error.position = text.and_then(|text| text.find(&parts).or_else(|| text.find(&parts[parts.len() - 1..])));
        return Some(error);
    }
    if message.contains("Aggregate functions are not allowed in the WHERE clause") {
        return error("aggregate functions are not allowed in WHERE".into());
    }
    if message.contains("is nested inside") {
        return error("aggregate function calls cannot be nested".into());
    }
    None
}

fn other_plan_message(message: &str, text: Option<&Text<'_>>) -> Option<SqlError> {
    if let Some((operation, _)) = between(message, "", " queries have different number of columns") {
        return Some(SqlError::new(
            SqlState::SYNTAX_ERROR,
            format!("each {operation} query must have the same number of columns"),
        ));
    }
    if let Some((name, _)) = between(message, "WITH query name \"", "\" specified more than once") {
        let error =
            SqlError::new(SqlState::DUPLICATE_ALIAS, format!("WITH query name \"{name}\" specified more than once"));
        return Some(SqlError { position: text.and_then(|text| text.find(&[name])), ..error });
    }
    if let Some((has, rest)) = between(message, "Source table contains ", " columns but only ") {
        let given = rest.split(' ').next().unwrap_or_default();
        return Some(SqlError::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            format!("the relation has {has} columns available but {given} columns specified"),
        ));
    }
    if message.contains("should only return one column") {
        return Some(SqlError::new(SqlState::SYNTAX_ERROR, "subquery must return only one column"));
    }
    if message.contains("Order by column out of bounds") || message.contains("Order by index starts at 1") {
        return Some(
            SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, "ORDER BY position is not in select list")
                .detail(message),
        );
    }
    if message.contains("Cannot find column with position") {
        return Some(
            SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, "GROUP BY position is not in select list")
                .detail(message),
        );
    }
    if message.contains("ORDER BY expressions") && message.contains("must appear in select list") {
        return Some(SqlError::new(
            SqlState::INVALID_COLUMN_REFERENCE,
            "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
        ));
    }
    if let Some((name, _)) = between(message, "The window ", " is not defined") {
        return Some(SqlError::new(SqlState::UNDEFINED_OBJECT, format!("window \"{name}\" does not exist")));
    }
    for clause in ["LIMIT", "OFFSET"] {
        if message.contains(&format!("{clause} must be >=")) {
            let state = if clause == "LIMIT" {
                SqlState::INVALID_ROW_COUNT_IN_LIMIT
            } else {
                SqlState::INVALID_ROW_COUNT_IN_OFFSET
            };
            return Some(SqlError::new(state, format!("{clause} must not be negative")));
        }
        let expected = format!("Expected {clause} to be an integer or null, but got ");
        if let Some(found) = after(message, &expected) {
            return Some(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("argument of {clause} must be type bigint, not type {}", arrow_type(found)),
            ));
        }
    }
    if message.contains("SELECT * with no tables specified") {
        return Some(SqlError::new(SqlState::SYNTAX_ERROR, "SELECT * with no tables specified is not valid"));
    }
    if let Some((name, _)) = between(message, "Invalid qualifier ", "\n")
        .or_else(|| after(message, "Invalid qualifier ").map(|name| (name, "")))
    {
        let error = SqlError::new(SqlState::UNDEFINED_TABLE, format!("missing FROM-clause entry for table \"{name}\""));
        return Some(SqlError { position: text.and_then(|text| text.find(&[name])), ..error });
    }
    if message.contains("require unique expression names") {
        return Some(
            SqlError::new(SqlState::DUPLICATE_COLUMN, "two columns of one list have the same name").detail(message),
        );
    }
    if message.contains("Scalar subquery returned more than one row") {
        return Some(SqlError::new(
            SqlState::CARDINALITY_VIOLATION,
            "more than one row returned by a subquery used as an expression",
        ));
    }
    if message.contains("Correlated scalar subquery") || message.contains("scalar correlated subquery") {
        return Some(SqlError::unsupported(lower_first(message)));
    }
    None
}
