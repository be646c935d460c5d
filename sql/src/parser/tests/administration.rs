//! Roles, privileges, owners and secrets.

use super::*;
use crate::administration::*;

fn administration(text: &str) -> Administration {
    match one(text) {
        Statement::Administer(administration) => *administration,
        other => panic!("{text}\n{other:?}"),
    }
}

fn name(name: &str) -> RoleName {
    RoleName::Name(name.into())
}

#[test]
fn a_role_has_what_its_statement_says() {
    let text = "CREATE ROLE a WITH LOGIN NOSUPERUSER INHERIT NOCREATEDB CONNECTION LIMIT 3 PASSWORD 'p' \
                VALID UNTIL '2030-01-01' IN ROLE b, c ROLE d ADMIN e";
    let Administration::CreateRole(role) = administration(text) else { panic!("no role") };
    assert_eq!((role.name.as_str(), role.if_not_exists), ("a", false));
    assert_eq!(
        (role.in_roles, role.members, role.admins),
        (vec!["b".into(), "c".into()], vec![name("d")], vec![name("e")])
    );
    let attributes = role.attributes;
    assert_eq!((attributes.login, attributes.superuser, attributes.inherit), (Some(true), Some(false), Some(true)));
    assert_eq!((attributes.connection_limit, attributes.valid_until.as_deref()), (Some(3), Some("2030-01-01")));
    assert_eq!(attributes.password.flatten().map(|p| p.reveal().to_owned()).as_deref(), Some("p"));
    for (text, login) in
        [("CREATE USER a", Some(true)), ("CREATE USER a NOLOGIN", Some(false)), ("CREATE GROUP a", None)]
    {
        let Administration::CreateRole(role) = administration(text) else { panic!("no role") };
        assert_eq!(role.attributes.login, login, "{text}");
    }
    let Administration::AlterRole { role, attributes } = administration("ALTER USER CURRENT_USER PASSWORD NULL") else {
        panic!("no role")
    };
    assert_eq!((role, attributes.password), (RoleName::CurrentUser, Some(None)));
}

#[test]
fn privileges_and_roles_are_granted_and_revoked() {
    let Administration::Grant(grant) =
        administration("GRANT SELECT, insert ON TABLE a, public.b TO r, PUBLIC WITH GRANT OPTION")
    else {
        panic!("no grant")
    };
    assert_eq!(grant.privileges, Some(vec![Privilege::Select, Privilege::Insert]));
    assert_eq!(grant.on, Grantable::Relations(vec!["a".into(), "b".into()]));
    assert_eq!((grant.roles, grant.grant_option), (vec![name("r"), RoleName::Public], true));
    let Administration::Revoke(revoke) =
        administration("REVOKE GRANT OPTION FOR ALL PRIVILEGES ON ALL TABLES IN SCHEMA public FROM r CASCADE")
    else {
        panic!("no revoke")
    };
    assert_eq!((revoke.privileges, revoke.on), (None, Grantable::AllRelations));
    assert!(revoke.grant_option && revoke.cascade);
    for (text, on) in [
        ("GRANT USAGE ON SCHEMA public TO r", Grantable::Schema),
        ("GRANT CONNECT ON DATABASE tidemark TO r", Grantable::Database(vec!["tidemark".into()])),
        ("GRANT USAGE ON SECRET s TO r", Grantable::Secrets(vec!["s".into()])),
        ("GRANT SELECT ON MATERIALIZED VIEW v TO r", Grantable::Relations(vec!["v".into()])),
        ("GRANT SELECT ON schema TO r", Grantable::Relations(vec!["schema".into()])),
        ("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO r", Grantable::Nothing),
    ] {
        let Administration::Grant(grant) = administration(text) else { panic!("{text}") };
        assert_eq!(grant.on, on, "{text}");
    }
    let granted = administration("GRANT a, b TO c WITH ADMIN OPTION");
    let Administration::GrantRoles { roles, members, admin } = granted else { panic!("no roles") };
    assert_eq!((roles, members, admin), (vec!["a".into(), "b".into()], vec![name("c")], true));
    let revoked = administration("REVOKE ADMIN OPTION FOR a FROM c");
    assert!(matches!(revoked, Administration::RevokeRoles { admin_only: true, .. }), "{revoked:?}");
}

#[test]
fn owners_and_settings_of_roles_change() {
    let owner = administration("ALTER MATERIALIZED VIEW v OWNER TO r");
    assert!(matches!(owner, Administration::SetOwner { kind: ObjectKind::MaterializedView, .. }), "{owner:?}");
    for text in [
        "ALTER ROLE r SET statement_timeout = '5s'",
        "ALTER ROLE r SET search_path TO a, b",
        "ALTER ROLE r RESET ALL",
        "ALTER ROLE r IN DATABASE tidemark RESET statement_timeout",
    ] {
        let setting = administration(text);
        assert!(matches!(setting, Administration::SetForRole { .. }), "{setting:?}");
    }
    let reassigned = administration("REASSIGN OWNED BY a, b TO CURRENT_USER");
    assert!(matches!(reassigned, Administration::ReassignOwned { to: RoleName::CurrentUser, .. }), "{reassigned:?}");
    assert!(matches!(administration("DROP OWNED BY a CASCADE"), Administration::DropOwned { cascade: true, .. }));
    let dropped = administration("DROP ROLE IF EXISTS a, b");
    assert!(matches!(dropped, Administration::DropRoles { if_exists: true, .. }), "{dropped:?}");
}

#[test]
fn secrets_have_a_provider() {
    let kept = administration("CREATE SECRET s WITH (backend = 'meta') AS 'v'");
    let Administration::CreateSecret(secret) = kept else { panic!("no secret") };
    assert_eq!(secret.provider, SecretProvider::Kept(crate::secret::Secret::new("v")));
    let Administration::CreateSecret(secret) = administration("CREATE SECRET s WITH (backend = 'env', name = 'V')")
    else {
        panic!("no secret")
    };
    assert_eq!(secret.provider, SecretProvider::Environment("V".into()));
    let of_source = source(
        "CREATE SOURCE s (a int) WITH (connector = 'kafka', bootstrap = 'b', topic = 't', sasl.password = SECRET p) FORMAT JSON",
    );
    assert_eq!(of_source.secrets, [("sasl.password".to_owned(), "p".to_owned())]);
    assert!(of_source.options.iter().all(|(name, _)| name != "sasl.password"));
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    check_refusals(&[
        ("CREATE ROLE", "42601", "syntax error at end of input", ""),
        ("CREATE ROLE pg_x", "42939", "role name \"pg_x\" is reserved", "pg_x"),
        ("CREATE ROLE public", "42939", "role name \"public\" is reserved", "public"),
        ("CREATE ROLE a FLIES", "42601", "syntax error at or near \"FLIES\"", "FLIES"),
        ("CREATE ROLE a SUPERUSER NOSUPERUSER", "42601", "conflicting or redundant options", "NOSUPERUSER"),
        ("CREATE ROLE a CONNECTION LIMIT -2", "22023", "invalid connection limit: -2", "-2"),
        ("GRANT FLY ON t TO u", "42601", "unrecognized privilege type \"fly\"", "FLY"),
        ("GRANT SELECT ON s.t TO u", "3F000", "schema \"s\" does not exist", "s.t"),
        ("GRANT SELECT ON t", "42601", "syntax error at end of input", ""),
        (
            "CREATE SECRET s WITH (backend = 'vault') AS 'x'",
            "22023",
            "unknown backend \"vault\" of a secret: it is 'meta', 'env' or 'file'",
            "WITH",
        ),
    ]);
}
