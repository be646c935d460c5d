//! Changes of roles and privileges. Each checks who asks, and changes nothing where it fails.

use std::collections::BTreeSet;
use std::sync::Arc;

use sql::administration::Privilege;
use sql::{SqlError, SqlState};

use super::privileges::{Grant, Privileges};
use super::{Membership, Role, Roles, Securable, forbidden, no_role};
use crate::pg_catalog::BOOTSTRAP_ROLE;

/// The state of a name that another role has.
const DUPLICATE_OBJECT: SqlState = SqlState("42710");
/// The state of a membership that would go in a circle, or cannot be.
const INVALID_GRANT_OPERATION: SqlState = SqlState("0LP01");

/// What a GRANT gave of what it was to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// All of it.
    All,
    /// Some of it: the grantor may not grant the rest.
    Some,
    /// Nothing.
    None,
}

impl Roles {
    /// Adds a role under a new oid, which is returned.
    ///
    /// # Errors
    /// 42710.
    pub fn add(&mut self, role: Role) -> Result<u32, SqlError> {
        if self.named(&role.name).is_some() {
            return Err(SqlError::new(DUPLICATE_OBJECT, format!("role \"{}\" already exists", role.name)));
        }
        let oid = self.next_oid;
        self.next_oid += 1;
        self.roles.insert(oid, Arc::new(Role { oid, ..role }));
        Ok(oid)
    }

    /// Puts a role in the place of the one with its oid.
    ///
    /// # Errors
    /// 55000 if nobody could administer the server any more.
    pub fn replace(&mut self, role: Role) -> Result<(), SqlError> {
        let mut next = self.clone();
        next.roles.insert(role.oid, Arc::new(role));
        next.check_has_superuser(self)?;
        *self = next;
        Ok(())
    }

    /// Removes a role that owns nothing and has no privileges; its memberships go with it.
    ///
    /// # Errors
    /// 55000 if nobody could administer the server any more.
    pub fn remove(&mut self, role: u32) -> Result<(), SqlError> {
        let mut next = self.clone();
        next.roles.remove(&role);
        next.memberships.retain(|membership| membership.role != role && membership.member != role);
        next.check_has_superuser(self)?;
        *self = next;
        Ok(())
    }

