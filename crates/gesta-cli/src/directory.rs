//! A directory that a verb is given beside the store: a path, or the URL of a store there.
//!
//! Always holds: `gesta:./x` is the directory `./x` wherever a directory is asked for, and never one
//! that is called `gesta:`.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use gesta_log::directory_of_url;

/// See the module.
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

/// A file that a verb is given. The URL of a store is none.
pub(crate) fn file(text: &str) -> Result<PathBuf, String> {
    if text.starts_with("gesta:") {
        return Err(format!("{text} names a store, and a file is asked for"));
    }
    check_path(text)?;
    Ok(text.into())
}

/// Refuses what is empty or a URL, and so would name something else than it seems to.
fn check_path(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("it is empty; give a path".to_owned());
    }
    match text.split_once(':') {
        Some(("memory", "")) => {
            Err("a memory store has no files; give a path, or gesta:DIR".to_owned())
        }
        Some((scheme, rest)) if rest.starts_with("//") && !scheme.contains('/') => {
            Err(format!("nothing is reached by {scheme}: from here; give a path, or gesta:DIR"))
        }
        Some(_) | None => Ok(()),
    }
}
