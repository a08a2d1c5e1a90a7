//! The users of a store that has none yet.
//!
//! Owns: [`FirstPasswords`]. Invariant: there is no default password; each store gets random ones.

use super::passwords::random_password;

/// Random passwords for the users `admin` (in `$admins`) and `ops` (in `$ops`) of a new store.
///
/// They are told once, by whoever creates the users: the store has hashes only.
///
/// ```
/// use gesta_server::FirstPasswords;
///
/// let passwords = FirstPasswords::random();
/// assert_ne!(passwords.admin(), FirstPasswords::random().admin());
/// assert!(!format!("{passwords:?}").contains(passwords.admin()));
/// ```
pub struct FirstPasswords {
    admin: String,
    ops: String,
}

impl FirstPasswords {
    /// Makes new passwords.
    #[must_use]
    pub fn random() -> Self {
        Self { admin: random_password(), ops: random_password() }
    }

    /// Returns the password of `admin`.
    #[must_use]
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Returns the password of `ops`.
    #[must_use]
    pub fn ops(&self) -> &str {
        &self.ops
    }
}

impl std::fmt::Debug for FirstPasswords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FirstPasswords").finish_non_exhaustive()
    }
}
