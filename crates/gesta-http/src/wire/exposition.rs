//! The text format of Prometheus, version 0.0.4.
//!
//! Source: <https://prometheus.io/docs/instrumenting/exposition_formats/>. Invariant: the samples
//! of a metric follow each other, after its description.

use std::fmt::{Display, Write as _};

use gesta::Latencies;

/// The media type of the format.
pub(crate) const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricKind {
    /// Only rises, from 0 at the start.
    Counter,
    Gauge,
    /// Times in seconds.
    Histogram,
}

impl MetricKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric: its name with the unit, its labels, and what it says.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: MetricKind,
    pub(crate) labels: &'static [&'static str],
    /// One line, without a backslash.
    pub(crate) help: &'static str,
}

/// A text under construction.
#[derive(Debug, Default)]
pub(crate) struct Exposition(String);

/// The place for the samples of one metric.
#[derive(Debug)]
pub(crate) struct Samples<'a> {
    text: &'a mut String,
    metric: &'static Metric,
}

impl Exposition {
    /// Begins a metric.
    pub(crate) fn metric(&mut self, metric: &'static Metric) -> Samples<'_> {
        let Metric { name, kind, help, .. } = metric;
        let kind = kind.as_str();
        push(&mut self.0, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Samples { text: &mut self.0, metric }
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

impl Samples<'_> {
    /// Adds a sample. The values of labels are in the order of the metric's labels.
    pub(crate) fn value(&mut self, labels: &[&str], value: impl Display) {
        let name = self.metric.name;
        self.sample(format_args!("{name}"), labels, None, value);
    }

    /// Adds a histogram, with times in seconds.
    pub(crate) fn times(&mut self, labels: &[&str], times: &Latencies) {
        let (name, count) = (self.metric.name, times.count());
        for (bound, at_most) in times.cumulative() {
            let bound = bound.as_secs_f64().to_string();
            self.sample(format_args!("{name}_bucket"), labels, Some(&bound), at_most);
        }
        self.sample(format_args!("{name}_bucket"), labels, Some("+Inf"), count);
        self.sample(format_args!("{name}_sum"), labels, None, times.sum().as_secs_f64());
        self.sample(format_args!("{name}_count"), labels, None, count);
    }

    fn sample(
        &mut self,
        name: impl Display,
        labels: &[&str],
        bound: Option<&str>,
        value: impl Display,
    ) {
        debug_assert_eq!(labels.len(), self.metric.labels.len(), "labels of {}", self.metric.name);
        push(self.text, name);
        let named = self.metric.labels.iter().copied().zip(labels.iter().copied());
        for (index, (label, value)) in named.chain(bound.map(|bound| ("le", bound))).enumerate() {
            self.text.push_str(if index == 0 { "{" } else { "," });
            push(self.text, format_args!("{label}=\"{}\"", escaped(value)));
        }
        self.text.push_str(if labels.is_empty() && bound.is_none() { " " } else { "} " });
        push(self.text, format_args!("{value}\n"));
    }
}

fn push(text: &mut String, more: impl Display) {
    // Writing to a string does not fail.
    let _ = write!(text, "{more}");
}

/// Returns the value of a label as the format has it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gesta::LatencyHistogram;

    use super::*;

    static VISITS: Metric = Metric {
        name: "visits_total",
        kind: MetricKind::Counter,
        labels: &["page", "by"],
        help: "Visits.",
    };
    static WAITS: Metric =
        Metric { name: "wait_seconds", kind: MetricKind::Histogram, labels: &[], help: "Waits." };

    #[test]
    fn characters_that_end_a_label_are_escaped() {
        let mut text = Exposition::default();
        text.metric(&VISITS).value(&["a\\b\"c\nd", "me"], 3);
        let expected = "# HELP visits_total Visits.\n# TYPE visits_total counter\n\
                        visits_total{page=\"a\\\\b\\\"c\\nd\",by=\"me\"} 3\n";
        assert_eq!(text.into_text(), expected);
    }

    #[test]
    fn a_histogram_has_all_times_up_to_each_bound() {
        let waits = LatencyHistogram::default();
        waits.record(Duration::from_millis(2));
        waits.record(Duration::from_secs(20));
        let mut text = Exposition::default();
        text.metric(&WAITS).times(&[], &waits.read());
        let text = text.into_text();
        for line in [
            "wait_seconds_bucket{le=\"0.001\"} 0",
            "wait_seconds_bucket{le=\"0.0025\"} 1",
            "wait_seconds_bucket{le=\"10\"} 1",
            "wait_seconds_bucket{le=\"+Inf\"} 2",
            "wait_seconds_sum 20.002",
            "wait_seconds_count 2",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is missing in\n{text}");
        }
    }
}
