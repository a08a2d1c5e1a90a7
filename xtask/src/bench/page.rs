//! The generated part of `docs/benchmarks.md`.

use std::{fs, path::Path};

use anyhow::{Context, Result};

const PAGE: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- bench:begin -->\n";
const END: &str = "<!-- bench:end -->";

/// Replaces the previous report.
pub(super) fn write(root: &Path, report: &str) -> Result<()> {
    let path = root.join(PAGE);
    let page = fs::read_to_string(&path).context(PAGE)?;
    fs::write(&path, replaced(&page, report)?).context(PAGE)?;
    println!("written into {PAGE}");
    Ok(())
}

fn replaced(page: &str, report: &str) -> Result<String> {
    // Text outside the markers is written by hand and stays.
    let (before, rest) = page.split_once(BEGIN).context("the page has no place for the report")?;
    let (_, after) = rest.split_once(END).context("the report's place has no end")?;
    Ok(format!("{before}{BEGIN}\n{}\n\n{END}{after}", report.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_report_is_replaced() {
        let page = format!("# Figures\n\n{BEGIN}\nold\n\n{END}\n\nMore.\n");
        let once = replaced(&page, "new\n").unwrap();
        assert_eq!(once, format!("# Figures\n\n{BEGIN}\nnew\n\n{END}\n\nMore.\n"));
        assert_eq!(replaced(&once, "new\n").unwrap(), once);
    }

    #[test]
    fn a_page_without_a_place_is_left_alone() {
        assert!(replaced("# Figures\n", "new").is_err());
        assert!(replaced(&format!("{BEGIN}old"), "new").is_err());
    }
}
