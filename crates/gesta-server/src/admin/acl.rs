//! Access control lists of streams.
//!
//! Owns: [`StreamAcl`]. Invariant: other metadata of a stream stay as they are, and a change that
//! another client makes at the same moment is not overwritten.

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::{AdminClient, AdminError};

/// Name of the list in the metadata of a stream.
const ACL: &str = "$acl";

/// The access control list of a stream: for each right the logins and groups that have it.
///
/// `None` leaves a right to the default of the server, an empty list to `$admins`.
///
/// ```
/// use gesta_server::admin::StreamAcl;
///
/// let mut acl = StreamAcl::default();
/// acl.read = Some(vec!["ann".to_owned(), "sales".to_owned()]);
/// assert!(acl.append.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamAcl {
    /// Readers of events.
    pub read: Option<Vec<String>>,
    /// Writers of events.
    pub append: Option<Vec<String>>,
    /// Names that may delete the stream.
    pub delete: Option<Vec<String>>,
    /// Readers of the metadata, and so of this list.
    pub read_metadata: Option<Vec<String>>,
    /// Names that may set the metadata, and so this list.
    pub set_metadata: Option<Vec<String>>,
}

/// A right under its name in metadata.
type NamedRight<'a> = (&'static str, &'a mut Option<Vec<String>>);

impl StreamAcl {
    fn rights(&mut self) -> [NamedRight<'_>; 5] {
        [
            ("$r", &mut self.read),
            ("$w", &mut self.append),
            ("$d", &mut self.delete),
            ("$mr", &mut self.read_metadata),
            ("$mw", &mut self.set_metadata),
        ]
    }

    /// Reads a list, in which one name may stand without brackets.
    fn of(list: Option<&Value>) -> Self {
        let mut acl = Self::default();
        for (name, right) in acl.rights() {
            *right = match list.and_then(|list| list.get(name)) {
                Some(Value::String(one)) => Some(vec![one.clone()]),
                Some(Value::Array(names)) => {
                    Some(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                }
                _ => None,
            };
        }
        acl
    }

    fn into_json(mut self) -> Value {
        let rights = self.rights().into_iter();
        let given =
            rights.filter_map(|(name, names)| Some((name.to_owned(), json!(names.take()?))));
        Value::Object(given.collect())
    }
}

/// The metadata of a stream, and their revision.
struct Metadata {
    entries: Map<String, Value>,
    revision: Option<u64>,
}

impl AdminClient {
    /// Returns the access control list of a stream, which need not exist.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn stream_acl(&self, stream: &str) -> Result<StreamAcl, AdminError> {
        let Metadata { entries, .. } = self.metadata(stream).await?;
        Ok(StreamAcl::of(entries.get(ACL)))
    }

    /// Sets the access control list of a stream, which need not exist.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] if the metadata were changed at the same moment: read the list
    /// again, and decide again. [`AdminError::Denied`] without the right to set metadata.
    pub async fn set_stream_acl(&self, stream: &str, acl: StreamAcl) -> Result<(), AdminError> {
        let Metadata { mut entries, revision } = self.metadata(stream).await?;
        match acl == StreamAcl::default() {
            true => entries.remove(ACL),
            false => entries.insert(ACL.to_owned(), acl.into_json()),
        };
        let expected = revision.map_or_else(|| json!("no-stream"), |revision| json!(revision));
        let body = json!({ "metadata": entries, "expected": expected });
        self.send(Method::PUT, &path_of(stream), Some(&body)).await.map(drop)
    }

    async fn metadata(&self, stream: &str) -> Result<Metadata, AdminError> {
        let mut answer = self.send(Method::GET, &path_of(stream), None).await?;
        let entries = match answer.get_mut("metadata").map(Value::take) {
            Some(Value::Object(entries)) => entries,
            _ => {
                let reason = "the answer has no metadata".to_owned();
                return Err(AdminError::NoAnswer { address: self.address.clone(), reason });
            }
        };
        let revision = answer.get("metadataRevision").and_then(Value::as_u64);
        Ok(Metadata { entries, revision })
    }
}

fn path_of(stream: &str) -> String {
    let stream: String = form_urlencoded::byte_serialize(stream.as_bytes()).collect();
    // A space is a plus in forms only.
    format!("/v1/streams/{}/metadata", stream.replace('+', "%20"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_in_both_forms_and_written_with_what_is_given() {
        let json = json!({ "$r": "ann", "$w": ["bob", "sales"], "$d": [] });
        let acl = StreamAcl::of(Some(&json));
        assert_eq!(acl.read, Some(vec!["ann".to_owned()]));
        assert_eq!((&acl.delete, &acl.set_metadata), (&Some(Vec::new()), &None));
        let written = json!({ "$r": ["ann"], "$w": ["bob", "sales"], "$d": [] });
        assert_eq!(acl.into_json(), written);
        assert_eq!(StreamAcl::of(None), StreamAcl::default());
    }

    #[test]
    fn a_name_is_one_part_of_a_path() {
        assert_eq!(path_of("a/b c+d"), "/v1/streams/a%2Fb%20c%2Bd/metadata");
    }
}
