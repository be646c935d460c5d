//! `CREATE`, `ALTER` and `DROP ROLE`, GRANT and REVOKE of roles, and what becomes of what roles own.

use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::create;
use super::cursor::{Cursor, is_word};
use crate::administration::{Administration, CreateRole, RoleAttributes, RoleName};
use crate::secret::Secret;
use crate::{SqlError, SqlState};

/// The words that name a role; a user is one that can log in.
pub(crate) const KINDS: [&str; 3] = ["role", "user", "group"];

/// Attributes of PostgreSQL's roles that no role has here: saying that it has not is accepted.
const WITHOUT: [(&str, &str, &str); 5] = [
    ("createdb", "nocreatedb", "There is one database."),
    ("createrole", "nocreaterole", "Roles are administered by superusers, and by who has a role WITH ADMIN OPTION."),
    ("createuser", "nocreateuser", "Roles are administered by superusers."),
    ("replication", "noreplication", "There is no replication of this kind."),
    ("bypassrls", "nobypassrls", "There is no row security."),
];

/// `CREATE ROLE …`, the cursor being behind the word `kind`.
pub(crate) fn create(cursor: &mut Cursor<'_>, kind: &str) -> Result<Administration, SqlError> {
    let if_not_exists = cursor.words(&["if", "not", "exists"]);
    let (name, position) = new_role_name(cursor)?;
    let attributes = RoleAttributes { login: (kind == "user").then_some(true), ..RoleAttributes::default() };
    let mut role = CreateRole { name, if_not_exists, attributes, in_roles: vec![], members: vec![], admins: vec![] };
    cursor.word("with");
    while !cursor.at_end() {
        if cursor.words(&["in", "role"]) || cursor.words(&["in", "group"]) {
            role.in_roles.extend(list(cursor, |cursor| Ok(cursor.identifier()?.0))?);
        } else if cursor.one_of(&["role", "user"]).is_some() {
            role.members.extend(list(cursor, role_name)?);
        } else if cursor.word("admin") {
            role.admins.extend(list(cursor, role_name)?);
        } else {
            attribute(cursor, &mut role.attributes)?;
        }
    }
    check_not_reserved(&role.name).map_err(|error| error.at(position))?;
    Ok(Administration::CreateRole(role))
}

/// `ALTER ROLE …`, the cursor being behind the word for it.
pub(crate) fn alter(cursor: &mut Cursor<'_>) -> Result<Administration, SqlError> {
    if cursor.peek_word("all") {
        return Err(SqlError::unsupported("ALTER ROLE ALL is not supported").at(cursor.position()));
    }
    let position = cursor.position();
    let role = role_name(cursor)?;
    if cursor.words(&["rename", "to"]) {
        let RoleName::Name(name) = role else { return Err(cursor.syntax_error()) };
        let (new_name, position) = new_role_name(cursor)?;
        cursor.expect_end()?;
        check_not_reserved(&new_name).map_err(|error| error.at(position))?;
        return Ok(Administration::RenameRole { name, new_name });
    }
    if cursor.words(&["in", "database"]) {
        cursor.identifier()?;
    }
    if cursor.peek_word("set") || cursor.peek_word("reset") {
        let setting = Box::new(cursor.sql(Parser::parse_statement)?);
        cursor.expect_end()?;
        return Ok(Administration::SetForRole { role, setting });
    }
    if role == RoleName::Public {
        return Err(reserved("public").at(position));
    }
    let mut attributes = RoleAttributes::default();
    let with = cursor.word("with");
    if cursor.at_end() && with {
        return Err(cursor.syntax_error());
    }
    while !cursor.at_end() {
        attribute(cursor, &mut attributes)?;
    }
    Ok(Administration::AlterRole { role, attributes })
}

/// `DROP ROLE …`, the cursor being behind the word for it.
pub(crate) fn drop(cursor: &mut Cursor<'_>) -> Result<Administration, SqlError> {
    let if_exists = cursor.words(&["if", "exists"]);
    let names = list(cursor, role_name)?;
    cursor.expect_end()?;
    Ok(Administration::DropRoles { names, if_exists })
}

