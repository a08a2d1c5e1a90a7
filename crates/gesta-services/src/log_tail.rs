//! The end of a server's log, as the cause in an error.

use std::{fs, path::Path};

const LINES_MAX: usize = 12;

/// Returns the last lines of a log file, or a note that it has none.
pub(crate) fn of(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return "it wrote no log".to_owned();
    }
    let skipped = lines.len().saturating_sub(LINES_MAX);
    lines.iter().skip(skipped).map(|line| format!("\n    {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        assert_eq!(of(&path), "it wrote no log");
        let lines: Vec<String> = (0..20).map(|line| format!("line {line}")).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        let tail = of(&path);
        assert!(tail.starts_with("\n    line 8\n") && tail.ends_with("\n    line 19"), "{tail}");
    }
}
