//! Details of errors, which clients unpack by the names of their types.
//!
//! Owns: the packing as `Any`, and the status of the second version of the streams with its list of
//! details.

use prost::{Message, Name};
use tonic::{Code, Status};

use crate::proto::rpc;

/// The domain of the errors of the streams.
const DOMAIN: &str = "streams";

/// Packs a message with the name of its type.
pub(super) fn any<Details: Message + Name>(details: &Details) -> prost_types::Any {
    let type_url = format!("type.googleapis.com/{}", Details::full_name());
    prost_types::Any { type_url, value: details.encode_to_vec() }
}

/// A status with its reason, and with details as the last of its list: one of the official clients
/// reads the last one only.
pub(crate) fn detailed<Details: Message + Name>(
    code: Code,
    reason: &str,
    text: &str,
    details: &Details,
) -> Status {
    let info = rpc::ErrorInfo {
        reason: reason.to_owned(),
        domain: DOMAIN.to_owned(),
        metadata: Default::default(),
    };
    let status = rpc::DetailedStatus {
        code: code.into(),
        message: text.to_owned(),
        details: vec![any(&info), any(details)],
    };
    Status::with_details(code, text, status.encode_to_vec().into())
}
