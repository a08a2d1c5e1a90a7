//! Password hashes by argon2id, in the standard text form.
//!
//! Owns: the cost of a hash, and the length of passwords. Invariant: a hash is computed on a thread
//! for blocking work, and at most [`HASHES_MAX`] at once; at most [`WAITING_MAX`] wait for it. Not
//! here: where hashes are kept.

use std::sync::LazyLock;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::spawn_blocking,
};

/// Minimum length of a new password, in bytes.
const PASSWORD_BYTES_MIN: usize = 8;
/// Maximum length of a password, in bytes.
pub(super) const PASSWORD_BYTES_MAX: usize = 1_024;
/// Maximum number of hashes that are computed at once. Each takes 19 MiB.
const HASHES_MAX: usize = 2;
/// Maximum number of requests that wait for a hash.
const WAITING_MAX: usize = 1_000;
const SALT_BYTES: usize = 16;
/// Random bytes of a generated password: 24 characters.
const RANDOM_BYTES: usize = 18;

/// Hash of a password that nobody has, so that unknown logins take as long as known ones.
static OF_NOBODY: LazyLock<String> = LazyLock::new(|| hash_now(&random_password()));

/// The right to compute hashes.
#[derive(Debug)]
pub(super) struct Hashing {
    running: Semaphore,
    waiting: Semaphore,
}

/// A place among those that may compute a hash now.
pub(super) struct HashPermit<'a> {
    _running: SemaphorePermit<'a>,
    _waiting: SemaphorePermit<'a>,
}

impl Hashing {
    pub(super) fn new() -> Self {
        Self { running: Semaphore::new(HASHES_MAX), waiting: Semaphore::new(WAITING_MAX) }
    }

    /// Waits for a permit, or returns `None` if too many requests wait.
    pub(super) async fn permit(&self) -> Option<HashPermit<'_>> {
        let waiting = self.waiting.try_acquire().ok()?;
        let running = self.running.acquire().await.ok()?;
        Some(HashPermit { _running: running, _waiting: waiting })
    }
}

impl HashPermit<'_> {
    /// Returns the hash of a new password.
    pub(super) async fn hash(&self, password: String) -> String {
        spawn_blocking(move || hash_now(&password)).await.expect("hashing does not panic")
    }

    /// Compares a password with a hash. Without a hash the answer is `false` after the same time.
    pub(super) async fn verify(&self, password: String, hash: Option<String>) -> bool {
        let verified = spawn_blocking(move || {
            let is_known = hash.is_some();
            let hash = hash.unwrap_or_else(|| OF_NOBODY.clone());
            let Ok(hash) = PasswordHash::new(&hash) else { return false };
            Argon2::default().verify_password(password.as_bytes(), &hash).is_ok() && is_known
        });
        verified.await.expect("hashing does not panic")
    }
}

/// Returns the reason why a text cannot be a new password.
pub(crate) fn refusal_of_password(password: &str) -> Option<String> {
    let bytes = password.len();
    let is_fitting = (PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&bytes);
    (!is_fitting).then(|| {
        format!(
            "a password must have {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes; got {bytes}"
        )
    })
}

/// Returns a password of 144 random bits.
pub(super) fn random_password() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(random_bytes::<RANDOM_BYTES>())
}

pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

fn hash_now(password: &str) -> String {
    let salt = random_bytes::<SALT_BYTES>();
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
    hash.expect("a bounded password has a hash").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let hashing = Hashing::new();
        let permit = hashing.permit().await.unwrap();
        let hash = permit.hash("correct horse".to_owned()).await;
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(permit.verify("correct horse".to_owned(), Some(hash.clone())).await);
        assert!(!permit.verify("wrong horse".to_owned(), Some(hash)).await);
        assert!(!permit.verify("correct horse".to_owned(), Some("broken".to_owned())).await);
        assert!(!permit.verify("correct horse".to_owned(), None).await);
    }

    #[test]
    fn random_passwords_are_long_and_differ() {
        let (one, other) = (random_password(), random_password());
        assert_eq!(one.len(), 24);
        assert_ne!(one, other);
    }

    #[test]
    fn short_and_endless_passwords_are_refused_with_their_length() {
        assert!(refusal_of_password("1234567").unwrap().ends_with("got 7"));
        assert!(refusal_of_password(&"x".repeat(1_025)).unwrap().ends_with("got 1025"));
        assert_eq!(refusal_of_password("changeit"), None);
    }
}
