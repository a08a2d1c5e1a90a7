//! The outbox: a directory with one file for each mail, from which a mail program sends.
//!
//! Invariant: a file appears whole or not at all, and a mail has one file, however often it is
//! written, because the file is named by the mail's key.
//!
//! Not here: sending.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use gesta::EffectKey;

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
    /// Opens an outbox, and creates its directory if it is missing.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn open(directory: impl Into<PathBuf>) -> io::Result<Self> {
        let directory = directory.into();
        fs::create_dir_all(&directory)?;
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
        // Hidden until it is complete. Two attempts at once have the same content.
        let part = self.directory.join(format!(".{key}.part"));
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
