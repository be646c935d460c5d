//! `ALTER … RENAME TO`, `ALTER … OWNER TO`, `ALTER ROLE`; the rest of ALTER is refused by name.

use super::cursor::Cursor;
use super::{create, refusal, role};
use crate::SqlError;
use crate::administration::Administration;
use crate::statement::{ObjectKind, Rename, Statement};

/// What can be renamed, by the words that name it; the longer ones first.
const KINDS: [(&[&str], ObjectKind); 4] = [
    (&["alter", "materialized", "view"], ObjectKind::MaterializedView),
    (&["alter", "view"], ObjectKind::View),
    (&["alter", "source"], ObjectKind::Source),
    (&["alter", "table"], ObjectKind::Table),
];

/// `ALTER SOURCE | TABLE | VIEW | MATERIALIZED VIEW [IF EXISTS] name RENAME TO name | OWNER TO role`, and `ALTER ROLE`.
pub(crate) fn statement(cursor: &mut Cursor<'_>) -> Result<Statement, SqlError> {
    let of_role = role::KINDS.iter().any(|kind| cursor.peek_words(&["alter", kind]));
    if of_role && !cursor.peek_words(&["alter", "user", "mapping"]) {
        cursor.next();
        cursor.next();
        return Ok(Statement::Administer(Box::new(role::alter(cursor)?)));
    }
    let refusal = refusal::statement(cursor);
    let Some((words, kind)) = KINDS.iter().find(|(words, _)| cursor.peek_words(words)) else { return Err(refusal) };
    cursor.words(words);
    let if_exists = cursor.words(&["if", "exists"]);
    let (name, _) = cursor.object_name()?;
    if cursor.words(&["owner", "to"]) {
        let owner = role::role_name(cursor)?;
        cursor.expect_end()?;
        let administration = Administration::SetOwner { kind: *kind, name, if_exists, owner };
        return Ok(Statement::Administer(Box::new(administration)));
    }
    // RENAME COLUMN, RENAME x TO y, SET …
    if !cursor.words(&["rename", "to"]) {
        return Err(refusal);
    }
    let (new_name, _) = create::new_name(cursor)?;
    cursor.expect_end()?;
    Ok(Statement::Rename(Rename { kind: *kind, name, new_name, if_exists }))
}
