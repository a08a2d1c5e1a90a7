//! The file `urls.toml`: names of running services with their URLs.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};

pub(crate) const FILE: &str = "urls.toml";

/// Returns the URLs of a file, or none if there is no file.
///
/// # Errors
///
/// If a line is not of the form `name = "url"`.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, String>> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(BTreeMap::new()) };
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let entry = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let url = value.trim().strip_prefix('"')?.strip_suffix('"')?;
        Some((name.trim().to_owned(), url.to_owned()))
    };
    lines.map(|line| entry(line).with_context(|| format!("{}: {line:?}", path.display()))).collect()
}

/// Replaces the file, so that a reader sees the old or the new one.
pub(crate) fn write(path: &Path, urls: &BTreeMap<String, String>) -> Result<()> {
    let lines = urls.iter().map(|(name, url)| format!("{name} = \"{url}\"\n"));
    let text: String =
        ["# Written by `cargo xtask services`.\n".to_owned()].into_iter().chain(lines).collect();
    let new = path.with_extension("new");
    fs::write(&new, text).with_context(|| new.display().to_string())?;
    fs::rename(&new, path).with_context(|| path.display().to_string())
}

/// A URL in three parts: scheme and user, host and port, the rest.
struct Parts<'a> {
    before: &'a str,
    authority: &'a str,
    after: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let start = url.find("://")? + "://".len();
        let rest = url.get(start..)?;
        let end = start + rest.find(['/', '?', '#']).unwrap_or(rest.len());
        // A password may contain `@`.
        let user = url.get(start..end)?.rfind('@').map_or(0, |at| at + 1);
        let host = start + user;
        Some(Self {
            before: url.get(..host)?,
            authority: url.get(host..end)?,
            after: url.get(end..)?,
        })
    }
}

/// Returns host and port of a URL, such as `127.0.0.1:5432`.
pub(crate) fn authority(url: &str) -> Option<&str> {
    Parts::of(url).map(|parts| parts.authority)
}

/// Returns the URL with this host and port.
pub(crate) fn with_authority(url: &str, host_and_port: &str) -> Option<String> {
    let Parts { before, after, .. } = Parts::of(url)?;
    Some(format!("{before}{host_and_port}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_back_as_they_were_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        assert!(read(&path).unwrap().is_empty());
        let url = "postgres://postgres@127.0.0.1:5/postgres".to_owned();
        let urls = BTreeMap::from([("postgres".to_owned(), url)]);
        write(&path, &urls).unwrap();
        assert_eq!(read(&path).unwrap(), urls);
        fs::write(&path, "postgres: 5\n").unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn the_authority_of_a_url_is_found_and_replaced() {
        for (url, host) in [
            ("postgres://postgres@127.0.0.1:5432/db?schema=a", "127.0.0.1:5432"),
            ("postgres://u:p@ss@host:1", "host:1"),
            ("redis://host", "host"),
            ("http://[::1]:80/x@y", "[::1]:80"),
        ] {
            assert_eq!(authority(url), Some(host), "{url}");
        }
        assert_eq!(authority("localhost:5432"), None);
        let moved = with_authority("postgres://u:p@host:1/host:1?a=b", "127.0.0.1:9");
        assert_eq!(moved.as_deref(), Some("postgres://u:p@127.0.0.1:9/host:1?a=b"));
    }
}
