//! A window function call's arguments, whatever system they were written for.

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Spanned, TableFactor, UnaryOperator,
    Value,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::{DayShape, LocalWindow, Window};
use crate::error::Located;
use crate::functions::timezone::Zone;
use crate::interval::Interval;
use crate::parser::fold;
use crate::{SqlError, SqlState};

/// The window functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tumble,
    Hop,
    Cumulate,
    Session,
    /// In FROM alone.
    Count,
    /// Spark's `window(time, size[, slide])`, in GROUP BY alone.
    Spark,
    /// Spark's `session_window(time, gap)`, in GROUP BY alone.
    SparkSession,
}

impl Kind {
    /// What the arguments behind the time are called, in their order; offsets may be left out, Spark's slide too.
    fn lengths(self) -> &'static [&'static str] {
        match self {
            Self::Tumble => &["size", "offset"],
            Self::Hop => &["slide", "size", "offset"],
            Self::Cumulate => &["step", "size", "offset"],
            Self::Session | Self::SparkSession => &["gap"],
            Self::Count => &["rows"],
            Self::Spark => &["size", "slide", "offset"],
        }
    }

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tumble => "tumble",
            Self::Hop => "hop",
            Self::Cumulate => "cumulate",
            Self::Session => "session",
            Self::Count => "count_window",
            Self::Spark => "window",
            Self::SparkSession => "session_window",
        }
    }

    /// True for windows that are made of the rows of a key.
    pub fn has_keys(self) -> bool {
        matches!(self, Self::Session | Self::Count | Self::SparkSession)
    }

    /// True for windows that may be of days in a time zone.
    fn has_zone(self) -> bool {
        matches!(self, Self::Tumble | Self::Hop | Self::Cumulate)
    }

    fn usage(self, on_relation: bool) -> String {
        let (relation, key) = if on_relation { ("relation, ", ", key, …") } else { ("", "") };
        let lengths = match self {
            Self::Tumble => "size [, offset] [, timezone => 'zone']",
            Self::Hop => "slide, size [, offset] [, timezone => 'zone']",
            Self::Cumulate => "step, size [, offset] [, timezone => 'zone']",
            Self::Session | Self::SparkSession => "gap",
            Self::Count => "rows",
            Self::Spark => "size [, slide [, offset]]",
        };
        format!("Use {}({relation}time, {lengths}{}).", self.name(), if self.has_keys() { key } else { "" })
    }
}

