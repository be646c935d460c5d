//! Rows compared field by field (PostgreSQL documentation, 9.25.5): `(a, b) < (1, 2)` is `a < 1 OR a = 1 AND b < 2`.
//!
//! DataFusion compares rows as structs, for which a NULL field is a value like another; Postgres says NULL where the fields before
//! do not decide.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Spanned, UnaryOperator};

use crate::error::Located;
use crate::{SqlError, SqlState};

/// What stands for `expr`, if it compares rows.
///
/// # Errors
/// 42601 for rows of different lengths.
pub(super) fn replacement(expr: &Expr) -> Result<Option<Expr>, Located> {
    match expr {
        Expr::BinaryOp { left, op, right } => match (fields(left), fields(right)) {
            (Some(lefts), Some(rights)) => compare(lefts, op, rights),
            _ => Ok(None),
        },
        Expr::InList { expr, list, negated } => {
            let Some(lefts) = fields(expr) else { return Ok(None) };
            let Some(rows) = list.iter().map(fields).collect::<Option<Vec<_>>>() else { return Ok(None) };
            let mut equal = Vec::with_capacity(rows.len());
            for row in rows {
                equal.extend(compare(lefts, &BinaryOperator::Eq, row)?);
            }
            let any = joined(equal, &BinaryOperator::Or);
            Ok(any.map(|any| match negated {
                true => nested(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(any) }),
                false => any,
            }))
        }
        Expr::IsNull(row) => Ok(each(row, Expr::IsNull)),
        Expr::IsNotNull(row) => Ok(each(row, Expr::IsNotNull)),
        Expr::IsDistinctFrom(left, right) => distinct(left, right, Expr::IsDistinctFrom, &BinaryOperator::Or),
        Expr::IsNotDistinctFrom(left, right) => distinct(left, right, Expr::IsNotDistinctFrom, &BinaryOperator::And),
        _ => Ok(None),
    }
}

/// The fields of a row as it is written, `(a, b)`.
fn fields(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(fields) if !fields.is_empty() => Some(fields),
        Expr::Nested(inner) => fields(inner),
        _ => None,
    }
}

fn compare(lefts: &[Expr], op: &BinaryOperator, rights: &[Expr]) -> Result<Option<Expr>, Located> {
    use BinaryOperator as O;
    if !matches!(op, O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq) {
        return Ok(None);
    }
    check_lengths(lefts, rights)?;
    let pairs = || lefts.iter().zip(rights);
    Ok(match op {
        O::Eq => joined(pairs().map(|(left, right)| binary(left, op, right)), &O::And),
        O::NotEq => joined(pairs().map(|(left, right)| binary(left, op, right)), &O::Or),
        _ => lexicographic(lefts, op, rights),
    })
}

/// The first fields that differ decide; only between the last fields may `<=` be an equality.
fn lexicographic(lefts: &[Expr], op: &BinaryOperator, rights: &[Expr]) -> Option<Expr> {
    let strict = match op {
        BinaryOperator::LtEq => BinaryOperator::Lt,
        BinaryOperator::GtEq => BinaryOperator::Gt,
        other => other.clone(),
    };
    let mut pairs = lefts.iter().zip(rights).rev();
    let (left, right) = pairs.next()?;
    let last = binary(left, op, right);
    Some(pairs.fold(last, |rest, (left, right)| {
        let equal = binary(left, &BinaryOperator::Eq, right);
        let goes_on = nested(of(equal, &BinaryOperator::And, rest));
        nested(of(binary(left, &strict, right), &BinaryOperator::Or, goes_on))
    }))
}

fn distinct(
    left: &Expr,
    right: &Expr,
    each: fn(Box<Expr>, Box<Expr>) -> Expr,
    by: &BinaryOperator,
) -> Result<Option<Expr>, Located> {
    let (Some(lefts), Some(rights)) = (fields(left), fields(right)) else { return Ok(None) };
    check_lengths(lefts, rights)?;
    let of_pair =
        |(left, right): (&Expr, &Expr)| nested(each(Box::new(nested(left.clone())), Box::new(nested(right.clone()))));
    Ok(joined(lefts.iter().zip(rights).map(of_pair), by))
}

/// A test of each field of a row: true if it is of all.
fn each(row: &Expr, test: fn(Box<Expr>) -> Expr) -> Option<Expr> {
    joined(fields(row)?.iter().map(|field| nested(test(Box::new(nested(field.clone()))))), &BinaryOperator::And)
}

fn check_lengths(lefts: &[Expr], rights: &[Expr]) -> Result<(), Located> {
    if lefts.len() == rights.len() {
        return Ok(());
    }
    let error = SqlError::new(SqlState::SYNTAX_ERROR, "unequal number of entries in row expressions");
    Err(Located::new(error, lefts[0].span()))
}

fn joined(tests: impl IntoIterator<Item = Expr>, by: &BinaryOperator) -> Option<Expr> {
    tests.into_iter().reduce(|all, test| of(all, by, test)).map(nested)
}

fn binary(left: &Expr, op: &BinaryOperator, right: &Expr) -> Expr {
    nested(of(nested(left.clone()), op, nested(right.clone())))
}

fn of(left: Expr, op: &BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) }
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}
