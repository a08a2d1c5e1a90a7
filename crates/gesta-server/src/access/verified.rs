//! Passwords that were verified a short time ago, so that argon2 does not run for each call.
//!
//! Invariants: no password and no hash that could be tried elsewhere is kept, but a MAC with a key
//! of this process. A verification counts for [`TRUSTED_MAX`] without a look at the store, and for
//! [`KEPT_MAX`] while the user is unchanged. At most [`ENTRIES_MAX`] are kept. The time is passed
//! in.

use std::{collections::HashMap, time::Duration};

use gesta_store::Revision;
use ring::hmac;

use super::{caller::Caller, current::TRUSTED_MAX, passwords::random_bytes};

/// Time after which the password is verified again.
const KEPT_MAX: Duration = Duration::from_secs(10 * 60);
const ENTRIES_MAX: usize = 10_000;
const MAC_BYTES: usize = 32;

/// The MAC of a login and a password.
pub(super) type CredentialMac = [u8; MAC_BYTES];

/// The result of a look-up.
#[derive(Debug, PartialEq)]
pub(super) enum Remembered {
    Trusted(Caller),
    /// Verified, if the user has still this revision.
    IfUnchanged(Revision),
    No,
}

#[derive(Debug)]
struct Entry {
    caller: Caller,
    revision: Revision,
    verified: Duration,
    looked_up: Duration,
}

/// Verified credentials.
#[derive(Debug)]
pub(super) struct Verified {
    key: hmac::Key,
    entries: HashMap<CredentialMac, Entry>,
}

impl Verified {
    pub(super) fn new() -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &random_bytes::<MAC_BYTES>());
        Self { key, entries: HashMap::new() }
    }

    pub(super) fn mac(&self, login: &str, password: &str) -> CredentialMac {
        let mut context = hmac::Context::with_key(&self.key);
        // The length keeps two pairs with the same concatenation apart.
        context.update(&(login.len() as u64).to_be_bytes());
        context.update(login.as_bytes());
        context.update(password.as_bytes());
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }

    pub(super) fn get(&self, mac: &CredentialMac, now: Duration) -> Remembered {
        match self.entries.get(mac) {
            Some(entry) if now.saturating_sub(entry.verified) >= KEPT_MAX => Remembered::No,
            Some(entry) if now.saturating_sub(entry.looked_up) < TRUSTED_MAX => {
                Remembered::Trusted(entry.caller.clone())
            }
            Some(entry) => Remembered::IfUnchanged(entry.revision),
            None => Remembered::No,
        }
    }

    /// Notes that the user of an entry is unchanged, and returns them.
    pub(super) fn confirm(&mut self, mac: &CredentialMac, now: Duration) -> Option<Caller> {
        let entry = self.entries.get_mut(mac)?;
        entry.looked_up = now;
        Some(entry.caller.clone())
    }

    pub(super) fn insert(
        &mut self,
        mac: CredentialMac,
        caller: Caller,
        revision: Revision,
        now: Duration,
    ) {
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.retain(|_, entry| now.saturating_sub(entry.verified) < KEPT_MAX);
        }
        if self.entries.len() >= ENTRIES_MAX {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.looked_up);
            if let Some(oldest) = oldest.map(|(mac, _)| *mac) {
                self.entries.remove(&oldest);
            }
        }
        self.entries.insert(mac, Entry { caller, revision, verified: now, looked_up: now });
    }

    /// Forgets a user whose password, groups or state have changed.
    pub(super) fn forget(&mut self, login: &str) {
        self.entries.retain(|_, entry| entry.caller.login() != Some(login));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ann() -> Caller {
        Caller::user("ann", Vec::new())
    }

    #[test]
    fn a_verification_is_trusted_then_confirmed_and_at_last_repeated() {
        let mut verified = Verified::new();
        let mac = verified.mac("ann", "changeit");
        let revision = Revision::new(3);
        verified.insert(mac, ann(), revision, SECOND);
        assert_eq!(verified.get(&mac, SECOND * 2), Remembered::Trusted(ann()));
        assert_eq!(verified.get(&mac, SECOND * 4), Remembered::IfUnchanged(revision));
        assert_eq!(verified.confirm(&mac, SECOND * 4), Some(ann()));
        assert_eq!(verified.get(&mac, SECOND * 5), Remembered::Trusted(ann()));
        assert_eq!(verified.get(&mac, SECOND + KEPT_MAX), Remembered::No);
    }

    #[test]
    fn another_password_or_a_shifted_login_is_not_found() {
        let mut verified = Verified::new();
        verified.insert(verified.mac("ann", "changeit"), ann(), Revision::FIRST, SECOND);
        for (login, password) in [("ann", "changeiT"), ("annc", "hangeit"), ("an", "nchangeit")] {
            assert_eq!(verified.get(&verified.mac(login, password), SECOND), Remembered::No);
        }
    }

    #[test]
    fn a_changed_user_is_forgotten() {
        let mut verified = Verified::new();
        let mac = verified.mac("ann", "changeit");
        verified.insert(mac, ann(), Revision::FIRST, SECOND);
        verified.forget("ann");
        assert_eq!(verified.get(&mac, SECOND), Remembered::No);
    }
}
