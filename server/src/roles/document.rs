//! Roles and privileges kept over restarts, in a document of their own beside the definitions.
//!
//! Of a password only its SCRAM verifier is kept. Relations and secrets stand by oid, which renaming does not change.

use engine::checkpoint::store::Store;
use serde::{Deserialize, Serialize};

use super::privileges::{Grant, Privileges};
use super::{Membership, Role, Roles, Securable};
use crate::document;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    next_oid: u32,
    mock_secret: String,
    #[serde(default)]
    role: Vec<RoleText>,
    #[serde(default)]
    member: Vec<MemberText>,
    #[serde(default)]
    owner: Vec<OwnerText>,
    #[serde(default)]
    grants: Vec<GrantsText>,
}

impl document::Document for Document {
    const NAME: &str = "roles.toml";
    const VERSION: u32 = 1;

    fn version(&self) -> u32 {
        self.version
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct RoleText {
    oid: u32,
    name: String,
    superuser: bool,
    login: bool,
    inherit: bool,
    connection_limit: i32,
    valid_until: Option<i64>,
    verifier: Option<String>,
    #[serde(default)]
    settings: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MemberText {
    role: u32,
    member: u32,
    grantor: u32,
    admin: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct OwnerText {
    of: String,
    owner: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct GrantsText {
    on: String,
    #[serde(default)]
    grant: Vec<GrantText>,
}

#[derive(Debug, Serialize, Deserialize)]
struct GrantText {
    /// 0 is everybody.
    grantee: u32,
    grantor: u32,
    privileges: String,
    #[serde(default)]
    grantable: String,
}

/// Reads what was kept; what a new directory has if there is none.
///
/// # Errors
/// One sentence: the document cannot be read, or is of a newer version.
pub async fn read(store: &Store) -> Result<Roles, String> {
    let Some(document) = document::read::<Document>(store).await? else { return Ok(Roles::default()) };
    roles(document).ok_or_else(|| document::broken::<Document>(&"a value in it makes no sense"))
}

fn roles(document: Document) -> Option<Roles> {
    let role = |text: RoleText| {
        let verifier = match text.verifier {
            Some(verifier) => Some(verifier.parse().ok()?),
            None => None,
        };
        Some(Role {
            oid: text.oid,
            name: text.name,
            superuser: text.superuser,
            login: text.login,
            inherit: text.inherit,
            connection_limit: text.connection_limit,
            valid_until: text.valid_until,
            verifier,
            settings: text.settings,
        })
    };
    let member = |text: MemberText| Membership {
        role: text.role,
        member: text.member,
        grantor: text.grantor,
        admin: text.admin,
    };
    let grant = |text: &GrantText| {
        Some(Grant {
            grantee: Some(text.grantee).filter(|grantee| *grantee != 0),
            grantor: text.grantor,
            privileges: Privileges::of_letters(&text.privileges)?,
            grantable: Privileges::of_letters(&text.grantable)?,
        })
    };
    let grants = |text: GrantsText| {
        let grants = text.grant.iter().map(grant).collect::<Option<Vec<_>>>()?;
        Some((securable(&text.on)?, grants))
    };
    let mut roles = Roles::default();
    roles.restore(
        document.role.into_iter().map(role).collect::<Option<_>>()?,
        document.member.into_iter().map(member).collect(),
        document.owner.into_iter().map(|text| Some((securable(&text.of)?, text.owner))).collect::<Option<_>>()?,
        document.grants.into_iter().map(grants).collect::<Option<_>>()?,
    );
    roles.set_next_oid(document.next_oid);
    roles.mock_secret = bytes_of(&document.mock_secret)?;
    Some(roles)
}

/// Writes what is.
///
/// # Errors
/// The store's.
pub async fn write(store: &Store, roles: &Roles) -> engine::Result<()> {
    let role = |role: &Role| RoleText {
        oid: role.oid,
        name: role.name.clone(),
        superuser: role.superuser,
        login: role.login,
        inherit: role.inherit,
        connection_limit: role.connection_limit,
        valid_until: role.valid_until,
        verifier: role.verifier.as_ref().map(ToString::to_string),
        settings: role.settings.clone(),
    };
    let member = |m: &Membership| MemberText { role: m.role, member: m.member, grantor: m.grantor, admin: m.admin };
    let grant = |grant: &Grant| GrantText {
        grantee: grant.grantee.unwrap_or(0),
        grantor: grant.grantor,
        privileges: grant.privileges.letters(),
        grantable: grant.grantable.letters(),
    };
    let grants =
        |(on, grants): (Securable, &[Grant])| GrantsText { on: text_of(on), grant: grants.iter().map(grant).collect() };
    let document = Document {
        version: <Document as document::Document>::VERSION,
        next_oid: roles.next_oid(),
        mock_secret: roles.mock_secret.iter().map(|byte| format!("{byte:02x}")).collect(),
        role: roles.kept().map(|kept| role(&kept)).collect(),
        member: roles.memberships().iter().map(member).collect(),
        owner: roles.owners().map(|(of, owner)| OwnerText { of: text_of(of), owner }).collect(),
        grants: roles.all_grants().map(grants).collect(),
    };
    document::write(store, &document).await
}

fn text_of(securable: Securable) -> String {
    match securable {
        Securable::Relation(oid) => format!("relation {oid}"),
        Securable::Secret(oid) => format!("secret {oid}"),
        Securable::Schema => "schema".into(),
        Securable::Database => "database".into(),
    }
}

fn securable(text: &str) -> Option<Securable> {
    match text.split_once(' ') {
        Some(("relation", oid)) => oid.parse().ok().map(Securable::Relation),
        Some(("secret", oid)) => oid.parse().ok().map(Securable::Secret),
        None if text == "schema" => Some(Securable::Schema),
        None if text == "database" => Some(Securable::Database),
        _ => None,
    }
}

fn bytes_of(hexadecimal: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hexadecimal.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ScramVerifier;
    use crate::pg_catalog::BOOTSTRAP_ROLE;
    use sql::administration::Privilege;

    #[tokio::test]
    async fn what_is_written_is_read_again() {
        let root = std::env::temp_dir().join(format!("tidemark-roles-{}", std::process::id()));
        let store = Store::open(&root.display().to_string()).expect("a directory that can be made");
        let fresh = read(&store).await.expect("nothing is there");
        assert_eq!(fresh.all().count(), Roles::default().all().count());
        let mut roles = Roles::default();
        let verifier = Some(ScramVerifier::from_password("fish", 4096));
        let reader = roles.add(Role { verifier, login: true, ..Role::new(0, "reader") }).expect("a new name");
        let group = roles.add(Role::new(0, "group")).expect("a new name");
        let membership = Membership { role: group, member: reader, grantor: BOOTSTRAP_ROLE, admin: true };
        assert!(roles.add_member(membership).expect("no circle"));
        let view = Securable::Relation(16_385);
        roles.set_owner(view, group);
        let select = Privileges::of([Privilege::Select]);
        roles.grant(view, group, group, (None, select, false)).expect("an owner may");
        write(&store, &roles).await.expect("writable");
        assert_eq!(read(&store).await.expect("readable"), roles);
        let kept = std::fs::read_to_string(root.join(<Document as document::Document>::NAME)).expect("written above");
        assert!(!kept.contains("fish"), "{kept}");
        std::fs::remove_dir_all(&root).expect("made above");
    }
}
