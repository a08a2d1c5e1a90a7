//! Parsing of path arguments.
//!
//! Invariant: `gesta:./x` means the directory `./x` wherever a directory is expected, never a
//! directory named `gesta:`.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use gesta_log::directory_of_url;

/// A directory argument: a path, or a `gesta:` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for Directory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("gesta:") {
            if let Some((_, parameters)) = rest.split_once('?') {
                return Err(format!(
                    "expected a directory without parameters; remove ?{parameters}"
                ));
            }
            return directory_of_url(rest).map(Self).map_err(|wrong| wrong.to_string());
        }
        check_path(text)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// Parses the path of a file; rejects store URLs.
pub(crate) fn file(text: &str) -> Result<PathBuf, String> {
    if text.starts_with("gesta:") {
        return Err(format!("{text} is a store URL; expected the path of a file"));
    }
    check_path(text)?;
    Ok(text.into())
}

/// Rejects empty text and URLs, which would otherwise be taken for relative paths.
fn check_path(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the path is empty".to_owned());
    }
    match text.split_once(':') {
        Some(("memory", "")) => {
            Err("a memory store has no directory; use a path or gesta:DIR".to_owned())
        }
        // `host:path` and `C:path` are possible file names; `https://host` is surely a mistake.
        Some((scheme, rest)) if rest.starts_with("//") && !scheme.contains('/') => {
            Err(format!("the URL scheme {scheme}: is not supported; use a path or gesta:DIR"))
        }
        Some(_) | None => Ok(()),
    }
}
