//! A window function call's arguments, whatever system they were written for.

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Spanned, TableFactor,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::Window;
use crate::error::Located;
use crate::interval::Interval;
use crate::parser::fold;
use crate::{SqlError, SqlState};

/// The window functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tumble,
    Hop,
    /// Spark's `window(time, size[, slide])`, in GROUP BY alone.
    Spark,
}

/// What the kinds' arguments behind the time are called, in their order; the last one may be left out, Spark's second too.
impl Kind {
    fn lengths(self) -> &'static [&'static str] {
        match self {
            Self::Tumble => &["size", "offset"],
            Self::Hop => &["slide", "size", "offset"],
            Self::Spark => &["size", "slide", "offset"],
        }
    }

    fn usage(self, on_relation: bool) -> String {
        let (name, lengths) = match self {
            Self::Tumble => ("tumble", "size [, offset]"),
            Self::Hop => ("hop", "slide, size [, offset]"),
            Self::Spark => ("window", "size [, slide [, offset]]"),
        };
        format!("Use {name}({}time, {lengths}).", if on_relation { "relation, " } else { "" })
    }
}

/// The kind of window a FROM or GROUP BY function names; `None` if it is none.
///
/// # Errors
/// 0A000 for the windows we do not have.
pub(crate) fn kind(name: &ObjectName, in_from: bool) -> Result<Option<Kind>, Located> {
    let [part] = name.0.as_slice() else { return Ok(None) };
    let Some(ident) = part.as_ident() else { return Ok(None) };
    match fold(ident).as_str() {
        "tumble" => Ok(Some(Kind::Tumble)),
        "hop" => Ok(Some(Kind::Hop)),
        "window" if !in_from => Ok(Some(Kind::Spark)),
        other @ ("session" | "cumulate" | "session_window" | "count_window") => {
            let error = SqlError::unsupported(format!("{other} windows are not supported"))
                .hint("Use tumble(relation, time, size) or hop(relation, time, slide, size).");
            Err(Located::new(error, ident.span))
        }
        _ => Ok(None),
    }
}

/// A window over a relation, as FROM has it.
pub(crate) struct RelationCall {
    /// What is cut into windows.
    pub relation: TableFactor,
    /// The event time, an expression over its columns.
    pub time: Expr,
    /// The window.
    pub window: Window,
}

/// Reads `kind(relation, time, lengths…)`, arguments by place or by name.
pub(crate) fn on_relation(kind: Kind, arguments: &[FunctionArg], span: Span) -> Result<RelationCall, Located> {
    let mut names = vec!["data", "timecol"];
    names.extend(kind.lengths());
    let arguments = Arguments::read(kind, &names, arguments, span, true)?;
    let relation = relation(arguments.get("data")?)?;
    Ok(RelationCall { relation, time: arguments.time()?, window: arguments.window()? })
}

/// Reads `kind(time, lengths…)`, as GROUP BY has it.
pub(crate) fn on_time(kind: Kind, function: &Function) -> Result<(Expr, Window), Located> {
    let span = function.name.span();
    let mut names = vec!["timecol"];
    names.extend(kind.lengths());
    let none = Vec::new();
    let list = match &function.args {
        FunctionArguments::List(list) => &list.args,
        _ => &none,
    };
    let arguments = Arguments::read(kind, &names, list, span, false)?;
    Ok((arguments.time()?, arguments.window()?))
}

/// Arguments by name.
struct Arguments<'a> {
    kind: Kind,
    on_relation: bool,
    span: Span,
    given: Vec<(&'static str, &'a Expr)>,
}

impl<'a> Arguments<'a> {
    fn read(
        kind: Kind,
        names: &[&'static str],
        arguments: &'a [FunctionArg],
        span: Span,
        on_relation: bool,
    ) -> Result<Self, Located> {
        let mut read = Self { kind, on_relation, span, given: Vec::new() };
        for (n, argument) in arguments.iter().enumerate() {
            let (name, value) = match argument {
                FunctionArg::Unnamed(value) => (names.get(n).copied(), value),
                FunctionArg::Named { name, arg, .. } => (read.named(names, &fold(name))?, arg),
                FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, .. } => {
                    (read.named(names, &fold(name))?, arg)
                }
                FunctionArg::ExprNamed { .. } => return Err(read.misused()),
            };
            match (name, value) {
                (Some(name), FunctionArgExpr::Expr(value)) if read.given.iter().all(|(n, _)| *n != name) => {
                    read.given.push((name, value));
                }
                _ => return Err(read.misused()),
            }
        }
        Ok(read)
    }

