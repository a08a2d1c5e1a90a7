//! The directory and the options that a store's URL names.
//!
//! Owns the rule for the text after `gesta:`: a directory, and after a `?` parameters. A text that
//! would name a directory other than its author means is rejected, with the correct spelling in
//! the error, and so is an unknown parameter.
//!
//! Elsewhere: the list of schemes, which the opener of stores has.

use std::path::PathBuf;

use crate::options::{IndexedIds, InvalidIndexedIds, Options};

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
    /// An unknown parameter after the `?`. Correct or remove it.
    #[error(
        "`{parameter}` is no parameter of a gesta: URL; expected index=LIST, as in \
         gesta:./data?index=correlation,causation"
    )]
    Parameter {
        /// The parameter with its value.
        parameter: String,
    },
    /// The value of `index` names no kinds of ids. Correct it.
    #[error("index: {0}")]
    Index(InvalidIndexedIds),
}

/// Returns the directory that a URL names, given the text after its `gesta:`.
///
/// ```
/// assert_eq!(gesta_log::directory_of_url("./data")?, std::path::Path::new("./data"));
/// assert_eq!(gesta_log::directory_of_url("./data?index=all")?, std::path::Path::new("./data"));
/// assert!(gesta_log::directory_of_url("//data").is_err());
/// # Ok::<(), gesta_log::InvalidUrl>(())
/// ```
///
/// # Errors
/// [`InvalidUrl`], with what to write instead.
pub fn directory_of_url(rest: &str) -> Result<PathBuf, InvalidUrl> {
    options_of_url(rest)?;
    let rest = rest.split_once('?').map_or(rest, |(directory, _)| directory);
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

/// Returns the options that a URL states, given the text after its `gesta:`. Others have their
/// defaults.
///
/// `index` lists the ids by which events are found: see [`Options::index`].
///
/// ```
/// use gesta_log::{IndexedIds, options_of_url};
///
/// let options = options_of_url("./data?index=correlation,causation")?;
/// assert_eq!(options.index, Some(IndexedIds::CORRELATION.and(IndexedIds::CAUSATION)));
/// assert_eq!(options_of_url("./data")?.index, None, "as the store is");
/// # Ok::<(), gesta_log::InvalidUrl>(())
/// ```
///
/// # Errors
/// [`InvalidUrl::Parameter`] and [`InvalidUrl::Index`], with what to write instead.
pub fn options_of_url(rest: &str) -> Result<Options, InvalidUrl> {
    let mut options = Options::default();
    let parameters = rest.split_once('?').map(|(_, parameters)| parameters);
    for parameter in parameters.into_iter().flat_map(|parameters| parameters.split('&')) {
        let Some(("index", list)) = parameter.split_once('=') else {
            return Err(InvalidUrl::Parameter { parameter: parameter.to_owned() });
        };
        options.index = Some(list.parse::<IndexedIds>().map_err(InvalidUrl::Index)?);
    }
    Ok(options)
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
            ("?index=all", "gesta:./data"),
            ("./data?", "expected index=LIST"),
            ("./data?indexes=all", "`indexes=all` is no parameter"),
            ("./data?index=all&x=1", "`x=1` is no parameter"),
            ("./data?index=ids", "`ids` is no kind of id"),
        ] {
            let wrong = directory_of_url(rest).unwrap_err().to_string();
            assert!(wrong.contains(hint), "{rest}: {wrong}");
        }
    }
}
