//! The figures of a server, as JSON and for Prometheus.
//!
//! Owns: their names and descriptions, in one list.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Map, Value};

use super::process::resident_bytes;
use crate::node::{Node, PROTOCOL_VERSION};

/// The kind of a figure, as Prometheus names it.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

struct Figure {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: Value,
}

fn counter(name: &'static str, help: &'static str, value: u64) -> Figure {
    Figure { name, help, kind: Kind::Counter, value: value.into() }
}

fn gauge(name: &'static str, help: &'static str, value: Value) -> Figure {
    Figure { name, help, kind: Kind::Gauge, value }
}

fn open(begun: u64, ended: u64) -> Value {
    begun.saturating_sub(ended).into()
}

fn of_connections(node: &Node) -> Vec<Figure> {
    let counters = node.counters();
    let now = open(counters.connections.get(), counters.connections_ended.get());
    let mut figures = vec![
        gauge("connections_open", "Connections that are open.", now),
        counter(
            "connections_refused_total",
            "Connections that were refused because there were too many.",
            counters.connections_refused.get(),
        ),
    ];
    if let Some(max) = node.connections_max() {
        figures.push(gauge("connections_max", "Maximum number of connections.", max.into()));
    }
    figures
}

/// All figures at one moment.
pub(crate) struct Figures(Vec<Figure>);

impl Figures {
    pub(crate) async fn of(node: &Node) -> Self {
        let counters = node.counters();
        let subscriptions = open(counters.subscriptions.get(), counters.subscriptions_ended.get());
        let consumers = open(counters.consumers.get(), counters.consumers_ended.get());
        let scavenging = node.scavenges().last().is_some_and(|last| last.is_running());
        let mut figures = vec![
            counter(
                "appends_total",
                "Appends of clients that succeeded since the start of the server, with repeats.",
                counters.appends.get(),
            ),
            counter(
                "events_appended_total",
                "Events that clients have appended since the start of the server.",
                counters.events_appended.get(),
            ),
            counter(
                "appends_refused_total",
                "Appends that the store refused, conflicts included.",
                counters.appends_refused.get(),
            ),
            counter("reads_total", "Reads that have begun.", counters.reads.get()),
            counter(
                "events_read_total",
                "Events sent to reads, subscriptions and consumers.",
                counters.events_read.get(),
            ),
            counter(
                "subscriptions_total",
                "Subscriptions that have begun.",
                counters.subscriptions.get(),
            ),
            gauge("subscriptions_open", "Subscriptions that are open.", subscriptions),
            gauge("consumers_open", "Consumers of groups that are connected.", consumers),
            counter(
                "events_parked_total",
                "Events that consumer groups have parked.",
                counters.events_parked.get(),
            ),
            counter(
                "events_projected_total",
                "Events that projections have handled.",
                counters.events_projected.get(),
            ),
            counter(
                "projections_failed_total",
                "Failures that have stopped a projection.",
                counters.projections_failed.get(),
            ),
            gauge("scavenges_running", "Scavenges that are running.", u64::from(scavenging).into()),
            gauge("uptime_seconds", "Time since the start.", node.uptime_seconds().into()),
        ];
        figures.extend(of_connections(node));
        if let Some(bytes) = resident_bytes() {
            let help = "Memory of the process that is resident, in bytes.";
            figures.push(gauge("resident_memory_bytes", help, bytes.into()));
        }
        // A store that does not answer is reported by its readiness.
        if let Ok(head) = node.store().head().await {
            let position = head.position.number().into();
            figures.push(gauge("head_position", "Position of the last event.", position));
        }
        Self(figures)
    }

    pub(super) fn to_json(&self) -> Value {
        let figures = self.0.iter().map(|figure| (figure.name.to_owned(), figure.value.clone()));
        Value::Object(figures.collect::<Map<_, _>>())
    }

    /// Returns each figure as text.
    pub(crate) fn to_texts(&self) -> BTreeMap<String, String> {
        let figures = self.0.iter();
        figures.map(|figure| (figure.name.to_owned(), figure.value.to_string())).collect()
    }

    pub(super) fn to_prometheus(&self) -> String {
        // Versions are labels: a value is a number.
        let mut text = format!(
            "# HELP gesta_server_build_info Versions of the server and of its protocol.\n\
             # TYPE gesta_server_build_info gauge\n\
             gesta_server_build_info{{version=\"{}\",protocol=\"{}\"}} 1\n",
            label(env!("CARGO_PKG_VERSION")),
            label(PROTOCOL_VERSION),
        );
        for Figure { name, help, kind, value } in &self.0 {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "# HELP gesta_server_{name} {help}\n# TYPE gesta_server_{name} {kind}\n\
                 gesta_server_{name} {value}\n"
            );
        }
        text
    }
}

/// Returns the value of a label as the format has it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_end_a_label_are_escaped() {
        assert_eq!(label("a\\b\"c\nd"), "a\\\\b\\\"c\\nd");
    }
}