    fn named(&self, names: &[&'static str], name: &str) -> Result<Option<&'static str>, Located> {
        if name == "timezone" {
            return Err(Located::new(SqlError::unsupported("windows in a time zone are not supported"), self.span));
        }
        Ok(names.iter().copied().find(|known| *known == name))
    }

    fn misused(&self) -> Located {
        let name = match self.kind {
            Kind::Tumble => "tumble",
            Kind::Hop => "hop",
            Kind::Spark => "window",
        };
        let error = SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("wrong arguments for {name}"))
            .hint(self.kind.usage(self.on_relation));
        Located::new(error, self.span)
    }

    fn find(&self, name: &str) -> Option<&'a Expr> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| *value)
    }

    fn get(&self, name: &str) -> Result<&'a Expr, Located> {
        self.find(name).ok_or_else(|| self.misused())
    }

    /// The time, out of Flink's DESCRIPTOR(…) if it is in one.
    fn time(&self) -> Result<Expr, Located> {
        let time = self.get("timecol")?;
        let Expr::Function(function) = time else { return Ok(time.clone()) };
        if !function.name.to_string().eq_ignore_ascii_case("descriptor") {
            return Ok(time.clone());
        }
        match &function.args {
            FunctionArguments::List(list) => match list.args.as_slice() {
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(time))] => Ok(time.clone()),
                _ => Err(self.misused()),
            },
            _ => Err(self.misused()),
        }
    }

    fn window(&self) -> Result<Window, Located> {
        let size = self.length("size", self.get("size")?)?;
        let offset = self.find("offset").map(|expr| self.length("offset", expr)).transpose()?.unwrap_or(0);
        let slide = match self.kind {
            Kind::Tumble => None,
            Kind::Hop => Some(self.length("slide", self.get("slide")?)?),
            Kind::Spark => self.find("slide").map(|expr| self.length("slide", expr)).transpose()?,
        };
        let window = match slide {
            Some(slide) => Window::hop(slide, size, offset),
            None => Window::tumble(size, offset),
        };
        window.map_err(|error| Located::new(error, self.span))
    }

    /// A constant length, µs.
    fn length(&self, what: &str, expr: &Expr) -> Result<i64, Located> {
        let span = if expr.span() == Span::empty() { self.span } else { expr.span() };
        let fail = |error: SqlError| Err(Located::new(error, span));
        match Interval::of(expr) {
            None => fail(SqlError::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("the {what} of a window must be a constant interval"),
            )),
            Some(Err(error)) => fail(error),
            Some(Ok(interval)) => match interval.fixed_micros() {
                Some(micros) => Ok(micros),
                None => fail(
                    SqlError::unsupported(format!("a window {what} in months or years is not supported"))
                        .hint("Group by date_trunc('month', …) instead."),
                ),
            },
        }
    }
}

/// The relation an argument names: a name, a subquery, or either in brackets.
fn relation(data: &Expr) -> Result<TableFactor, Located> {
    match data {
        Expr::Identifier(name) => Ok(table(ObjectName::from(vec![name.clone()]))),
        Expr::CompoundIdentifier(names) => Ok(table(ObjectName::from(names.clone()))),
        Expr::Subquery(query) => {
            Ok(TableFactor::Derived { lateral: false, subquery: query.clone(), alias: None, sample: None })
        }
        Expr::Nested(inner) => relation(inner),
        other => Err(Located::new(
            SqlError::new(SqlState::UNDEFINED_FUNCTION, "a window's first argument must be a relation")
                .hint("Name a table, view or common table expression, or write a subquery in brackets."),
            other.span(),
        )),
    }
}

/// A relation without anything around it.
pub(crate) fn table(name: ObjectName) -> TableFactor {
    TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

impl From<Located> for DataFusionError {
    fn from(located: Located) -> Self {
        Self::External(Box::new(located))
    }
}
