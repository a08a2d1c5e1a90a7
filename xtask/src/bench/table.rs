//! Figures as tables of Markdown.

use std::fmt::{self, Write as _};

use super::{DEVICES, ENGINES, GESTA, LOADS, Load, Wanted, load_of_name, rig::Run, rounds::Rounds};

/// What the median of one append may be, as a multiple of the bare device's.
const LATENCY_WANTED: f64 = 1.15;

/// All tables.
pub(super) fn of(rounds: &Rounds) -> String {
    let mut text = String::new();
    write(&mut text, rounds).expect("a text takes everything");
    text
}

fn write(to: &mut String, rounds: &Rounds) -> fmt::Result {
    let (runs, disturbed) = rounds.disturbed();
    writeln!(to, "Of {runs} runs {disturbed} stayed disturbed by other work on the machine.")?;
    if let [Some(sync), Some(direct)] = DEVICES.map(|device| device_us(rounds, device)) {
        writeln!(
            to,
            "The bare device under the driver's one thread: 4 KiB written and synced, p50 \
             {sync:.0} µs; written with `O_DIRECT` and `O_DSYNC`, {direct:.0} µs.",
        )?;
    }
    writeln!(to)?;
    writeln!(
        to,
        "Events a second, and what `gesta` reaches of what is wanted (medians of the rounds' ratios):\n"
    )?;
    header(to, "load", ["wanted of gesta"])?;
    for load in LOADS.iter().filter(|load| was_run(rounds, load)) {
        row(to, rounds, load, |run| grouped(run.events_per_second))?;
        writeln!(to, " {} |", reached(rounds, load))?;
    }
    writeln!(to, "\nAn append, p50 / p99 in µs:\n")?;
    plain(to, rounds, |run| format!("{:.0} / {:.0}", run.p50_us, run.p99_us))?;
    writeln!(to, "\nProcessor time for an event, in µs, the driver's included:\n")?;
    plain(to, rounds, |run| format!("{:.1}", run.cpu_us))?;
    writeln!(to, "\nBytes of files for an event / memory at most, in MB:\n")?;
    plain(to, rounds, |run| format!("{} / {:.0}", grouped(run.disk_bytes), run.memory_bytes / 1e6))
}

fn was_run(rounds: &Rounds, load: &Load) -> bool {
    ENGINES.iter().any(|engine| rounds.median(load.name, engine).is_some())
}

fn plain(to: &mut String, rounds: &Rounds, figure: fn(&Run) -> String) -> fmt::Result {
    header(to, "load", [])?;
    for load in LOADS.iter().filter(|load| was_run(rounds, load)) {
        row(to, rounds, load, figure)?;
        writeln!(to)?;
    }
    Ok(())
}

fn header<const MORE: usize>(to: &mut String, first: &str, more: [&str; MORE]) -> fmt::Result {
    let columns: Vec<_> = [first].into_iter().chain(ENGINES).chain(more).collect();
    writeln!(to, "| {} |", columns.join(" | "))?;
    writeln!(to, "|{}", " --- |".repeat(columns.len()))
}

fn row(to: &mut String, rounds: &Rounds, load: &Load, figure: fn(&Run) -> String) -> fmt::Result {
    write!(to, "| {} |", load.name)?;
    ENGINES.iter().try_for_each(|engine| {
        let median = rounds.median(load.name, engine);
        write!(to, " {} |", median.as_ref().map_or("–".to_owned(), figure))
    })
}

/// The median of a write on the bare device.
fn device_us(rounds: &Rounds, device: &str) -> Option<f64> {
    LOADS.iter().find_map(|load| rounds.median(load.name, device)).map(|run| run.p50_us)
}

/// Each thing that is wanted in a load, with what there is.
fn reached(rounds: &Rounds, load: &Load) -> String {
    let Some(gesta) = rounds.median(load.name, GESTA) else { return "–".to_owned() };
    let mut parts: Vec<_> = load
        .wanted
        .iter()
        .filter_map(|Wanted { times, of }| {
            let other = match load_of_name(of) {
                Ok(load) => (load.name, GESTA),
                Err(_) => (load.name, *of),
            };
            let ratio = rounds.times((load.name, GESTA), other)?;
            Some(format!("{} {ratio:.2} × {of} (≥ {times})", mark(ratio >= *times)))
        })
        .collect();
    let devices = DEVICES.iter().filter_map(|device| rounds.median(load.name, device));
    if let Some(device) = devices.map(|device| device.p50_us).min_by(f64::total_cmp) {
        let ratio = gesta.p50_us / device;
        let mark = mark(ratio <= LATENCY_WANTED);
        parts.push(format!("{mark} p50 {ratio:.2} × the device (≤ {LATENCY_WANTED})"));
    }
    parts.join("; ")
}

const fn mark(holds: bool) -> &'static str {
    if holds { "yes:" } else { "**no**:" }
}

/// 1234567 is 1,234,567.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::rounds::tests::rounds, *};

    #[test]
    fn ratios_stand_beside_what_is_wanted() {
        let rounds = rounds(&[
            ("w8-b1", "gesta", &[30_000.0]),
            ("w8-b1", "tephra", &[20_000.0]),
            ("w8-b1", "bare", &[40_000.0]),
            ("w8-b1-exact", "gesta", &[29_400.0]),
        ]);
        let text = of(&rounds);
        let expected = "| w8-b1 | 30,000 | 40,000 | 20,000 | – | – | \
                        yes: 1.50 × tephra (≥ 1.2); **no**: 0.75 × bare (≥ 0.8) |";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("yes: 0.98 × w8-b1 (≥ 0.95)"), "{text}");
        assert!(!text.contains("w64"), "what was not run is not told: {text}");
    }

    #[test]
    fn a_lone_append_is_held_against_the_device() {
        let rounds = rounds(&[
            ("w1-b1", "gesta", &[10_000.0]),
            ("w1-b1", "device-sync", &[11_000.0]),
            ("w1-b1", "device-direct", &[12_500.0]),
        ]);
        let text = of(&rounds);
        assert!(text.contains("**no**: p50 1.25 × the device (≤ 1.15)"), "{text}");
        assert!(text.contains("p50 91 µs; written with `O_DIRECT` and `O_DSYNC`, 80 µs"), "{text}");
    }

    #[test]
    fn numbers_are_grouped() {
        let told = [0.0, 999.0, 1_000.0, 1_234_567.0].map(grouped);
        assert_eq!(told, ["0", "999", "1,000", "1,234,567"]);
    }
}
