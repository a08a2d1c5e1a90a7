//! States and statistics in the messages of the protocol.

use gesta_store::Position;
use prost_types::{ListValue, NullValue, Struct, Value, value::Kind};

use super::super::{config::Mode, control::ProjectionRunner, progress::Status};
use crate::proto::projections::statistics_resp::Details;

/// Translates JSON. A state or a result that is not there yet is an empty object.
pub(super) fn value(json: Option<&str>) -> Value {
    let json = json.and_then(|json| serde_json::from_str(json).ok());
    of_json(json.unwrap_or_else(|| serde_json::Value::Object(serde_json::Map::new())))
}

fn of_json(json: serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(NullValue::NullValue.into()),
        serde_json::Value::Bool(value) => Kind::BoolValue(value),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.into_iter().map(of_json).collect() })
        }
        serde_json::Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, of_json(value)));
            Kind::StructValue(Struct { fields: fields.collect() })
        }
    };
    Value { kind: Some(kind) }
}

pub(super) fn statistics(runner: &ProjectionRunner, head: Position) -> Details {
    let config = &runner.config;
    let progress = runner.progress.lock();
    let mode = match config.mode {
        Mode::Continuous => "Continuous",
        Mode::OneTime => "OneTime",
        Mode::Transient => "Transient",
    };
    let progress_percent = match &progress.status {
        Status::Completed => 100.0,
        _ => percent(progress.position, head),
    };
    Details {
        version: i64::try_from(config.version).unwrap_or(i64::MAX),
        epoch: i64::try_from(config.epoch).unwrap_or(i64::MAX),
        partitions_cached: i32::try_from(progress.partitions()).unwrap_or(i32::MAX),
        status: progress.status.word().to_owned(),
        state_reason: progress.status.reason().to_owned(),
        position: place(progress.position),
        progress: progress_percent,
        last_checkpoint: place(progress.checkpoint),
        events_processed_after_restart: i64::try_from(progress.handled).unwrap_or(i64::MAX),
        ..named(&config.name, mode)
    }
}

/// A projection of the system is where the store is.
pub(super) fn system_statistics(name: &str, head: Position) -> Details {
    Details {
        status: Status::Running.word().to_owned(),
        position: place(head),
        progress: 100.0,
        last_checkpoint: place(head),
        ..named(name, "Continuous")
    }
}

fn named(name: &str, mode: &str) -> Details {
    Details {
        name: name.to_owned(),
        effective_name: name.to_owned(),
        mode: mode.to_owned(),
        ..Details::default()
    }
}

/// Commit and prepare position, as clients print them.
fn place(position: Position) -> String {
    format!("C:{position}/P:{position}")
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn percent(position: Position, head: Position) -> f32 {
    match head.number() {
        0 => 100.0,
        head => (position.number() as f32 / head as f32 * 100.0).min(100.0),
    }
}
