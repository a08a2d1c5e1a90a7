//! Tables of JSON objects: aligned columns as text, one object per line as JSON.

use anyhow::Result;
use serde_json::{Value, value::RawValue};

use crate::{
    events::Printable,
    output::{Output, Style, notice},
};

/// Columns as (heading, JSON member, width). A width of 0 disables padding, for the last column.
/// Numbers are right-aligned.
pub(crate) struct Table(pub(crate) &'static [(&'static str, &'static str, usize)]);

impl Table {
    /// Prints the items. Text output adds each item's `error` or `trouble` on a line of its own.
    pub(crate) fn show(&self, items: &[Box<RawValue>], output: &mut Output) -> Result<()> {
        if output.style() == Style::Json {
            return items.iter().try_for_each(|item| output.line(item.get()));
        }
        if items.is_empty() {
            notice("no results");
            return Ok(());
        }
        let read = items.iter().map(|item| serde_json::from_str(item.get()));
        self.lines(&read.collect::<Result<Vec<_>, _>>()?, output)
    }

    fn lines(&self, items: &[Value], output: &mut Output) -> Result<()> {
        // A heading is aligned like the values below it.
        output.line(self.row(|(heading, member, _)| {
            let is_number = items.iter().any(|item| item.get(member).is_some_and(Value::is_number));
            ((*heading).to_owned(), is_number)
        }))?;
        for item in items {
            let cell = |member: &str| item.get(member).filter(|value| !value.is_null());
            output.line(self.row(|(_, member, _)| {
                let value = cell(member);
                let is_number = value.is_some_and(Value::is_number);
                (value.map_or_else(|| "-".to_owned(), text), is_number)
            }))?;
            // Errors are too long for a column.
            for member in ["error", "trouble"] {
                if let Some(why) = cell(member) {
                    output.line(format_args!("    {}", Printable(&text(why))))?;
                }
            }
        }
        Ok(())
    }

    fn row(&self, cell: impl Fn(&(&'static str, &'static str, usize)) -> (String, bool)) -> String {
        let cells = self.0.iter().map(|column| {
            let (text, is_number) = cell(column);
            let text = Printable(&text).to_string();
            match (column.2, is_number) {
                (0, _) => text,
                (width, true) => format!("{text:>width$}"),
                (width, false) => format!("{text:<width$}"),
            }
        });
        cells.collect::<Vec<_>>().join("  ")
    }
}

/// Formats a value as text: strings without quotes, a list as its items.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
