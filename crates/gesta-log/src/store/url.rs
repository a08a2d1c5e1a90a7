//! The directory that a store's URL names.
//!
//! Owns the rule for the text after `gesta:`. A text that would name a directory other than its
//! author means is rejected, with the correct spelling in the error.
//!
//! Elsewhere: the list of schemes, which the opener of stores has.

use std::path::PathBuf;

/// The error for a text after `gesta:` that names no directory. Nothing was opened or created.
///
/// ```
/// let wrong = gesta_log::directory_of_url("//data").expect_err("it would mean /data");
/// assert!(matches!(wrong, gesta_log::InvalidUrl::Host { .. }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidUrl {
    /// The text is empty. Write the directory after the colon.
    #[error("`gesta:` needs a directory, such as gesta:./data")]
    NoDirectory,
    /// Two slashes, which begin a host in other URLs. Write the directory directly after the colon.
    #[error(
        "gesta:{rest} would name a host, but a store is a directory; write gesta:./{name} for a \
         directory in the current one, or gesta:/{name} for one at the root"
    )]
    Host {
        /// The text after `gesta:`.
        rest: String,
        /// The text after the slashes.
        name: String,
    },
    /// A second scheme. Write one.
    #[error("gesta:{rest} has two schemes; write {rest}")]
    SchemeTwice {
        /// The text after the first scheme.
        rest: String,
    },
    /// A `~`, which a shell replaces only at the beginning of a word. Write the whole path.
    #[error(
        "gesta:{rest} would name a directory called ~, because the shell does not expand it there; \
         write gesta:\"$HOME\"{tail}"
    )]
    Tilde {
        /// The text after `gesta:`.
        rest: String,
        /// The text after the `~`.
        tail: String,
    },
}

/// Returns the directory that a URL names, given the text after its `gesta:`.
///
/// ```
/// assert_eq!(gesta_log::directory_of_url("./data")?, std::path::Path::new("./data"));
/// assert!(gesta_log::directory_of_url("//data").is_err());
/// # Ok::<(), gesta_log::InvalidUrl>(())
/// ```
///
/// # Errors
/// [`InvalidUrl`], with what to write instead.
pub fn directory_of_url(rest: &str) -> Result<PathBuf, InvalidUrl> {
    let owned = || rest.to_owned();
    if rest.is_empty() {
        return Err(InvalidUrl::NoDirectory);
    }
    if rest.starts_with("//") {
        let name = rest.trim_start_matches('/');
        let name = if name.is_empty() { "data" } else { name };
        return Err(InvalidUrl::Host { rest: owned(), name: name.to_owned() });
    }
    if rest.starts_with("gesta:") || rest.starts_with("memory:") {
        return Err(InvalidUrl::SchemeTwice { rest: owned() });
    }
    match rest.strip_prefix('~') {
        Some(tail) if tail.is_empty() || tail.starts_with('/') => {
            Err(InvalidUrl::Tilde { rest: owned(), tail: tail.to_owned() })
        }
        Some(_) | None => Ok(rest.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_taken_as_it_is_written() {
        for directory in ["data", "./data", "/data", "../a b", "~ann", "a:b", "./gesta:x"] {
            assert_eq!(directory_of_url(directory), Ok(directory.into()));
        }
    }

    #[test]
    fn a_text_that_would_name_another_directory_is_refused_with_what_to_write() {
        for (rest, hint) in [
            ("", "gesta:./data"),
            ("//data", "write gesta:./data for"),
            ("//data", "or gesta:/data for"),
            ("///var/data", "or gesta:/var/data for"),
            ("//", "gesta:./data"),
            ("gesta:./data", "write gesta:./data"),
            ("memory:", "write memory:"),
            ("~/data", "write gesta:\"$HOME\"/data"),
        ] {
            let wrong = directory_of_url(rest).unwrap_err().to_string();
            assert!(wrong.contains(hint), "{rest}: {wrong}");
        }
    }
}
