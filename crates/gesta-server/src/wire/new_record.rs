//! Events of the second version of the streams, which are called records there.
//!
//! Invariants: data are stored byte by byte as they came. Properties become the event's metadata as
//! one JSON object, with what the record says of its schema, so that clients of the first version
//! read them.

use gesta_store::{ContentType, EventId, EventType, NewEvent};
use prost_types::{Struct, Value as Property, value::Kind};
use serde_json::{Map, Number, Value};
use tonic::Status;

use super::{errors::status, new_event::related, refused};
use crate::proto::streams_v2::{AppendRecord, SchemaFormat, SchemaInfo};

/// Properties that tell of a schema.
const FORMAT: &str = "$schema.format";
const NAME: &str = "$schema.name";
const ID: &str = "$schema.id";
/// Maximum depth of lists and objects in a property.
const DEPTH_MAX: usize = 64;

/// Reads the id of a record; one without an id gets a new one.
pub(crate) fn record_id(record: &AppendRecord) -> Result<EventId, Status> {
    match &record.record_id {
        None => Ok(EventId::random()),
        Some(text) => {
            let id: Result<uuid::Uuid, _> = text.parse();
            let id =
                id.map_err(|_| refused(format!("a record id must be a UUID; got `{text}`")))?;
            Ok(EventId::from(id))
        }
    }
}

/// Translates a record.
pub(crate) fn new_record(id: EventId, record: AppendRecord) -> Result<NewEvent, Status> {
    let AppendRecord { properties, schema, data, .. } = record;
    let schema = schema.ok_or_else(|| refused("the schema of a record is missing"))?;
    let event_type = EventType::new(schema.name.as_str()).map_err(|error| status(&error.into()))?;
    let (content_type, format) = match schema.format() {
        SchemaFormat::Json => (ContentType::JSON, "Json"),
        SchemaFormat::Protobuf => (ContentType::OCTET_STREAM, "Protobuf"),
        SchemaFormat::Avro => (ContentType::OCTET_STREAM, "Avro"),
        SchemaFormat::Bytes => (ContentType::OCTET_STREAM, "Bytes"),
        SchemaFormat::Unspecified => {
            return Err(refused(format!(
                "`schema.format` of a record must be 1 (JSON), 2 (Protobuf), 3 (Avro) or 4 (bytes); \
                 got {}",
                schema.format
            )));
        }
    };
    let mut metadata = Map::new();
    for (name, property) in properties {
        metadata.insert(name, json(property, 0)?);
    }
    metadata.insert(FORMAT.to_owned(), format.into());
    let SchemaInfo { id: schema_id, name, .. } = schema;
    metadata.insert(NAME.to_owned(), name.into());
    if let Some(schema_id) = schema_id {
        metadata.insert(ID.to_owned(), schema_id.into());
    }
    let metadata = Value::Object(metadata).to_string().into();
    Ok(related(NewEvent::new(id, event_type, content_type, data), metadata))
}

/// Translates a property at a depth of lists and objects.
fn json(property: Property, depth: usize) -> Result<Value, Status> {
    if depth > DEPTH_MAX {
        return Err(refused(format!("a property may have {DEPTH_MAX} levels")));
    }
    Ok(match property.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(is)) => is.into(),
        Some(Kind::NumberValue(number)) => number_of(number)?.into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::ListValue(list)) => {
            let values = list.values.into_iter().map(|value| json(value, depth + 1));
            Value::Array(values.collect::<Result<_, _>>()?)
        }
        Some(Kind::StructValue(Struct { fields })) => {
            let fields = fields.into_iter();
            let fields = fields.map(|(name, value)| Ok((name, json(value, depth + 1)?)));
            Value::Object(fields.collect::<Result<_, Status>>()?)
        }
    })
}

/// Translates a number; a whole one has no fraction in JSON.
fn number_of(number: f64) -> Result<Number, Status> {
    // Up to this size each whole number is exact.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "whole and small")]
        return Ok(Number::from(number as i64));
    }
    Number::from_f64(number)
        .ok_or_else(|| refused(format!("a property must be a finite number; got {number}")))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn property(kind: Kind) -> Property {
        Property { kind: Some(kind) }
    }

    fn record(format: SchemaFormat, properties: &[(&str, Kind)]) -> AppendRecord {
        let schema = SchemaInfo { format: format.into(), name: "paid".to_owned(), id: None };
        let properties = properties.iter().cloned();
        let properties = properties.map(|(name, kind)| (name.to_owned(), property(kind)));
        AppendRecord {
            record_id: None,
            properties: properties.collect(),
            schema: Some(schema),
            data: Bytes::from_static(b"{}"),
            stream: String::new(),
        }
    }

    fn metadata(record: AppendRecord) -> String {
        let event = new_record(EventId::random(), record).unwrap();
        String::from_utf8(event.metadata.to_vec()).unwrap()
    }

    #[test]
    fn properties_become_metadata_in_json() {
        let list = prost_types::ListValue { values: vec![property(Kind::BoolValue(true))] };
        let record = record(
            SchemaFormat::Json,
            &[
                ("$correlationId", Kind::StringValue("request-42".to_owned())),
                ("half", Kind::NumberValue(0.5)),
                ("list", Kind::ListValue(list)),
                ("whole", Kind::NumberValue(7.0)),
            ],
        );
        let event = new_record(EventId::random(), record.clone()).unwrap();
        assert_eq!(event.correlation_id.unwrap().as_str(), "request-42");
        let schema = r#""$schema.format":"Json","$schema.name":"paid""#;
        let properties = r#""half":0.5,"list":[true],"whole":7"#;
        let expected = format!(r#"{{"$correlationId":"request-42",{schema},{properties}}}"#);
        assert_eq!(metadata(record), expected);
    }

    #[test]
    fn the_schema_of_a_record_is_in_its_metadata() {
        for (format, text) in [
            (SchemaFormat::Json, "Json"),
            (SchemaFormat::Protobuf, "Protobuf"),
            (SchemaFormat::Avro, "Avro"),
            (SchemaFormat::Bytes, "Bytes"),
        ] {
            let expected = format!(r#"{{"$schema.format":"{text}","$schema.name":"paid"}}"#);
            assert_eq!(metadata(record(format, &[])), expected);
        }
        let mut with_id = record(SchemaFormat::Json, &[("$schema.name", Kind::BoolValue(true))]);
        with_id.schema.as_mut().unwrap().id = Some("7".to_owned());
        let expected = r#"{"$schema.format":"Json","$schema.id":"7","$schema.name":"paid"}"#;
        assert_eq!(metadata(with_id), expected, "a property does not take its place");
        let refused = new_record(EventId::random(), record(SchemaFormat::Unspecified, &[]));
        assert_eq!(refused.unwrap_err().code(), tonic::Code::InvalidArgument);
    }

    #[test]
    fn a_property_without_a_form_in_json_is_refused() {
        let mut deep = Kind::BoolValue(true);
        for _ in 0..DEPTH_MAX + 1 {
            deep = Kind::ListValue(prost_types::ListValue { values: vec![property(deep)] });
        }
        for kind in [Kind::NumberValue(f64::NAN), deep] {
            let refused = new_record(EventId::random(), record(SchemaFormat::Json, &[("p", kind)]));
            assert_eq!(refused.unwrap_err().code(), tonic::Code::InvalidArgument);
        }
    }
}
