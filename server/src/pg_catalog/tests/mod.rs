//! Real clients' statements over a sample catalog, with the rows they get.
//!
//! A golden file holds statements with what each returned: columns with their types, then rows. Where the answer
//! changes, the test fails and shows both; `UPDATE_GOLDEN=1` writes the file anew, to be read before it is kept.

mod behaviour;
mod sample;

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::ParamValues;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::rows::{Cell, array};
use super::types::{format_type, type_of};
use super::{PgCatalog, is_catalog_query, output_name, planner};

/// What a query returned: `name type` for each column, and rows as text.
pub(super) struct Answer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
}

/// Runs one query as the server would.
pub(super) async fn ask(catalog: &PgCatalog, text: &str, parameters: Vec<ScalarValue>) -> Result<Answer> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, text)?;
    let Some(Statement::Query(mut query)) = statements.pop() else {
        return Err(DataFusionError::Plan("not a query".into()));
    };
    let functions = catalog.rewrite(&mut query)?;
    let rewritten = query.to_string();
    let shown = |error: DataFusionError| error.context(rewritten.clone());
    let mut plan = planner::plan(catalog, &functions, *query, Vec::new()).map_err(shown)?;
    if !parameters.is_empty() {
        plan = plan.with_param_values(ParamValues::from(parameters)).map_err(shown)?;
    }
    let plan = catalog.present(plan).map_err(shown)?;
    let columns = plan.schema().fields().iter().map(|field| {
        let (oid, typmod) = type_of(field);
        format!("{} {}", output_name(field.name()), format_type(oid, typmod))
    });
    let columns = columns.collect();
    let fields = plan.schema().fields().clone();
    let mut rows = Vec::new();
    for batch in planner::run(&plan).await.map_err(shown)? {
        for at in 0..batch.num_rows() {
            let value = |(array, field): (&arrow::array::ArrayRef, &Arc<Field>)| -> Result<Option<String>> {
                let cell = Cell::read(array, at)?;
                let is_vector = format_type(type_of(field).0, -1).ends_with("vector");
                Ok(match cell {
                    Cell::List(items) if is_vector => {
                        Some(items.iter().filter_map(Cell::render).collect::<Vec<_>>().join(" "))
                    }
                    Cell::Bool(value) => Some(if value { "t" } else { "f" }.to_string()),
                    other => other.render(),
                })
            };
            rows.push(batch.columns().iter().zip(&fields).map(value).collect::<Result<_>>()?);
        }
    }
    Ok(Answer { columns, rows })
}

/// Answers of up to so many rows stand in a golden file whole.
const ROWS_WHOLE: usize = 40;
/// Of a longer one, so many from its beginning and from its end.
const ROWS_SHOWN: usize = 8;

/// An answer as a golden file has it.
fn render(answer: &Result<Answer>) -> String {
    let mut out = String::new();
    match answer {
        Ok(answer) => {
            out.push_str(&answer.columns.join(" | "));
            out.push('\n');
            let long = answer.rows.len() > ROWS_WHOLE;
            for (at, row) in answer.rows.iter().enumerate() {
                if long && at >= ROWS_SHOWN && at + ROWS_SHOWN < answer.rows.len() {
                    continue;
                }
                let row: Vec<String> =
                    row.iter().map(|value| value.as_ref().map_or("∅".to_string(), |value| shown(value))).collect();
                out.push_str(&row.join(" | "));
                out.push('\n');
            }
            let _ = writeln!(out, "({} rows)", answer.rows.len());
        }
        Err(error) => {
            let _ = writeln!(out, "ERROR {}", error.strip_backtrace());
        }
    }
    out
}

/// A value on one line, with nothing in it that depends on the machine or the release.
fn shown(value: &str) -> String {
    value.replace(&super::version(), "(version)").replace('\n', "⏎")
}

/// One statement of a golden file.
struct Example {
    title: String,
    parameters: String,
    text: String,
    answer: String,
}

fn examples(file: &str) -> Vec<Example> {
    let parse = |block: &str| {
        let (head, answer) = block.split_once("\n----\n").unwrap_or((block, ""));
        let (title, rest) = head.split_once('\n').unwrap_or((head, ""));
        let (parameters, text) = match rest.strip_prefix("-- with ") {
            Some(rest) => rest.split_once('\n').unwrap_or((rest, "")),
            None => ("", rest),
        };
        let [title, parameters, text] = [title, parameters, text].map(|part| part.trim().to_string());
        Example { title, parameters, text, answer: answer.to_string() }
    };
    file.split("\n==== ").skip(1).map(parse).collect()
}

/// Parameters as they are written in a golden file: SQL literals, and arrays of strings in braces.
fn parameters(text: &str) -> Vec<ScalarValue> {
    let value = |word: &str| match word {
        "true" => ScalarValue::Boolean(Some(true)),
        "null" => ScalarValue::Utf8(None),
        word if word.starts_with('{') => {
            let items: Vec<Cell> = word.trim_matches(['{', '}']).split(';').map(Cell::from).collect();
            let data = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
            let built = array(&data, &[&Cell::List(items)]).expect("strings");
            ScalarValue::try_from_array(&built, 0).expect("one list")
        }
        word => match word.parse() {
            Ok(number) => ScalarValue::Int64(Some(number)),
            Err(_) => ScalarValue::Utf8(Some(word.trim_matches('\'').to_string())),
        },
    };
    if text.is_empty() { Vec::new() } else { text.split(", ").map(value).collect() }
}

/// Asks every statement of `golden/NAME.txt` and compares the answers.
async fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pg_catalog/tests/golden").join(name);
    let file = std::fs::read_to_string(&path).expect("the golden file");
    let (preface, _) = file.split_once("\n==== ").expect("an example");
    let catalog = sample::catalog();
    let (mut written, mut wrong) = (format!("{preface}\n"), Vec::new());
    for example in examples(&file) {
        let is_catalog = Parser::parse_sql(&PostgreSqlDialect {}, &example.text)
            .is_ok_and(|statements| statements.iter().any(is_catalog_query));
        let answer = ask(&catalog, &example.text, parameters(&example.parameters)).await;
        let mut answer = render(&answer);
        if !is_catalog {
            answer.push_str("(not seen as a catalog query)\n");
        }
        let parameters = match example.parameters.as_str() {
            "" => String::new(),
            parameters => format!("-- with {parameters}\n"),
        };
        let _ = write!(written, "==== {}\n{parameters}{}\n----\n{answer}\n", example.title, example.text);
        if answer.trim() != example.answer.trim() {
            let Example { title, text, answer: expected, .. } = example;
            wrong.push(format!("{title}\n{text}\nexpected:\n{expected}\ngot:\n{answer}"));
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, written.trim_end().to_string() + "\n").expect("the golden file can be written");
        return;
    }
    assert!(wrong.is_empty(), "{} of {name} differ:\n{}", wrong.len(), wrong.join("\n\n"));
}

macro_rules! golden {
    ($($test:ident => $file:literal),* $(,)?) => {
        $(#[tokio::test] async fn $test() { check($file).await; })*
    };
}

golden! {
    psql_against_13 => "psql_13.txt",
    psql_against_15 => "psql_15.txt",
    pgjdbc => "pgjdbc.txt",
    sqlalchemy => "sqlalchemy.txt",
    other_clients => "clients.txt",
    tools => "tools.txt",
}
