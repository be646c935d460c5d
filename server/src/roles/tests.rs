//! Inheritance, ownership, grants with options, and what they leave behind.

use sql::administration::Privilege::{Insert, Select};

use super::change::Given;
use super::*;

const TABLE: Securable = Securable::Relation(20_000);

/// Roles of these names, in order.
fn roles<const N: usize>(names: [&str; N]) -> (Roles, [u32; N]) {
    let mut roles = Roles::default();
    let oids = names.map(|name| roles.add(Role::new(0, name)).expect("a new name"));
    (roles, oids)
}

fn member(roles: &mut Roles, role: u32, member: u32) {
    let membership = Membership { role, member, grantor: BOOTSTRAP_ROLE, admin: false };
    assert_eq!(roles.add_member(membership), Ok(true));
}

fn may(roles: &Roles, role: u32, privilege: Privilege) -> bool {
    roles.held(role, TABLE, roles.owner(TABLE)).0.contains(privilege)
}

#[test]
fn nobody_but_the_owner_may_do_anything_at_first() {
    let (mut roles, [owner, stranger]) = roles(["owner", "stranger"]);
    roles.set_owner(TABLE, owner);
    assert!(may(&roles, owner, Select) && may(&roles, owner, Insert) && may(&roles, BOOTSTRAP_ROLE, Select));
    assert!(!may(&roles, stranger, Select));
    assert!(roles.held(stranger, Securable::Schema, BOOTSTRAP_ROLE).0.contains(Privilege::Usage));
    assert!(!roles.held(stranger, Securable::Schema, BOOTSTRAP_ROLE).0.contains(Privilege::Create));
}

#[test]
fn privileges_are_inherited_unless_a_role_says_not() {
    let (mut roles, [owner, group, inner, aside]) = roles(["owner", "group", "inner", "aside"]);
    roles.set_owner(TABLE, owner);
    roles.grant(TABLE, owner, owner, (Some(group), Privileges::of([Select]), false)).expect("an owner may");
    member(&mut roles, group, inner);
    member(&mut roles, group, aside);
    let mut without = roles.get(aside).expect("there").as_ref().clone();
    without.inherit = false;
    roles.replace(without).expect("no superuser");
    assert!(may(&roles, inner, Select) && !may(&roles, inner, Insert));
    assert!(!may(&roles, aside, Select) && roles.may_become(aside, group) && !roles.acts_as(aside, group));
    let circle = Membership { role: inner, member: group, grantor: BOOTSTRAP_ROLE, admin: false };
    assert_eq!(roles.add_member(circle).expect_err("a circle").state.0, "0LP01");
    assert!(roles.remove_member(group, inner, false) && !may(&roles, inner, Select));
}

#[test]
fn who_may_grant_can_and_what_hangs_on_it_goes_with_cascade() {
    let (mut roles, [owner, first, second, third]) = roles(["owner", "first", "second", "third"]);
    roles.set_owner(TABLE, owner);
    let select = Privileges::of([Select]);
    let both = Privileges::of([Select, Insert]);
    assert_eq!(roles.grant(TABLE, owner, first, (Some(second), select, false)), Ok(Given::None));
    assert_eq!(roles.grant(TABLE, owner, owner, (Some(first), select, true)), Ok(Given::All));
    assert_eq!(roles.grant(TABLE, owner, first, (Some(second), both, true)), Ok(Given::Some));
    assert_eq!(roles.grant(TABLE, owner, second, (Some(third), select, false)), Ok(Given::All));
    assert!(may(&roles, third, Select) && !may(&roles, second, Insert));
    let kept = roles.clone();
    let refused = roles.revoke(TABLE, owner, owner, (Some(first), select, false, false));
    assert_eq!(refused.expect_err("others have it through these").state.0, "2BP01");
    assert_eq!(roles, kept);
    roles.revoke(TABLE, owner, owner, (Some(first), select, false, true)).expect("with all that hangs on it");
    assert!([first, second, third].iter().all(|role| !may(&roles, *role, Select)));
    assert!(may(&roles, owner, Select));
}

#[test]
fn a_new_owner_has_what_the_old_one_had() {
    let (mut roles, [old, new, reader]) = roles(["old", "new", "reader"]);
    roles.set_owner(TABLE, old);
    roles.grant(TABLE, old, old, (Some(reader), Privileges::of([Select]), false)).expect("an owner may");
    assert_eq!(roles.dependents(old).into_iter().collect::<Vec<_>>(), [(TABLE, true)]);
    roles.set_owner(TABLE, new);
    assert!(may(&roles, new, Insert) && !may(&roles, old, Select) && may(&roles, reader, Select));
    assert_eq!(roles.dependents(reader).into_iter().collect::<Vec<_>>(), [(TABLE, false)]);
    assert!(roles.dependents(old).is_empty());
    roles.retain(|_| false);
    assert!(roles.dependents(new).is_empty());
}

#[test]
fn the_last_superuser_with_a_password_stays() {
    let mut roles = Roles::default();
    assert!(!roles.password_required());
    let verifier = Some(ScramVerifier::from_password("fish", 4096));
    let superuser = roles.get(BOOTSTRAP_ROLE).expect("always there").as_ref().clone();
    roles.replace(Role { verifier, ..superuser.clone() }).expect("one more");
    assert!(roles.password_required());
    assert_eq!(roles.replace(superuser).expect_err("the last").state.0, "55000");
    assert!(roles.password_required());
}

#[test]
fn an_acl_is_written_as_postgres_writes_it() {
    let both = Privileges::of([Select, Insert]);
    let grant = Grant { grantee: Some(1), grantor: 2, privileges: both, grantable: Privileges::of([Select]) };
    let item = |grantee| privileges::AclItem { grantee, grantor: "own er", grant }.to_string();
    assert_eq!(item("reader"), "reader=ar*/\"own er\"");
    assert_eq!(item(""), "=ar*/\"own er\"");
    assert_eq!(both.letters(), "ar");
    assert_eq!(Privileges::of_letters("ra"), Some(both));
}
