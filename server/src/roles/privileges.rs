//! Sets of privileges, and how PostgreSQL writes them.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign, Sub};

use sql::administration::Privilege;

/// A set of privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Privileges(u16);

impl Privileges {
    /// These.
    pub fn of(privileges: impl IntoIterator<Item = Privilege>) -> Self {
        Self(privileges.into_iter().fold(0, |bits, privilege| bits | bit(privilege)))
    }

    /// True if it is among them.
    pub fn contains(self, privilege: Privilege) -> bool {
        self.0 & bit(privilege) != 0
    }

    /// True if there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each, in PostgreSQL's order.
    pub fn iter(self) -> impl Iterator<Item = Privilege> {
        Privilege::ALL.into_iter().filter(move |privilege| self.contains(*privilege))
    }

    /// Their letters: `arw`.
    pub fn letters(self) -> String {
        self.iter().map(Privilege::letter).collect()
    }

    /// The set of these letters; `None` if one is none.
    pub fn of_letters(letters: &str) -> Option<Self> {
        letters.chars().map(Privilege::of_letter).collect::<Option<Vec<_>>>().map(Self::of)
    }
}

fn bit(privilege: Privilege) -> u16 {
    let at = Privilege::ALL.iter().position(|known| *known == privilege);
    at.map_or(0, |at| 1 << at)
}

impl BitOr for Privileges {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Privileges {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Privileges {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for Privileges {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Privileges on one thing that one role gave another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Who has them; `None` is everybody.
    pub grantee: Option<u32>,
    /// Who gave them.
    pub grantor: u32,
    /// Which.
    pub privileges: Privileges,
    /// Those of them the grantee may grant.
    pub grantable: Privileges,
}

/// A grant as an `aclitem` shows it: `reader=r*a/owner`.
pub struct AclItem<'a> {
    /// The grantee's name; empty for everybody.
    pub grantee: &'a str,
    /// The grantor's name.
    pub grantor: &'a str,
    /// What was granted.
    pub grant: Grant,
}

impl fmt::Display for AclItem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", quoted(self.grantee))?;
        for privilege in self.grant.privileges.iter() {
            let star = if self.grant.grantable.contains(privilege) { "*" } else { "" };
            write!(f, "{}{star}", privilege.letter())?;
        }
        write!(f, "/{}", quoted(self.grantor))
    }
}

/// A role's name in an `aclitem`: in double quotes unless it is letters, digits and underscores alone.
fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