/// `DROP OWNED BY …`, the cursor being behind that.
pub(crate) fn drop_owned(cursor: &mut Cursor<'_>) -> Result<Administration, SqlError> {
    let by = list(cursor, role_name)?;
    let cascade = cursor.one_of(&["cascade", "restrict"]) == Some("cascade");
    cursor.expect_end()?;
    Ok(Administration::DropOwned { by, cascade })
}

/// `REASSIGN OWNED BY … TO …`.
pub(crate) fn reassign(cursor: &mut Cursor<'_>) -> Result<Administration, SqlError> {
    cursor.expect_words(&["reassign", "owned", "by"])?;
    let from = list(cursor, role_name)?;
    cursor.expect_word("to")?;
    let to = role_name(cursor)?;
    cursor.expect_end()?;
    Ok(Administration::ReassignOwned { from, to })
}

/// `GRANT role, … TO …`, the cursor being behind GRANT.
pub(crate) fn grant(cursor: &mut Cursor<'_>) -> Result<Administration, SqlError> {
    let roles = list(cursor, |cursor| Ok(cursor.identifier()?.0))?;
    cursor.expect_word("to")?;
    let members = list(cursor, role_name)?;
    let admin = cursor.words(&["with", "admin", "option"]) || cursor.words(&["with", "admin", "true"]);
    granted_by(cursor)?;
    cursor.expect_end()?;
    Ok(Administration::GrantRoles { roles, members, admin })
}

/// `REVOKE [ADMIN OPTION FOR] role, … FROM …`, the cursor being behind REVOKE.
pub(crate) fn revoke(cursor: &mut Cursor<'_>) -> Result<Administration, SqlError> {
    let admin_only = cursor.words(&["admin", "option", "for"]);
    let roles = list(cursor, |cursor| Ok(cursor.identifier()?.0))?;
    cursor.expect_word("from")?;
    let members = list(cursor, role_name)?;
    granted_by(cursor)?;
    cursor.one_of(&["cascade", "restrict"]);
    cursor.expect_end()?;
    Ok(Administration::RevokeRoles { roles, members, admin_only })
}

/// `GRANTED BY role`, which can only be who grants, as in Postgres.
pub(crate) fn granted_by(cursor: &mut Cursor<'_>) -> Result<(), SqlError> {
    let position = cursor.position();
    if cursor.words(&["granted", "by"]) && role_name(cursor)? != RoleName::CurrentUser {
        return Err(SqlError::unsupported("grantor must be current user").at(position));
    }
    Ok(())
}