/// The kind of window a FROM or GROUP BY function names; `None` if it is none.
///
/// # Errors
/// 0A000 for a window that cannot stand there.
pub(crate) fn kind(name: &ObjectName, in_from: bool) -> Result<Option<Kind>, Located> {
    let [part] = name.0.as_slice() else { return Ok(None) };
    let Some(ident) = part.as_ident() else { return Ok(None) };
    let misplaced = |message: &str, hint: &str| {
        let error = SqlError::unsupported(message).hint(hint);
        Err(Located::new(error, ident.span))
    };
    match fold(ident).as_str() {
        "tumble" => Ok(Some(Kind::Tumble)),
        "hop" => Ok(Some(Kind::Hop)),
        "cumulate" => Ok(Some(Kind::Cumulate)),
        "session" => Ok(Some(Kind::Session)),
        "count_window" if in_from => Ok(Some(Kind::Count)),
        "count_window" => misplaced(
            "count_window in GROUP BY is not supported",
            "Use FROM count_window(relation, time, rows, key, …) and group by window_number and the keys.",
        ),
        "window" if !in_from => Ok(Some(Kind::Spark)),
        "session_window" if !in_from => Ok(Some(Kind::SparkSession)),
        "session_window" => {
            misplaced("session_window in FROM is not supported", "Use session(relation, time, gap, key, …).")
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
    /// The keys of a window that has some, expressions over its columns.
    pub keys: Vec<Expr>,
}

/// Reads `kind(relation, time, lengths…, keys…)`, arguments by place or by name.
pub(crate) fn on_relation(kind: Kind, arguments: &[FunctionArg], span: Span) -> Result<RelationCall, Located> {
    let mut names = vec!["data", "timecol"];
    names.extend(kind.lengths());
    let arguments = Arguments::read(kind, &names, arguments, span, true)?;
    let relation = relation(arguments.get("data")?)?;
    let (time, window) = (arguments.time()?, arguments.window()?);
    if kind.has_keys() && arguments.keys.is_empty() {
        let error = SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("{} needs a key", kind.name()))
            .hint(format!("{} With a constant as its key all rows are of one.", kind.usage(true)));
        return Err(Located::new(error, span));
    }
    let keys = arguments.keys.iter().flat_map(|key| parts(key)).cloned().collect();
    Ok(RelationCall { relation, time, window, keys })
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

/// The expressions of a list of keys in brackets.
fn parts(key: &Expr) -> &[Expr] {
    match key {
        Expr::Tuple(keys) => keys,
        Expr::Nested(key) => parts(key),
        key => std::slice::from_ref(key),
    }
}

/// Arguments by name.
struct Arguments<'a> {
    kind: Kind,
    on_relation: bool,
    span: Span,
    given: Vec<(&'static str, &'a Expr)>,
    zone: Option<&'a Expr>,
    keys: Vec<&'a Expr>,
}

impl<'a> Arguments<'a> {
    fn read(
        kind: Kind,
        names: &[&'static str],
        arguments: &'a [FunctionArg],
        span: Span,
        on_relation: bool,
    ) -> Result<Self, Located> {
        let mut read = Self { kind, on_relation, span, given: Vec::new(), zone: None, keys: Vec::new() };
        let mut place = 0;
        for argument in arguments {
            let (name, value) = match argument {
                FunctionArg::Unnamed(value) => {
                    place += 1;
                    (names.get(place - 1).map(|name| (*name).to_owned()), value)
                }
                FunctionArg::Named { name, arg, .. } => (Some(fold(name)), arg),
                FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, .. } => (Some(fold(name)), arg),
                FunctionArg::ExprNamed { .. } => return Err(read.misused()),
            };
            let FunctionArgExpr::Expr(value) = value else { return Err(read.misused()) };
            // Whatever comes behind the others is a key.
            let name = name.unwrap_or_else(|| "key".to_owned());
            let known = names.iter().find(|known| **known == name);
            match (name.as_str(), known) {
                ("key", _) if on_relation && kind.has_keys() => read.keys.push(value),
                ("timezone", _) if kind.has_zone() && read.zone.is_none() => read.zone = Some(value),
                (_, Some(known)) if read.find(known).is_none() => read.given.push((*known, value)),
                _ => return Err(read.misused()),
            }
        }
        Ok(read)
    }

    fn misused(&self) -> Located {
        let name = self.kind.name();
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
        if let Some(zone) = self.zone {
            return self.local_window(zone);
        }
        let offset = self.find("offset").map(|expr| self.length("offset", expr)).transpose()?.unwrap_or(0);
        let length = |name: &str| self.length(name, self.get(name)?);
        let window = match self.kind {
            Kind::Tumble => Window::tumble(length("size")?, offset),
            Kind::Hop => Window::hop(length("slide")?, length("size")?, offset),
            Kind::Cumulate => Window::cumulate(length("step")?, length("size")?, offset),
            Kind::Session | Kind::SparkSession => Window::session(length("gap")?),
            Kind::Count => Window::count(self.number("rows")?),
            Kind::Spark => match self.find("slide") {
                Some(slide) => Window::hop(self.length("slide", slide)?, length("size")?, offset),
                None => Window::tumble(length("size")?, offset),
            },
        };
        window.map_err(|error| Located::new(error, self.span))
    }

    /// Windows of days in a zone.
    fn local_window(&self, zone: &Expr) -> Result<Window, Located> {
        let span = if zone.span() == Span::empty() { self.span } else { zone.span() };
        let Some(name) = text(zone) else {
            let error =
                SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "the time zone of a window must be a constant");
            return Err(Located::new(error, span));
        };
        let zone = Zone::named(name.trim()).map_err(|error| Located::new(error, span))?;
        let size = self.days("size", self.get("size")?)?;
        let offset = self.find("offset").map(|expr| self.days("offset", expr)).transpose()?.unwrap_or(0);
        let (shape, step) = match self.kind {
            Kind::Hop => (DayShape::Hop, self.days("slide", self.get("slide")?)?),
            Kind::Cumulate => (DayShape::Cumulate, self.days("step", self.get("step")?)?),
            _ => (DayShape::Tumble, size),
        };
        let window = LocalWindow::try_new(zone, shape, step, size, offset);
        window.map(Window::Local).map_err(|error| Located::new(error, self.span))
    }

    /// A constant number of days.
    fn days(&self, what: &str, expr: &Expr) -> Result<i64, Located> {
        self.length(what, expr)?;
        match Interval::of(expr) {
            Some(Ok(Interval { months: 0, days, micros: 0 })) => Ok(i64::from(days)),
            _ => {
                let span = if expr.span() == Span::empty() { self.span } else { expr.span() };
                let error = SqlError::unsupported(format!("a window {what} in a time zone must be of whole days"))
                    .hint("Write INTERVAL '1 day'; hours are as long in every zone, and need none.");
                Err(Located::new(error, span))
            }
        }
    }

    /// A constant number.
    fn number(&self, what: &str) -> Result<i64, Located> {
        let expr = self.get(what)?;
        let number = match expr {
            Expr::Value(value) => match &value.value {
                Value::Number(number, _) => number.parse().ok(),
                _ => None,
            },
            Expr::UnaryOp { op: UnaryOperator::Minus, .. } => Some(-1),
            _ => None,
        };
        number.ok_or_else(|| {
            let span = if expr.span() == Span::empty() { self.span } else { expr.span() };
            let message = format!("the {what} of a window must be a constant number");
            Located::new(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message), span)
        })
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

/// The text of a literal.
fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        _ => None,
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
