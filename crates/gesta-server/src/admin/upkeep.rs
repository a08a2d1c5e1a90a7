//! Verifications and backups of a served store, for operators.
//!
//! Not here: waiting for their end, which callers do by asking again.

use axum::http::Method;
use serde_json::Value;

use super::{AdminClient, AdminError, http::part_of_path};

impl AdminClient {
    /// Starts a verification of the store, and returns its description, which has its `id`. The
    /// audit stream keeps the reason.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] if a verification, a backup or a scavenge is running,
    /// [`AdminError::Invalid`] if the server's store is not verified by it.
    pub async fn start_verification(&self, reason: Option<&str>) -> Result<Value, AdminError> {
        self.send(Method::POST, &with_query("/v1/verify", &[("reason", reason)]), None).await
    }

    /// Returns the last verification since the start of the server, as `/v1/verify` has it: `last`
    /// is null if there was none.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn last_verification(&self) -> Result<Value, AdminError> {
        self.send(Method::GET, "/v1/verify", None).await
    }

    /// Ends a verification, and returns its description once it has ended.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] if the last verification has another id.
    pub async fn stop_verification(&self, id: &str) -> Result<Value, AdminError> {
        let id = part_of_path(id, "verification")?;
        self.send(Method::DELETE, &format!("/v1/verify/{id}"), None).await
    }

    /// Starts a backup of the store into the directory of this name below that of all backups, and
    /// returns its description, which has its `id`. The audit stream keeps the reason.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] if a verification, a backup or a scavenge is running,
    /// [`AdminError::Invalid`] if the name is not one of a backup, or if the server has no
    /// directory for backups.
    pub async fn start_backup(
        &self,
        name: &str,
        reason: Option<&str>,
    ) -> Result<Value, AdminError> {
        let path = with_query("/v1/backup", &[("name", Some(name)), ("reason", reason)]);
        self.send(Method::POST, &path, None).await
    }

    /// Returns the last backup since the start of the server and the list of backups, as
    /// `/v1/backup` has them: `last` is null if there was none.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn backups(&self) -> Result<Value, AdminError> {
        self.send(Method::GET, "/v1/backup", None).await
    }

    /// Ends a backup, and returns its description once it has ended. An earlier backup of its name
    /// stays.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] if the last backup has another id.
    pub async fn stop_backup(&self, id: &str) -> Result<Value, AdminError> {
        let id = part_of_path(id, "backup")?;
        self.send(Method::DELETE, &format!("/v1/backup/{id}"), None).await
    }
}

/// Returns a path with the parameters that are given.
fn with_query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(given);
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_parameter_whatever_it_has() {
        assert_eq!(with_query("/v1/verify", &[("reason", None)]), "/v1/verify");
        let path = with_query("/v1/backup", &[("name", Some("a")), ("reason", Some("b&name=c d"))]);
        assert_eq!(path, "/v1/backup?name=a&reason=b%26name%3Dc+d");
    }
}
