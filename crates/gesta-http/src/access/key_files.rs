//! Keys in files, which are read again while the program runs.
//!
//! Owns: [`KeyFiles`], values of the contents of files; [`ApiKeyFile`]; the files of bearer tokens
//! ([`TokenKeyFile`]).
//!
//! Invariants:
//! - A request is checked with keys that were looked at within [`LOOK_EVERY`] before it, so a key
//!   that is removed counts for no longer.
//! - Files that cannot be read or used change nothing, and the log says so once for each content.
//! - The contents of files are compared, not their times. No content is kept, only its hash.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use axum::http::request::Parts;
use blake3::{Hash, Hasher};
use gesta_tokens::{InvalidKey, KeySet, VerifyingKey};
use tokio::{sync::Mutex as AsyncMutex, task::spawn_blocking};

use crate::{ApiKeys, Authenticate, InvalidApiKeys, Principal, Problem};

/// Maximum time between a look at the files and a request that is checked with their keys.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Maximum size of a file of keys.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// An error of a file that keys cannot be taken from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnusableKeyFile {
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The file is too large, or has no end.
    #[error("{} has more than 1 MiB, so it is no file of keys", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file has no API keys.
    #[error("{} cannot be used as a file of API keys", .path.display())]
    ApiKeys {
        /// The file.
        path: PathBuf,
        /// The line to correct.
        #[source]
        source: InvalidApiKeys,
    },
    /// The file has no key of bearer tokens.
    #[error("{} cannot be used as a key of bearer tokens", .path.display())]
    TokenKey {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: InvalidKey,
    },
}

/// The file of the hashes of API keys. Keys that are added to it count, and keys that are removed
/// count no longer, within a second.
///
/// ```
/// use gesta_http::{Access, AccessRules, ApiKeyFile, NewApiKey};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("keys.txt");
/// std::fs::write(&path, NewApiKey::random().line("ann", &["clerk"]))?;
/// let access = Access::new(AccessRules::default()).by(ApiKeyFile::open(path)?);
/// # drop(access);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ApiKeyFile {
    keys: KeyFiles<ApiKeys>,
}

impl ApiKeyFile {
    /// Reads the lines of the file, as [`ApiKeys::parse`] does. Blocks.
    ///
    /// While the file cannot be read or has a wrong line, the keys from before count.
    ///
    /// # Errors
    /// [`UnusableKeyFile`] if the file cannot be read, or has a wrong line.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, UnusableKeyFile> {
        let of = |files: &[(PathBuf, Vec<u8>)]| {
            let mut all = ApiKeys::default();
            for (path, content) in files {
                let invalid = |source| UnusableKeyFile::ApiKeys { path: path.clone(), source };
                // Bytes that are no UTF-8 make a wrong line.
                all = ApiKeys::parse(&String::from_utf8_lossy(content)).map_err(invalid)?;
            }
            Ok(all)
        };
        Ok(Self { keys: KeyFiles::open(vec![path.into()], of)? })
    }
}

impl Authenticate for ApiKeyFile {
    async fn authenticate(
        &self,
        request: &Parts,
        now: SystemTime,
    ) -> Result<Option<Principal>, Problem> {
        self.keys.at(now).await.authenticate(request, now).await
    }
}

/// A file with a key of bearer tokens, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenKeyFile {
    /// A public key in PEM, for RS256, ES256 or EdDSA.
    PublicKey(PathBuf),
    /// A secret that the issuer shares, for HS256. White space at its end is no part of it.
    Secret(PathBuf),
    /// A JSON web key set.
    KeySet(PathBuf),
}

impl TokenKeyFile {
    fn path(&self) -> &Path {
        match self {
            Self::PublicKey(path) | Self::Secret(path) | Self::KeySet(path) => path,
        }
    }

    fn keys(&self, content: &[u8]) -> Result<KeySet, InvalidKey> {
        Ok(match self {
            Self::PublicKey(_) => KeySet::of([VerifyingKey::from_pem(content)?]),
            // Editors end a file with a line break.
            Self::Secret(_) => KeySet::of([VerifyingKey::shared_secret(content.trim_ascii_end())?]),
            Self::KeySet(_) => KeySet::from_jwks(content)?,
        })
    }
}

