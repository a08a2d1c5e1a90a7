//! States and statistics in the messages of the protocol.

use gesta_store::Position;
use prost_types::{ListValue, NullValue, Struct, Value, value::Kind};

use super::super::{
    config::{Mode, ProjectionConfig},
    progress::{ProjectionProgress, Status},
};
use crate::proto::projections::statistics_resp::Details;

/// Messages within each other that clients of the protocol read.
const MESSAGE_LEVELS_MAX: usize = 100;

/// JSON that clients could not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooDeep;

/// Translates JSON. A state or a result that is not there yet is an empty object.
pub(super) fn value(json: Option<&str>) -> Result<Value, TooDeep> {
    let Some(json) = json else {
        return Ok(Value { kind: Some(Kind::StructValue(Struct::default())) });
    };
    // States are valid JSON, so the parser refuses their depth alone.
    let json: serde_json::Value = serde_json::from_str(json).map_err(|_| TooDeep)?;
    if message_levels(&json) > MESSAGE_LEVELS_MAX {
        return Err(TooDeep);
    }
    Ok(of_json(json))
}

/// Returns the number of messages within each other. The parser bounds the recursion.
fn message_levels(json: &serde_json::Value) -> usize {
    match json {
        // A value has a list, which has values.
        serde_json::Value::Array(values) => {
            2 + values.iter().map(message_levels).max().unwrap_or(0)
        }
        // A value has a structure, which has entries, which have values.
        serde_json::Value::Object(fields) => {
            3 + fields.values().map(message_levels).max().unwrap_or(0)
        }
        _ => 1,
    }
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

pub(super) fn statistics(
    config: &ProjectionConfig,
    progress: &ProjectionProgress,
    progress_percent: f32,
) -> Details {
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
        ..named(&config.name, config.mode.word())
    }
}

/// A projection of the system is where the store is.
pub(super) fn system_statistics(name: &str, head: Position) -> Details {
    Details {
        status: Status::Running.word().to_owned(),
        position: place(head),
        progress: 100.0,
        last_checkpoint: place(head),
        ..named(name, Mode::Continuous.word())
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

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn nested(open: &str, close: &str, levels: usize) -> String {
        format!("{}1{}", open.repeat(levels), close.repeat(levels))
    }

    #[test]
    fn a_value_is_answered_if_and_only_if_clients_can_read_it() {
        for (open, close, levels_max) in [("[", "]", 49), (r#"{"a":"#, "}", 33)] {
            for levels in [1, levels_max, levels_max + 1, 127, 128, 1_000_000] {
                let value = value(Some(&nested(open, close, levels)));
                assert_eq!(value.is_ok(), levels <= levels_max, "{levels} of {open}");
                if let Ok(value) = value {
                    assert_eq!(Value::decode(&*value.encode_to_vec()).unwrap(), value);
                }
            }
        }
        assert!(value(None).is_ok());
    }
}