/// Items separated by commas.
pub(crate) fn list<T>(
    cursor: &mut Cursor<'_>,
    item: impl Fn(&mut Cursor<'_>) -> Result<T, SqlError>,
) -> Result<Vec<T>, SqlError> {
    let mut items = vec![item(cursor)?];
    while cursor.token(&Token::Comma) {
        items.push(item(cursor)?);
    }
    Ok(items)
}

/// A role, by name or as who asks.
pub(crate) fn role_name(cursor: &mut Cursor<'_>) -> Result<RoleName, SqlError> {
    if cursor.one_of(&["current_user", "current_role"]).is_some() {
        return Ok(RoleName::CurrentUser);
    }
    if cursor.word("session_user") {
        return Ok(RoleName::SessionUser);
    }
    let is_public = is_word(cursor.peek(), "public");
    let (name, _) = cursor.identifier()?;
    Ok(if is_public { RoleName::Public } else { RoleName::Name(name) })
}

fn new_role_name(cursor: &mut Cursor<'_>) -> Result<(String, usize), SqlError> {
    let (name, position) = cursor.identifier()?;
    if name.len() > create::NAME_BYTES_MAX {
        let message = format!("identifier \"{name}\" is longer than {} bytes", create::NAME_BYTES_MAX);
        return Err(SqlError::new(SqlState::NAME_TOO_LONG, message).at(position));
    }
    Ok((name, position))
}

fn check_not_reserved(name: &str) -> Result<(), SqlError> {
    if name.starts_with("pg_") {
        let error = SqlError::new(SqlState("42939"), format!("role name \"{name}\" is reserved"));
        return Err(error.detail("Role names starting with \"pg_\" are reserved."));
    }
    if matches!(name, "public" | "none") { Err(reserved(name)) } else { Ok(()) }
}

fn reserved(name: &str) -> SqlError {
    SqlError::new(SqlState("42939"), format!("role name \"{name}\" is reserved"))
}

fn attribute(cursor: &mut Cursor<'_>, attributes: &mut RoleAttributes) -> Result<(), SqlError> {
    let position = cursor.position();
    let twice = || SqlError::new(SqlState::SYNTAX_ERROR, "conflicting or redundant options").at(position);
    let switch = |slot: &mut Option<bool>, value: bool| match slot.replace(value) {
        Some(earlier) if earlier != value => Err(twice()),
        _ => Ok(()),
    };
    let flags = ["superuser", "nosuperuser", "login", "nologin", "inherit", "noinherit"];
    match cursor.one_of(&flags) {
        Some("superuser") => return switch(&mut attributes.superuser, true),
        Some("nosuperuser") => return switch(&mut attributes.superuser, false),
        // CREATE USER says LOGIN by itself.
        Some("login") => attributes.login = Some(true),
        Some("nologin") => attributes.login = Some(false),
        Some("inherit") => return switch(&mut attributes.inherit, true),
        Some(_) => return switch(&mut attributes.inherit, false),
        None => return valued(cursor, attributes),
    }
    Ok(())
}

/// An attribute with a value.
fn valued(cursor: &mut Cursor<'_>, attributes: &mut RoleAttributes) -> Result<(), SqlError> {
    let position = cursor.position();
    let twice = || SqlError::new(SqlState::SYNTAX_ERROR, "conflicting or redundant options").at(position);
    if cursor.peek_words(&["unencrypted", "password"]) {
        let error = SqlError::unsupported("UNENCRYPTED PASSWORD is no longer supported").at(position);
        return Err(error.hint("Remove UNENCRYPTED to store the password in encrypted form instead."));
    }
    if cursor.words(&["encrypted", "password"]) || cursor.word("password") {
        let password = if cursor.word("null") { None } else { Some(Secret::new(text(cursor)?)) };
        return if attributes.password.replace(password).is_some() { Err(twice()) } else { Ok(()) };
    }
    if cursor.words(&["connection", "limit"]) {
        let at = cursor.position();
        let limit = whole_number(cursor)?;
        if limit < -1 {
            let message = format!("invalid connection limit: {limit}");
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).at(at));
        }
        return if attributes.connection_limit.replace(limit).is_some() { Err(twice()) } else { Ok(()) };
    }
    if cursor.words(&["valid", "until"]) {
        let until = text(cursor)?;
        return if attributes.valid_until.replace(until).is_some() { Err(twice()) } else { Ok(()) };
    }
    for (with, without, hint) in WITHOUT {
        if cursor.word(without) {
            return Ok(());
        }
        if cursor.peek_word(with) {
            let what = format!("{} is not supported", with.to_ascii_uppercase());
            return Err(SqlError::unsupported(what).hint(hint).at(position));
        }
    }
    Err(cursor.syntax_error())
}

/// A string.
pub(crate) fn text(cursor: &mut Cursor<'_>) -> Result<String, SqlError> {
    let text = match cursor.peek() {
        Token::SingleQuotedString(text)
        | Token::EscapedStringLiteral(text)
        | Token::NationalStringLiteral(text)
        | Token::UnicodeStringLiteral(text) => text.clone(),
        Token::DollarQuotedString(text) => text.value.clone(),
        _ => return Err(cursor.expected("a string")),
    };
    cursor.next();
    Ok(text)
}

fn whole_number(cursor: &mut Cursor<'_>) -> Result<i32, SqlError> {
    let negative = cursor.token(&Token::Minus);
    let Token::Number(digits, _) = cursor.peek() else { return Err(cursor.expected("a whole number")) };
    let Ok(number) = digits.parse::<i32>() else { return Err(cursor.expected("a whole number")) };
    cursor.next();
    Ok(if negative { -number } else { number })
}