/// Returns the keys of bearer tokens in files. Blocks.
pub(super) fn token_keys(files: Vec<TokenKeyFile>) -> Result<KeyFiles<KeySet>, UnusableKeyFile> {
    let paths = files.iter().map(|file| file.path().to_owned()).collect();
    KeyFiles::open(paths, move |contents| {
        let mut all = KeySet::default();
        for (file, (path, content)) in files.iter().zip(contents) {
            let invalid = |source| UnusableKeyFile::TokenKey { path: path.clone(), source };
            all = all.with(file.keys(content).map_err(invalid)?);
        }
        Ok(all)
    })
}

/// Makes a value of the contents of files.
type Parse<T> = dyn Fn(&[(PathBuf, Vec<u8>)]) -> Result<T, UnusableKeyFile> + Send + Sync;

/// A value of the contents of files.
pub(super) struct KeyFiles<T> {
    paths: Vec<PathBuf>,
    parse: Box<Parse<T>>,
    known: Mutex<KnownKeys<T>>,
    /// Held during a look.
    looking: AsyncMutex<()>,
}

struct KnownKeys<T> {
    value: Arc<T>,
    /// Hash of the contents that were read last, or `None` if that failed. They may be unusable.
    seen: Option<Hash>,
    looked_at: Option<SystemTime>,
}

impl<T> KeyFiles<T> {
    fn open(
        paths: Vec<PathBuf>,
        parse: impl Fn(&[(PathBuf, Vec<u8>)]) -> Result<T, UnusableKeyFile> + Send + Sync + 'static,
    ) -> Result<Self, UnusableKeyFile> {
        let contents = read_all(&paths)?;
        let known = KnownKeys {
            value: Arc::new(parse(&contents)?),
            seen: Some(hash_of(&contents)),
            looked_at: None,
        };
        let (parse, known) = (Box::new(parse), Mutex::new(known));
        Ok(Self { paths, parse, known, looking: AsyncMutex::default() })
    }

    /// Returns the value for a request at this time.
    pub(super) async fn at(&self, now: SystemTime) -> Arc<T> {
        if self.is_due(now) {
            let _looking = self.looking.lock().await;
            // The one before may have looked for this request, too.
            if self.is_due(now) {
                self.look(now).await;
            }
        }
        self.known(|known| Arc::clone(&known.value))
    }

    fn is_due(&self, now: SystemTime) -> bool {
        let looked_at = self.known(|known| known.looked_at);
        // A clock that was set back makes a look due.
        looked_at.is_none_or(|at| now.duration_since(at).map_or(true, |age| age >= LOOK_EVERY))
    }

    async fn look(&self, now: SystemTime) {
        let paths = self.paths.clone();
        let read = spawn_blocking(move || read_all(&paths)).await;
        // A look that was cut short by the end of the runtime has seen nothing.
        let Ok(read) = read else { return };
        let seen = read.as_ref().ok().map(|contents| hash_of(contents));
        let is_new = self.known(|known| {
            known.looked_at = Some(now);
            std::mem::replace(&mut known.seen, seen) != seen
        });
        if !is_new {
            return;
        }
        let parsed = read.and_then(|contents| (self.parse)(&contents));
        match parsed {
            Ok(value) => {
                self.known(|known| known.value = Arc::new(value));
                tracing::info!(files = ?self.paths, "took up replaced keys");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "the new keys are unusable; those before count");
            }
        }
    }

    fn known<R>(&self, of: impl FnOnce(&mut KnownKeys<T>) -> R) -> R {
        of(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read_all(paths: &[PathBuf]) -> Result<Vec<(PathBuf, Vec<u8>)>, UnusableKeyFile> {
    paths.iter().map(|path| Ok((path.clone(), read(path)?))).collect()
}

/// Reads a file. A device without an end is refused, too.
fn read(path: &Path) -> Result<Vec<u8>, UnusableKeyFile> {
    let mut content = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content))
        .map_err(|source| UnusableKeyFile::Unreadable { path: path.to_owned(), source })?;
    match read as u64 > FILE_BYTES_MAX {
        true => Err(UnusableKeyFile::TooLarge { path: path.to_owned() }),
        false => Ok(content),
    }
}

fn hash_of(contents: &[(PathBuf, Vec<u8>)]) -> Hash {
    let mut hasher = Hasher::new();
    for (_, content) in contents {
        // With its length, so that no content passes for a part of the next.
        hasher.update(&(content.len() as u64).to_le_bytes()).update(content);
    }
    hasher.finalize()
}

impl<T> fmt::Debug for KeyFiles<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFiles").field("paths", &self.paths).finish_non_exhaustive()
    }
}
