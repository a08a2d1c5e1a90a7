//! Traces and logs of programs on Gesta.
//!
//! The framework and the server make spans of `tracing`. A program that wants them at an
//! OpenTelemetry collector adds a [`SpanLayer`] to its subscriber, and one that wants log lines
//! with correlation ids adds a [`JsonLog`]:
//!
//! ```
//! # #[cfg(feature = "export")]
//! # fn begin() -> Result<(), Box<dyn std::error::Error>> {
//! use gesta_telemetry::{Endpoint, SampleRatio, Service, TraceExporter};
//! use tracing_subscriber::{Layer as _, filter::Targets, layer::SubscriberExt as _};
//!
//! let endpoint: Endpoint = "http://127.0.0.1:4318".parse()?;
//! let exporter = TraceExporter::start(endpoint, Service::new("shop", "1.0"))?;
//! let spans = exporter.layer(SampleRatio::ALL);
//! let of_gesta = Targets::new().with_target("gesta", tracing::Level::INFO);
//! let subscriber = tracing_subscriber::registry().with(spans.with_filter(of_gesta));
//! # drop(subscriber);
//! // At the end of the program:
//! exporter.finish();
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//! - `export`: the layers. Without it the crate has [`TraceContext`] and [`context_of`] alone,
//!   which libraries need.
//!
//! # Scope
//! Owns: the context of a trace in the form of the W3C recommendation ([`TraceContext`]), the
//! context of a span ([`context_of`]), the export of spans ([`SpanLayer`], [`TraceExporter`]), and
//! lines of the log ([`JsonLog`], [`error_text`]).
//!
//! Invariants:
//! - A program without a [`SpanLayer`] pays for none of this.
//! - Nothing here waits for a collector, except for the end of the program, within a limit.
//! - No URL with credentials is taken, and none is shown.
//!
//! Not here: which spans there are. The framework and the server say that (`gesta::SPAN_TARGET`,
//! `gesta_server::SPAN_TARGET`).

mod current;
mod error_text;
#[cfg(feature = "export")]
mod export;
mod trace_context;

pub use current::{context_of, current_context};
pub use error_text::error_text;
#[cfg(feature = "export")]
pub use export::{
    Endpoint, InvalidEndpoint, InvalidSampleRatio, JsonLog, SampleRatio, Service, SpanLayer,
    TraceExporter,
};
pub use trace_context::{SpanId, TraceContext, TraceId};

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
