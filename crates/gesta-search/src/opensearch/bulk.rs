//! Writes in bulk, each with the position of its event as its version.
//!
//! Invariant: a write that the server refuses because a later one is stored counts as done.

use bytes::{BufMut as _, Bytes, BytesMut};
use gesta_store::{DatabaseError, ReadModelId};
use serde_json::{Value, json};

use super::{
    http::{BLOCKED, Http, UNBLOCK, is_of_missing_index, part},
    mapping,
};
use crate::{IndexDefinition, engine::DocumentWrite};

/// Size from which a request is full, in bytes. One document more may be in it.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Maximum number of writes of a request.
const WRITES_MAX: usize = 2_000;

/// Returns the bodies of the requests that carry out writes, in order.
pub(super) fn bodies(writes: &[DocumentWrite], definition: &IndexDefinition) -> Vec<Bytes> {
    let (mut bodies, mut body, mut count) = (Vec::new(), BytesMut::new(), 0);
    for write in writes {
        let action = json!({ "index": {
            "_id": mapping::document_id(&write.id),
            "version": write.version,
            "version_type": "external",
        } });
        body.put_slice(action.to_string().as_bytes());
        body.put_u8(b'\n');
        body.put_slice(mapping::document(write, definition).to_string().as_bytes());
        body.put_u8(b'\n');
        count += 1;
        if count == WRITES_MAX || body.len() >= BODY_BYTES_MAX {
            bodies.push(body.split().freeze());
            count = 0;
        }
    }
    if !body.is_empty() {
        bodies.push(body.freeze());
    }
    bodies
}

/// Checks the outcome of each write.
pub(super) fn check(answer: &Value, build: &ReadModelId, http: &Http) -> Result<(), DatabaseError> {
    if part(answer, "/errors").as_bool() == Some(false) {
        return Ok(());
    }
    let Some(items) = part(answer, "/items").as_array() else {
        return Err(http.unexpected("gave no outcomes of a bulk request"));
    };
    for item in items {
        let outcome = part(item, "/index");
        let (status, error) = (part(outcome, "/status").as_u64(), part(outcome, "/error"));
        let kind = part(error, "/type").as_str().unwrap_or_default();
        let (id, reason) = (part(outcome, "/_id"), part(error, "/reason").as_str().unwrap_or(kind));
        match status {
            // 409: a later write of this document is stored.
            Some(200 | 201 | 409) => {}
            Some(400..500) if is_of_missing_index(kind) => {
                return Err(DatabaseError::Missing { read_model: build.clone() });
            }
            Some(400) => {
                return Err(DatabaseError::rejected(format!(
                    "{http} refuses the document {id}: {reason}"
                )));
            }
            _ if kind == BLOCKED => {
                return Err(http.unexpected(&format!("did not write {id}: {reason}; {UNBLOCK}")));
            }
            _ => return Err(http.unexpected(&format!("did not write {id}: {reason}"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_bounded_number_of_writes() {
        let write = |id: usize| DocumentWrite { id: id.to_string(), version: 7, document: None };
        let writes: Vec<_> = (0..WRITES_MAX + 1).map(write).collect();
        let bodies = bodies(&writes, &IndexDefinition::new());
        let lines: Vec<_> =
            bodies.iter().map(|body| body.iter().filter(|byte| **byte == b'\n').count()).collect();
        assert_eq!(lines, [2 * WRITES_MAX, 2]);
    }
}
