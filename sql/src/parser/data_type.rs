//! Column types: sqlparser's, and the nested ones it does not read in Postgres' dialect.
//!
//! `STRUCT<a int, b text>`, `STRUCT(a int)`, `ROW(a int, b text)`, `ARRAY<T>` and `T[]` on any of them. `>>` and `>>>`
//! are one token each, so closing brackets are counted, not matched.

use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType, Ident, StructBracketKind, StructField};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::limits::NESTING_MAX;
use crate::{SqlError, SqlState};

/// Reads one type.
pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<DataType, SqlError> {
    let mut reader = Reader { closed: 0, depth: 0 };
    let data_type = reader.data_type(cursor)?;
    if reader.closed > 0 { Err(cursor.expected("a column option")) } else { Ok(data_type) }
}

struct Reader {
    /// Closing angle brackets read but not yet used.
    closed: usize,
    depth: usize,
}

impl Reader {
    fn data_type(&mut self, cursor: &mut Cursor<'_>) -> Result<DataType, SqlError> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "statement too complex: type nested too deep")
                .at(cursor.position()));
        }
        let opens = |token: &Token| matches!(token, Token::Lt | Token::LParen);
        let mut data_type = if (cursor.peek_word("struct") || cursor.peek_word("row")) && opens(cursor.peek_nth(1)) {
            cursor.next();
            self.structure(cursor)?
        } else if cursor.peek_word("array") && *cursor.peek_nth(1) == Token::Lt {
            cursor.next();
            cursor.next();
            let of = self.data_type(cursor)?;
            self.close(cursor)?;
            DataType::Array(ArrayElemTypeDef::AngleBracket(Box::new(of)))
        } else {
            if !matches!(cursor.peek(), Token::Word(_)) {
                return Err(cursor.expected("a type"));
            }
            cursor.sql(Parser::parse_data_type)?
        };
        while self.closed == 0 && cursor.token(&Token::LBracket) {
            if matches!(cursor.peek(), Token::Number(..)) {
                cursor.next();
            }
            cursor.expect_token(&Token::RBracket)?;
            data_type = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(data_type), None));
        }
        self.depth -= 1;
        Ok(data_type)
    }

    fn structure(&mut self, cursor: &mut Cursor<'_>) -> Result<DataType, SqlError> {
        let angle = cursor.next().token == Token::Lt;
        let mut fields = Vec::new();
        loop {
            let (name, _) = cursor.identifier()?;
            cursor.token(&Token::Colon);
            let field_type = self.data_type(cursor)?;
            cursor.words(&["not", "null"]);
            let name = Some(Ident::with_quote('"', name));
            fields.push(StructField { field_name: name, field_type, options: None });
            if self.closed > 0 || !cursor.token(&Token::Comma) {
                break;
            }
        }
        if angle {
            self.close(cursor)?;
            Ok(DataType::Struct(fields, StructBracketKind::AngleBrackets))
        } else {
            cursor.expect_token(&Token::RParen)?;
            Ok(DataType::Struct(fields, StructBracketKind::Parentheses))
        }
    }

    /// One closing angle bracket, from those read already or the next token.
    fn close(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SqlError> {
        if self.closed == 0 {
            let text = cursor.peek().to_string();
            if text.is_empty() || text.chars().any(|c| c != '>') {
                return Err(cursor.expected("\">\""));
            }
            cursor.next();
            self.closed = text.len();
        }
        self.closed -= 1;
        Ok(())
    }
}
