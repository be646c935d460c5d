//! Statements accepted and refused, each with its exact outcome.

mod administration;
mod limits;
mod session;
mod source;
mod subscribe;
mod syntax;
mod table;
mod view;

use super::*;
use crate::statement::*;

fn one(text: &str) -> Statement {
    let mut parsed = parse(text).unwrap_or_else(|e| panic!("{text}\n{e:?}"));
    assert_eq!(parsed.len(), 1, "{text}");
    parsed.remove(0).statement
}

fn error(text: &str) -> SqlError {
    match parse(text) {
        Ok(parsed) => panic!("accepted: {text}\n{parsed:?}"),
        Err(error) => error,
    }
}

fn source(text: &str) -> CreateSource {
    match one(text) {
        Statement::CreateSource(source) => *source,
        other => panic!("{text}\n{other:?}"),
    }
}

fn view(text: &str) -> CreateMaterializedView {
    match one(text) {
        Statement::CreateMaterializedView(view) => *view,
        other => panic!("{text}\n{other:?}"),
    }
}

const WITH: &str = "WITH (connector = 'kafka', bootstrap = 'b:9092', topic = 't') FORMAT JSON";

/// (statement, SQLSTATE, message, the text at the position; "" is the end).
type Refusals = [(&'static str, &'static str, &'static str, &'static str)];

fn check_refusals(refusals: &Refusals) {
    for (text, state, message, at) in refusals {
        let full = text.replace("$WITH", WITH);
        let error = error(&full);
        assert_eq!((error.state.0, error.message.as_str()), (*state, *message), "{text}");
        if *at == "-" {
            assert_eq!(error.position, None, "{text}");
            continue;
        }
        let position = error.position.unwrap_or_else(|| panic!("{text}: no position"));
        let rest: String = full.chars().skip(position - 1).collect();
        assert!(rest.starts_with(at) && (rest.is_empty() == at.is_empty()), "{text}: points at {rest:?}");
    }
}