    /// Once passwords are asked for there must be a superuser with one, or the server would be open, or closed, to all.
    fn check_has_superuser(&self, before: &Self) -> Result<(), SqlError> {
        if self.password_required() || !before.password_required() {
            return Ok(());
        }
        let message = "no superuser would be left that can log in with a password";
        Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .hint("Give another superuser a password first."))
    }

    /// Makes `member` a member of `role`, or lets it make others members. False if it was one already.
    ///
    /// # Errors
    /// 0LP01 for a circle.
    pub fn add_member(&mut self, membership: Membership) -> Result<bool, SqlError> {
        let Membership { role, member, admin, .. } = membership;
        if role == member || self.member_of(role).contains(&member) {
            let (role, member) = (self.name_of(role), self.name_of(member));
            let message = format!("role \"{role}\" is a member of role \"{member}\"");
            return Err(SqlError::new(INVALID_GRANT_OPERATION, message));
        }
        let known = self.memberships.iter_mut().find(|known| known.role == role && known.member == member);
        match known {
            Some(known) if known.admin || !admin => return Ok(false),
            Some(known) => known.admin = true,
            None => self.memberships.push(membership),
        }
        Ok(true)
    }

    /// Ends a membership, or with `admin_only` the right to make others members. False if there is none.
    pub fn remove_member(&mut self, role: u32, member: u32, admin_only: bool) -> bool {
        let Some(at) = self.memberships.iter().position(|m| m.role == role && m.member == member) else { return false };
        match admin_only {
            true => self.memberships[at].admin = false,
            false => drop(self.memberships.remove(at)),
        }
        true
    }

    /// Grants privileges on something of `owner` to a role, or everybody, as `grantor` can.
    ///
    /// # Errors
    /// 0LP01 for a grant option to everybody.
    pub fn grant(
        &mut self,
        on: Securable,
        owner: u32,
        grantor: u32,
        (grantee, privileges, with_option): (Option<u32>, Privileges, bool),
    ) -> Result<Given, SqlError> {
        if with_option && grantee.is_none() {
            return Err(SqlError::new(INVALID_GRANT_OPERATION, "grant options can only be granted to roles"));
        }
        let grantor = self.grantor(grantor, on, owner, privileges);
        let mut grants = self.grants_on(on, owner);
        let may = privileges & if grantor == owner { on.all() } else { grantable_by(&grants, grantor) };
        if may.is_empty() {
            return Ok(Given::None);
        }
        let option = if with_option { may } else { Privileges::default() };
        match grants.iter_mut().find(|grant| grant.grantee == grantee && grant.grantor == grantor) {
            Some(grant) => {
                grant.privileges |= may;
                grant.grantable |= option;
            }
            None => grants.push(Grant { grantee, grantor, privileges: may, grantable: option }),
        }
        self.grants.insert(on, grants);
        Ok(if may == privileges { Given::All } else { Given::Some })
    }

    /// Takes privileges on something back from a role, or everybody, as far as `grantor` gave them.
    ///
    /// # Errors
    /// 2BP01 if others have them only through these, without `cascade`.
    pub fn revoke(
        &mut self,
        on: Securable,
        owner: u32,
        grantor: u32,
        (grantee, privileges, option_only, cascade): (Option<u32>, Privileges, bool, bool),
    ) -> Result<(), SqlError> {
        let grantor = self.grantor(grantor, on, owner, privileges);
        let mut grants = self.grants_on(on, owner);
        if let Some(grant) = grants.iter_mut().find(|grant| grant.grantee == grantee && grant.grantor == grantor) {
            grant.grantable = grant.grantable - privileges;
            if !option_only {
                grant.privileges = grant.privileges - privileges;
            }
        }
        // Who may not grant any more has granted in vain.
        loop {
            let orphan = grants.iter().position(|grant| {
                grant.grantor != owner && !(grant.privileges - grantable_by(&grants, grant.grantor)).is_empty()
            });
            let Some(at) = orphan else { break };
            if !cascade {
                let error = SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, "dependent privileges exist");
                return Err(error.hint("Use CASCADE to revoke them too."));
            }
            let kept = grantable_by(&grants, grants[at].grantor);
            grants[at].privileges = grants[at].privileges & kept;
            grants[at].grantable = grants[at].grantable & kept;
        }
        grants.retain(|grant| !grant.privileges.is_empty());
        self.grants.insert(on, grants);
        Ok(())
    }

    /// As whom a role grants: as the owner where it acts as it, else as the role of its that may grant the most.
    fn grantor(&self, role: u32, on: Securable, owner: u32, wanted: Privileges) -> u32 {
        if self.acts_as(role, owner) {
            return owner;
        }
        let grants = self.grants_on(on, owner);
        let count = |candidate: &u32| ((grantable_by(&grants, *candidate) & wanted).iter().count(), *candidate == role);
        self.acting(role).into_iter().max_by_key(count).unwrap_or(role)
    }

    /// Gives something to a role.
    pub fn set_owner(&mut self, of: Securable, owner: u32) {
        let old = self.owner(of);
        self.owners.insert(of, owner);
        self.hand_over(of, old, owner);
    }

    /// What an owner has on something, and gave others, is the new owner's from here on.
    pub fn hand_over(&mut self, of: Securable, old: u32, owner: u32) {
        let Some(grants) = self.grants.remove(&of) else { return };
        let changed = |role: u32| if role == old { owner } else { role };
        let mut merged: Vec<Grant> = Vec::with_capacity(grants.len());
        for grant in grants {
            let grant = Grant { grantee: grant.grantee.map(changed), grantor: changed(grant.grantor), ..grant };
            match merged.iter_mut().find(|known| (known.grantee, known.grantor) == (grant.grantee, grant.grantor)) {
                Some(known) => {
                    known.privileges |= grant.privileges;
                    known.grantable |= grant.grantable;
                }
                None => merged.push(grant),
            }
        }
        self.grants.insert(of, merged);
    }

    /// Takes every privilege from a role, and those it granted.
    pub fn revoke_all_from(&mut self, role: u32) {
        for grants in self.grants.values_mut() {
            grants.retain(|grant| grant.grantee != Some(role) && grant.grantor != role);
        }
    }

    /// Forgets what is not there any more.
    pub fn retain(&mut self, exists: impl Fn(Securable) -> bool) {
        self.owners.retain(|securable, _| exists(*securable));
        self.grants.retain(|securable, _| exists(*securable));
    }

    /// What a role still owns or has privileges on.
    pub fn dependents(&self, role: u32) -> BTreeSet<(Securable, bool)> {
        let owned = self.owned_by(role).into_iter().map(|securable| (securable, true));
        let concerns = |grant: &Grant| grant.grantee == Some(role) || grant.grantor == role;
        let granted = self
            .grants
            .iter()
            .filter(|(securable, grants)| self.owner(**securable) != role && grants.iter().any(concerns));
        owned.chain(granted.map(|(securable, _)| (*securable, false))).collect()
    }

    /// The superuser as the configuration has it.
    pub fn set_superuser_password(&mut self, verifier: crate::backend::ScramVerifier) {
        if let Some(role) = self.roles.get_mut(&BOOTSTRAP_ROLE) {
            let role = Arc::make_mut(role);
            (role.verifier, role.valid_until, role.login) = (Some(verifier), None, true);
            self.password_is_configured = true;
        }
    }

    /// The roles that statements made, and the superuser; those that are always there are left out, as is a password that
    /// the configuration gives.
    pub(super) fn kept(&self) -> impl Iterator<Item = Role> {
        self.all().filter(|role| !is_predefined(role.oid)).map(|role| match role.oid {
            BOOTSTRAP_ROLE if self.password_is_configured => Role { verifier: None, ..role.as_ref().clone() },
            _ => role.as_ref().clone(),
        })
    }

    /// Puts back what was kept.
    pub(super) fn restore(
        &mut self,
        roles: Vec<Role>,
        memberships: Vec<Membership>,
        owners: Vec<(Securable, u32)>,
        grants: Vec<(Securable, Vec<Grant>)>,
    ) {
        for role in roles {
            self.next_oid = self.next_oid.max(role.oid.saturating_add(1));
            self.roles.insert(role.oid, Arc::new(role));
        }
        self.memberships = memberships;
        self.owners = owners.into_iter().collect();
        self.grants = grants.into_iter().collect();
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = (Securable, u32)> {
        self.owners.iter().map(|(securable, owner)| (*securable, *owner))
    }

    pub(super) fn all_grants(&self) -> impl Iterator<Item = (Securable, &[Grant])> {
        self.grants.iter().map(|(securable, grants)| (*securable, grants.as_slice()))
    }

    pub(super) fn next_oid(&self) -> u32 {
        self.next_oid
    }

    pub(super) fn set_next_oid(&mut self, oid: u32) {
        self.next_oid = self.next_oid.max(oid);
    }

    /// The role of this name, for a statement that changes it.
    ///
    /// # Errors
    /// 42704; 42939 for one that is always there.
    pub fn changeable(&self, name: &str) -> Result<Arc<Role>, SqlError> {
        let role = self.named(name).ok_or_else(|| no_role(name))?;
        if is_predefined(role.oid) {
            let error = SqlError::new(SqlState("42939"), format!("role name \"{name}\" is reserved"));
            return Err(error.detail("Cannot alter reserved roles."));
        }
        Ok(role.clone())
    }
}

/// What a role may grant by these grants to it.
fn grantable_by(grants: &[Grant], role: u32) -> Privileges {
    let mine = grants.iter().filter(|grant| grant.grantee == Some(role));
    mine.fold(Privileges::default(), |all, grant| all | grant.grantable)
}

/// True for a role that is always there to be granted.
pub fn is_predefined(role: u32) -> bool {
    super::PREDEFINED.iter().any(|(oid, _)| *oid == role)
}

/// True if a privilege can be held on something.
pub fn applies(privilege: Privilege, on: Securable) -> bool {
    on.all().contains(privilege)
}

/// Only superusers do this.
pub fn superusers_only(what: &str) -> SqlError {
    forbidden(format!("must be superuser to {what}"))
}
