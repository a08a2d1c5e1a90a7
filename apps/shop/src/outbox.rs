//! The outbox: a directory with one file for each mail, from which a mail program sends.
//!
//! Invariant: a file appears whole or not at all, and a mail has one file, however often it is
//! written, because the file is named by the mail's key. Until it is whole, it has a hidden name of
//! its own: an attempt that exceeded its time limit may still write next to the next one.
//!
//! Not here: sending.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use gesta::EffectKey;

/// End of the names of files that are not whole yet.
const PART: &str = ".part";

/// Number of the next file that is not whole yet.
static NEXT_PART: AtomicU64 = AtomicU64::new(0);

/// A mail.
///
/// ```
/// use shop::outbox::Mail;
///
/// let mail = Mail {
///     to: "ann@example.org".to_owned(),
///     subject: "Welcome".to_owned(),
///     text: "Dear Ann".to_owned(),
/// };
/// assert!(!mail.subject.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Address of the recipient.
    pub to: String,
    /// Subject, on one line.
    pub subject: String,
    /// Text.
    pub text: String,
}

/// A directory of mails.
///
/// ```
/// use gesta::{EffectKey, EventId};
/// use shop::outbox::{Mail, Outbox};
///
/// # let directory = std::env::temp_dir().join(format!("outbox-{}", std::process::id()));
/// let outbox = Outbox::open(&directory)?;
/// let key = EffectKey::new("welcome-mail", EventId::derived_from("request-42", 0));
/// let mail = Mail {
///     to: "ann@example.org".to_owned(),
///     subject: "Welcome".to_owned(),
///     text: "Dear Ann".to_owned(),
/// };
/// outbox.write(key, &mail)?;
/// outbox.write(key, &mail)?;
/// assert_eq!(std::fs::read_dir(&directory)?.count(), 1);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Outbox {
    directory: PathBuf,
}

impl Outbox {
    /// Opens an outbox, and creates its directory if it is missing. Removes files that a program
    /// did not write to their end.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        fs::create_dir_all(&directory)?;
        for entry in fs::read_dir(&directory)? {
            let name = entry?.file_name();
            let is_part =
                name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(PART));
            if is_part {
                fs::remove_file(directory.join(name))?;
            }
        }
        Ok(Self { directory })
    }

    /// Returns the file of the mail with this key.
    #[must_use]
    pub fn path(&self, key: EffectKey) -> PathBuf {
        self.directory.join(format!("{key}.eml"))
    }

    /// Writes a mail, durably. Replaces the file of an earlier attempt.
    ///
    /// # Errors
    /// The error of the file system. The mail may have been written.
    pub fn write(&self, key: EffectKey, mail: &Mail) -> io::Result<()> {
        // Relaxed: only the number matters, and no other memory depends on it.
        let number = NEXT_PART.fetch_add(1, Ordering::Relaxed);
        let part = self.directory.join(format!(".{key}.{number}{PART}"));
        let mut file = File::create(&part)?;
        file.write_all(mail.to_message(key).as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, self.path(key))?;
        sync_directory(&self.directory)
    }
}

/// Makes the name of a renamed file durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

impl Mail {
    /// Returns the mail in the form of RFC 5322. Its key is the message id, by which the
    /// recipient's server recognises a mail that is sent twice.
    fn to_message(&self, key: EffectKey) -> String {
        let Self { to, subject, text } = self;
        format!(
            "From: The Shop <shop@shop.example>\r\n\
             To: {to}\r\n\
             Subject: {subject}\r\n\
             Message-ID: <{key}@shop.example>\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             \r\n\
             {text}\r\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use gesta::EventId;

    use super::*;

    fn key() -> EffectKey {
        EffectKey::new("welcome-mail", EventId::derived_from("request-42", 0))
    }

    fn mail(text: &str) -> Mail {
        let (to, subject) = ("ann@example.org".to_owned(), "Welcome".to_owned());
        Mail { to, subject, text: text.repeat(50_000) }
    }

    #[test]
    fn attempts_at_once_leave_one_of_their_mails_and_never_a_mixture() {
        let directory = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(directory.path()).unwrap();
        let [first, second] = ["first ", "second "].map(mail);
        thread::scope(|scope| {
            for mail in [&first, &second] {
                let outbox = &outbox;
                scope.spawn(move || (0..30).for_each(|_| outbox.write(key(), mail).unwrap()));
            }
            let wholes = [&first, &second].map(|mail| mail.to_message(key()));
            for _ in 0..60 {
                // Not there before the first attempt has ended.
                let Ok(read) = fs::read_to_string(outbox.path(key())) else { continue };
                assert!(wholes.contains(&read), "{} bytes", read.len());
            }
        });
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_a_killed_program_left_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        Outbox::open(directory.path()).unwrap().write(key(), &mail("a")).unwrap();
        fs::write(directory.path().join(format!(".{}.7.part", key())), "From: ").unwrap();
        let outbox = Outbox::open(directory.path()).unwrap();
        assert!(outbox.path(key()).exists());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
