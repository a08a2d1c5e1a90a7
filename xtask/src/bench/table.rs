//! Markdown tables of figures.

use std::fmt::{self, Write as _};

use super::{
    loads::{
        APPEND_P99, CATEGORY, DELIVERY_P99, DIRECT_P50, ENGINES, EXACT_RATE, GESTA, LAST_P50,
        LOAD_P50, LOADS, Load, LoadKind, P50, P99, QUERY_RATE, RATE, SCAN, SYNC_P50,
    },
    rounds::{DISK_BYTES, PROCESSOR_US, Rounds},
    summary,
};

/// A table: its title, its loads, and the figures of each cell.
struct Table {
    title: &'static str,
    of: fn(&Load) -> bool,
    figures: &'static [Figure],
    /// Adds a column with the targets.
    shows_targets: bool,
}

/// Path of a figure, its divisor, and its number of decimals.
struct Figure(&'static str, f64, usize);

const fn is_append(load: &Load) -> bool {
    matches!(load.kind, LoadKind::Append(..))
}

const fn is_read(load: &Load) -> bool {
    matches!(load.kind, LoadKind::Read(_))
}

const fn is_subscribe(load: &Load) -> bool {
    matches!(load.kind, LoadKind::Subscribe(_))
}

const fn is_beside_the_device(load: &Load) -> bool {
    matches!(load.kind, LoadKind::Turns(1, _))
}

const fn is_conditional(load: &Load) -> bool {
    matches!(load.kind, LoadKind::Turns(2.., _))
}

const TABLES: [Table; 9] = [
    Table {
        title: "Events appended in a second",
        of: is_append,
        figures: &[Figure(RATE, 1.0, 0)],
        shows_targets: true,
    },
    Table {
        title: "An append, p50 / p99 in µs",
        of: is_append,
        figures: &[Figure(P50, 1.0, 0), Figure(P99, 1.0, 0)],
        shows_targets: false,
    },
    Table {
        title: "Processor time for an event that is appended, in µs, the driver's included",
        of: is_append,
        figures: &[Figure(PROCESSOR_US, 1.0, 1)],
        shows_targets: false,
    },
    Table {
        title: "Bytes of files for an event / memory at most, in MB",
        of: is_append,
        figures: &[Figure(DISK_BYTES, 1.0, 0), Figure("memory_bytes", 1e6, 0)],
        shows_targets: false,
    },
    Table {
        title: "In turns of 50 ms within one process, p50 in µs of a lone append / 4 KiB written, then \
                `fdatasync` / 4 KiB written with `O_DIRECT` and `O_DSYNC`",
        of: is_beside_the_device,
        figures: &[Figure(P50, 1.0, 0), Figure(SYNC_P50, 1.0, 0), Figure(DIRECT_P50, 1.0, 0)],
        shows_targets: true,
    },
    Table {
        title: "In turns too, events appended in a second: without a condition / on a query / at exact \
                revisions",
        of: is_conditional,
        figures: &[Figure(RATE, 1.0, 0), Figure(QUERY_RATE, 1.0, 0), Figure(EXACT_RATE, 1.0, 0)],
        shows_targets: true,
    },
    Table {
        title: "Events read in a second, in thousands: all in order / a category of a hundredth",
        of: is_read,
        figures: &[Figure(SCAN, 1e3, 0), Figure(CATEGORY, 1e3, 0)],
        shows_targets: true,
    },
    Table {
        title: "Loading a stream of a hundred, p50 in µs / its last ten / opening, in ms / bytes of \
                files for an event / memory at most, in MB",
        of: is_read,
        figures: &[
            Figure(LOAD_P50, 1.0, 0),
            Figure(LAST_P50, 1.0, 0),
            Figure("open_seconds", 1e-3, 0),
            Figure(DISK_BYTES, 1.0, 0),
            Figure("memory_bytes", 1e6, 0),
        ],
        shows_targets: false,
    },
    Table {
        title: "Half of peak with 100 subscriptions, 90 about nothing that comes: events in a second \
                / an append, p50, p99 / a delivery, p50, p99, in µs",
        of: is_subscribe,
        figures: &[
            Figure(RATE, 1.0, 0),
            Figure("append/p50_us", 1.0, 0),
            Figure(APPEND_P99, 1.0, 0),
            Figure("delivery/p50_us", 1.0, 0),
            Figure(DELIVERY_P99, 1.0, 0),
        ],
        shows_targets: true,
    },
];

/// Formats all tables that have figures.
pub(super) fn of(rounds: &Rounds) -> String {
    let mut text = String::new();
    write(&mut text, rounds).expect("a text takes everything");
    text
}

fn write(to: &mut String, rounds: &Rounds) -> fmt::Result {
    let (runs, disturbed) = rounds.disturbed();
    writeln!(to, "Of {runs} runs {disturbed} stayed disturbed by other work on the machine.")?;
    let was_run = |load: &&Load| rounds.runs((load.name, GESTA)).is_some();
    for table in &TABLES {
        let loads: Vec<_> = LOADS.iter().filter(|load| (table.of)(load)).filter(was_run).collect();
        if !loads.is_empty() {
            write_table(to, rounds, table, &loads)?;
        }
    }
    Ok(())
}

fn write_table(to: &mut String, rounds: &Rounds, table: &Table, loads: &[&Load]) -> fmt::Result {
    writeln!(to, "\n{}:\n", table.title)?;
    // Engines without a run of these loads get no column.
    let has = |engine: &&str| loads.iter().any(|load| rounds.runs((load.name, engine)).is_some());
    let engines: Vec<_> = ENGINES.into_iter().filter(has).collect();
    let targets = table.shows_targets.then_some("wanted of `gesta`");
    let columns: Vec<_> =
        ["load"].into_iter().chain(engines.iter().copied()).chain(targets).collect();
    writeln!(to, "| {} |", columns.join(" | "))?;
    writeln!(to, "|{}", " --- |".repeat(columns.len()))?;
    for load in loads {
        write!(to, "| {} |", load.name)?;
        for engine in &engines {
            write!(to, " {} |", cell(rounds, load, engine, table.figures))?;
        }
        match table.shows_targets {
            true => writeln!(to, " {} |", summary::of(rounds, load))?,
            false => writeln!(to)?,
        }
    }
    Ok(())
}

fn cell(rounds: &Rounds, load: &Load, engine: &str, figures: &[Figure]) -> String {
    let cells = figures.iter().map(|Figure(path, divided_by, digits)| {
        let median = rounds.median((load.name, engine), path);
        median.map_or("–".to_owned(), |median| grouped(median / divided_by, *digits))
    });
    let cells: Vec<_> = cells.collect();
    if cells.iter().all(|figure| figure == "–") { "–".to_owned() } else { cells.join(" / ") }
}

/// Formats 1234567.8 as 1,234,567.8.
fn grouped(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        // A comma before every third digit from the end.
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() { grouped } else { format!("{grouped}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::{super::rounds::tests::rounds, *};

    #[test]
    fn figures_stand_beside_what_is_wanted() {
        let rounds = rounds(&[
            ("w8-b1", "gesta", &[30_000.0]),
            ("w8-b1", "tephra", &[20_000.0]),
            ("w8-b1", "bare", &[40_000.0]),
        ]);
        let text = of(&rounds);
        assert!(text.contains("| load | gesta | bare | tephra | wanted of `gesta` |"), "{text}");
        let row = "| w8-b1 | 30,000 | 40,000 | 20,000 | yes: 1.50 × tephra (≥ 1.2); **no**: ";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| w8-b1 | 33 / – | 25 / – | 50 / – |"), "{text}");
        assert!(!text.contains("w64") && !text.contains("read"), "what was not run: {text}");
    }

    #[test]
    fn numbers_are_grouped() {
        let cells = [0.0, 999.0, 1_000.0, 1_234_567.0].map(|number| grouped(number, 0));
        assert_eq!(cells, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((grouped(1_234.56, 1), grouped(0.04, 1)), ("1,234.6".into(), "0.0".into()));
    }
}
