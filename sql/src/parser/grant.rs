//! GRANT and REVOKE.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, is_word};
use super::role::{self, granted_by, list, role_name};
use crate::administration::{Administration, Grantable, Privilege, PrivilegeChange};
use crate::statement::Statement;
use crate::{SqlError, SqlState};

/// Privileges that PostgreSQL has and nothing here needs.
const UNKNOWN_HERE: [&str; 8] = ["references", "trigger", "execute", "temporary", "temp", "set", "maintain", "alter"];

/// Kinds of object there are none of, in `ALL … IN SCHEMA`.
const NONE_OF: [&str; 4] = ["sequences", "functions", "procedures", "routines"];

/// `GRANT …` or `REVOKE …`, whose first word is `first`, still ahead of the cursor.
pub(crate) fn statement(cursor: &mut Cursor<'_>, first: &str) -> Result<Statement, SqlError> {
    cursor.next();
    let grants = first == "grant";
    let of_privileges = names_object(cursor);
    let statement = match (grants, of_privileges) {
        (true, true) => Administration::Grant(grant(cursor)?),
        (true, false) => role::grant(cursor)?,
        (false, true) => Administration::Revoke(revoke(cursor)?),
        (false, false) => role::revoke(cursor)?,
    };
    Ok(Statement::Administer(Box::new(statement)))
}

/// True if an ON comes before the TO or FROM: privileges are on something, roles are not.
fn names_object(cursor: &Cursor<'_>) -> bool {
    let mut n = 0;
    loop {
        let token = cursor.peek_nth(n);
        if is_word(token, "on") {
            return true;
        }
        if *token == Token::EOF || is_word(token, "to") || is_word(token, "from") {
            return false;
        }
        n += 1;
    }
}

fn grant(cursor: &mut Cursor<'_>) -> Result<PrivilegeChange, SqlError> {
    let privileges = privileges(cursor)?;
    let on = object(cursor)?;
    cursor.expect_word("to")?;
    let roles = grantees(cursor)?;
    let grant_option = cursor.words(&["with", "grant", "option"]);
    granted_by(cursor)?;
    cursor.expect_end()?;
    Ok(PrivilegeChange { privileges, on, roles, grant_option, cascade: false })
}

fn revoke(cursor: &mut Cursor<'_>) -> Result<PrivilegeChange, SqlError> {
    let grant_option = cursor.words(&["grant", "option", "for"]);
    let privileges = privileges(cursor)?;
    let on = object(cursor)?;
    cursor.expect_word("from")?;
    let roles = grantees(cursor)?;
    granted_by(cursor)?;
    let cascade = cursor.one_of(&["cascade", "restrict"]) == Some("cascade");
    cursor.expect_end()?;
    Ok(PrivilegeChange { privileges, on, roles, grant_option, cascade })
}

fn grantees(cursor: &mut Cursor<'_>) -> Result<Vec<crate::administration::RoleName>, SqlError> {
    list(cursor, |cursor| {
        // An old noise word, unless it is itself the name.
        if cursor.peek_word("group") && matches!(cursor.peek_nth(1), Token::Word(_)) {
            cursor.next();
        }
        role_name(cursor)
    })
}

/// The privileges before ON, ON included; `None` is ALL.
fn privileges(cursor: &mut Cursor<'_>) -> Result<Option<Vec<Privilege>>, SqlError> {
    if cursor.word("all") {
        cursor.word("privileges");
        refuse_columns(cursor)?;
        cursor.expect_word("on")?;
        return Ok(None);
    }
    let privileges = list(cursor, |cursor| {
        let position = cursor.position();
        let Token::Word(word) = cursor.peek() else { return Err(cursor.syntax_error()) };
        let word = word.value.clone();
        let Some(privilege) = Privilege::of_word(&word) else {
            let lower = word.to_ascii_lowercase();
            if UNKNOWN_HERE.contains(&lower.as_str()) {
                let message = format!("privilege type {} is not supported", word.to_ascii_uppercase());
                return Err(SqlError::unsupported(message).at(position));
            }
            let message = format!("unrecognized privilege type \"{lower}\"");
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(position));
        };
        cursor.next();
        refuse_columns(cursor)?;
        Ok(privilege)
    })?;
    cursor.expect_word("on")?;
    Ok(Some(privileges))
}

fn refuse_columns(cursor: &Cursor<'_>) -> Result<(), SqlError> {
    if *cursor.peek() != Token::LParen {
        return Ok(());
    }
    let error = SqlError::unsupported("privileges on columns are not supported").at(cursor.position());
    Err(error.hint("Grant on a view of the columns."))
}

/// What the privileges are on, up to TO or FROM.
fn object(cursor: &mut Cursor<'_>) -> Result<Grantable, SqlError> {
    if cursor.word("all") {
        let all = cursor.one_of(&["tables", "sequences", "functions", "procedures", "routines"]);
        let Some(all) = all else { return Err(cursor.syntax_error()) };
        cursor.expect_words(&["in", "schema"])?;
        list(cursor, schema)?;
        return Ok(if NONE_OF.contains(&all) { Grantable::Nothing } else { Grantable::AllRelations });
    }
    // A kind's word may itself be a relation's name.
    let is_kind = |cursor: &Cursor<'_>, words: &[&str]| {
        let next = cursor.peek_nth(words.len());
        cursor.peek_words(words) && matches!(next, Token::Word(_)) && !is_word(next, "to") && !is_word(next, "from")
    };
    if is_kind(cursor, &["schema"]) {
        cursor.next();
        list(cursor, schema)?;
        return Ok(Grantable::Schema);
    }
    if is_kind(cursor, &["database"]) {
        cursor.next();
        return Ok(Grantable::Database(list(cursor, |cursor| Ok(cursor.identifier()?.0))?));
    }
    if is_kind(cursor, &["secret"]) {
        cursor.next();
        return Ok(Grantable::Secrets(list(cursor, |cursor| Ok(cursor.object_name()?.0))?));
    }
    for kind in ["sequence", "function", "procedure", "routine", "domain", "type", "language", "tablespace"] {
        if is_kind(cursor, &[kind]) {
            let message = format!("privileges on a {kind} are not supported");
            return Err(SqlError::unsupported(message).at(cursor.position()));
        }
    }
    for words in [&["materialized", "view"][..], &["table"], &["view"], &["source"]] {
        if is_kind(cursor, words) {
            cursor.words(words);
            break;
        }
    }
    Ok(Grantable::Relations(list(cursor, |cursor| Ok(cursor.object_name()?.0))?))
}

/// The one schema with users' objects.
fn schema(cursor: &mut Cursor<'_>) -> Result<(), SqlError> {
    let (name, position) = cursor.identifier()?;
    if name == "public" {
        return Ok(());
    }
    let message = format!("schema \"{name}\" does not exist");
    Err(SqlError::new(SqlState::UNDEFINED_SCHEMA, message).hint("Everything lives in the schema public.").at(position))
}
