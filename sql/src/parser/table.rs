//! `CREATE TABLE` without a connector: a table whose rows are written with INSERT, UPDATE and DELETE.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::dialect::{Dialect as _, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::envelope::{self, PrimaryKey};
use super::source::COLUMNS_MAX;
use super::{create, data_type, query};
use crate::statement::CreateTable;
use crate::{SqlError, SqlState, types};

/// What Postgres can have behind a column or among the columns, and we do not; the longer ones first.
const REFUSED: [(&[&str], &str); 14] = [
    (&["foreign", "key"], "FOREIGN KEY"),
    (&["constraint"], "CONSTRAINT"),
    (&["unique"], "UNIQUE"),
    (&["check"], "CHECK"),
    (&["exclude"], "EXCLUDE"),
    (&["references"], "REFERENCES"),
    (&["generated"], "GENERATED"),
    (&["collate"], "COLLATE"),
    (&["metadata"], "METADATA"),
    (&["comment"], "COMMENT"),
    (&["storage"], "STORAGE"),
    (&["compression"], "COMPRESSION"),
    (&["as"], "a computed column"),
    (&["like"], "LIKE"),
];

/// Reads what follows TABLE, to the end of the statement.
pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<CreateTable, SqlError> {
    let start = cursor.position();
    let if_not_exists = create::if_not_exists(cursor, false)?;
    let (name, _) = create::new_name(cursor)?;
    if cursor.peek_word("as") {
        return Err(SqlError::unsupported("CREATE TABLE AS is not supported")
            .hint("CREATE MATERIALIZED VIEW keeps a query's rows up to date.")
            .at(start));
    }
    let mut elements = Elements::default();
    if *cursor.peek() == Token::LParen && *cursor.peek_nth(1) == Token::RParen {
        let message = format!("table \"{name}\" has no columns");
        return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message).at(cursor.position()));
    }
    cursor.list(|cursor| elements.element(cursor))?;
    if cursor.peek_word("with") {
        return Err(SqlError::unsupported("WITH options of a table are not supported")
            .hint("Use CREATE SOURCE, or CREATE TABLE … WITH (connector = 'kafka', …), to read a topic.")
            .at(cursor.position()));
    }
    cursor.expect_end()?;
    let Elements { mut columns, defaults, key } = elements;
    let primary_key = key.map_or(Ok(vec![]), |key| key.resolve(&mut columns))?;
    if columns.is_empty() {
        let message = format!("table \"{name}\" has no columns");
        return Err(SqlError::new(SqlState::INVALID_TABLE_DEFINITION, message));
    }
    Ok(CreateTable { name, if_not_exists, columns, defaults, primary_key })
}

#[derive(Default)]
struct Elements {
    columns: Vec<FieldRef>,
    defaults: Vec<Option<ast::Expr>>,
    key: Option<PrimaryKey>,
}

impl Elements {
    fn element(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SqlError> {
        let position = cursor.position();
        if envelope::primary_key(cursor, true) {
            return PrimaryKey::parse(cursor, position)?.note(&mut self.key);
        }
        if cursor.peek_word("watermark")
            && matches!(cursor.peek_nth(1), Token::Word(word) if word.value.eq_ignore_ascii_case("for"))
        {
            return Err(SqlError::unsupported("WATERMARK in a table is not supported")
                .hint("A row of a table may be changed at any time, so none of its windows is ever final.")
                .at(position));
        }
        // A column may be called like, say: a constraint is told by what follows.
        let constraint = matches!(cursor.peek_nth(1), Token::LParen)
            || cursor.peek_words(&["foreign", "key"])
            || cursor.peek_word("constraint")
            || cursor.peek_word("like");
        if constraint {
            refuse(cursor)?;
        }
        let (name, _) = cursor.identifier()?;
        if self.columns.iter().any(|column| *column.name() == name) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message).at(position));
        }
        if engine::ingest::is_reserved(&name) || name == engine::delta::WEIGHT_COLUMN {
            let message = format!("column name \"{name}\" is reserved");
            return Err(SqlError::new(SqlState::INVALID_NAME, message).at(position));
        }
        if self.columns.len() == COLUMNS_MAX {
            let message = format!("tables can have at most {COLUMNS_MAX} columns");
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message).at(position));
        }
        let at = cursor.position();
        let sql_type = data_type::parse(cursor)?;
        let field = types::field(&sql_type).map_err(|error| error.at(at))?;
        let (nullable, default) = self.options(cursor, &name)?;
        self.columns.push(Arc::new(field.as_ref().clone().with_name(name).with_nullable(nullable)));
        self.defaults.push(default);
        Ok(())
    }

    /// `NOT NULL`, `NULL`, `DEFAULT …` and `PRIMARY KEY` behind the column `name`: whether it may be null, and its default.
    fn options(&mut self, cursor: &mut Cursor<'_>, name: &str) -> Result<(bool, Option<ast::Expr>), SqlError> {
        let (mut nullable, mut default) = (None, None);
        loop {
            let position = cursor.position();
            if cursor.word("default") {
                // No comparison and no IS can stand there without brackets: NOT NULL may follow.
                let floor = PostgreSqlDialect {}.prec_value(Precedence::Is);
                let expr = cursor.sql(|parser| Parser::parse_subexpr(parser, floor))?;
                query::check(cursor, &expr)?;
                if default.replace(expr).is_some() {
                    let message = format!("multiple default values specified for column \"{name}\"");
                    return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(position));
                }
                continue;
            }
            if !envelope::null_option(cursor, name, &mut nullable, &mut self.key)? {
                refuse(cursor)?;
                break;
            }
        }
        Ok((nullable.unwrap_or(true), default))
    }
}

/// Refuses by its name what stands here and we do not have.
fn refuse(cursor: &Cursor<'_>) -> Result<(), SqlError> {
    match REFUSED.iter().find(|(words, _)| cursor.peek_words(words)) {
        Some((_, what)) => {
            Err(SqlError::unsupported(format!("{what} in a table is not supported")).at(cursor.position()))
        }
        None => Ok(()),
    }
}
