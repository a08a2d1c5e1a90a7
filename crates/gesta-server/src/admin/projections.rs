//! Projections of a server.

use prost_types::{Value as ProtoValue, value::Kind};
use serde::Serialize;
use serde_json::{Map, Number, Value};
use tonic::transport::Channel;

use super::{
    AdminClient, AdminError,
    connection::ANSWER_BYTES_MAX,
    proto::{
        projections::{
            CreateReq, DeleteReq, DisableReq, EnableReq, ResetReq, ResultReq, StateReq,
            StatisticsReq, create_req, delete_req, disable_req, enable_req,
            projections_client::ProjectionsClient, reset_req, result_req, state_req,
            statistics_req, statistics_resp,
        },
        shared::Empty,
    },
};

/// A projection that continues as long as it is enabled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewProjection {
    /// Its name.
    pub name: String,
    /// The script.
    pub query: String,
    /// `true` if it may emit events.
    pub emits: bool,
    /// `true` if the server remembers the streams to which it emits, so that a reset deletes them.
    pub tracks_emitted_streams: bool,
}

impl NewProjection {
    /// Creates a projection that emits nothing.
    #[must_use]
    pub fn new(name: &str, query: &str) -> Self {
        let (name, query) = (name.to_owned(), query.to_owned());
        Self { name, query, emits: false, tracks_emitted_streams: false }
    }
}

/// A projection, as its server describes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ProjectionDescription {
    /// Its name.
    pub name: String,
    /// `Running`, `Stopped`, `Faulted` and others.
    pub status: String,
    /// `Continuous`, `OneTime` or `Transient`.
    pub mode: String,
    /// Progress in percent.
    pub progress: f32,
    /// The last position that was handled.
    pub position: String,
    /// Events since it was started on its server.
    pub events: i64,
    /// The reason of the status, if there is one.
    #[serde(rename = "error", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<statistics_resp::Details> for ProjectionDescription {
    fn from(details: statistics_resp::Details) -> Self {
        Self {
            name: details.name,
            status: details.status,
            mode: details.mode,
            progress: details.progress,
            position: details.position,
            events: details.events_processed_after_restart,
            reason: Some(details.state_reason).filter(|reason| !reason.is_empty()),
        }
    }
}

impl AdminClient {
    /// Returns all projections, with those of the system.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn projections(&self) -> Result<Vec<ProjectionDescription>, AdminError> {
        self.described(statistics_req::options::Mode::All(Empty {})).await
    }

    /// Returns a projection. After a creation or a start it has its fault, if its script cannot
    /// run.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a projection.
    pub async fn projection(&self, name: &str) -> Result<ProjectionDescription, AdminError> {
        let named = statistics_req::options::Mode::Name(name.to_owned());
        let reason = || format!("there is no projection named `{name}`");
        let found = self.described(named).await?.into_iter().next();
        found.ok_or_else(|| AdminError::NotFound { reason: reason() })
    }

    async fn described(
        &self,
        asked: statistics_req::options::Mode,
    ) -> Result<Vec<ProjectionDescription>, AdminError> {
        let options = statistics_req::Options { mode: Some(asked) };
        let request = self.request(StatisticsReq { options: Some(options) });
        self.call(async |channel| {
            let mut answers = client(channel).statistics(request).await?.into_inner();
            let mut projections = Vec::new();
            while let Some(answer) = answers.message().await? {
                projections.extend(answer.details.map(ProjectionDescription::from));
            }
            Ok(projections)
        })
        .await
    }

    /// Creates a projection.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] if it exists.
    pub async fn create_projection(&self, projection: NewProjection) -> Result<(), AdminError> {
        use create_req::{Options, options};
        let continuous = options::Continuous {
            name: projection.name,
            emit_enabled: projection.emits,
            track_emitted_streams: projection.tracks_emitted_streams,
        };
        let options = Options {
            query: projection.query,
            mode: Some(options::Mode::Continuous(continuous)),
            ..Options::default()
        };
        let request = self.request(CreateReq { options: Some(options) });
        self.call(async |channel| client(channel).create(request).await.map(drop)).await
    }

    /// Starts a projection.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a projection.
    pub async fn enable_projection(&self, name: &str) -> Result<(), AdminError> {
        let options = enable_req::Options { name: name.to_owned() };
        let request = self.request(EnableReq { options: Some(options) });
        self.call(async |channel| client(channel).enable(request).await.map(drop)).await
    }

    /// Stops a projection, which stores its checkpoint.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a projection.
    pub async fn disable_projection(&self, name: &str) -> Result<(), AdminError> {
        let options = disable_req::Options { name: name.to_owned(), write_checkpoint: true };
        let request = self.request(DisableReq { options: Some(options) });
        self.call(async |channel| client(channel).disable(request).await.map(drop)).await
    }

    /// Lets a projection begin anew.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a projection.
    pub async fn reset_projection(&self, name: &str) -> Result<(), AdminError> {
        let options = reset_req::Options { name: name.to_owned(), write_checkpoint: true };
        let request = self.request(ResetReq { options: Some(options) });
        self.call(async |channel| client(channel).reset(request).await.map(drop)).await
    }

    /// Deletes a projection that is stopped, with its states and checkpoints. Streams to which it
    /// emitted stay.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] if it runs.
    pub async fn delete_projection(&self, name: &str) -> Result<(), AdminError> {
        let options = delete_req::Options {
            name: name.to_owned(),
            delete_emitted_streams: false,
            delete_state_stream: true,
            delete_checkpoint_stream: true,
        };
        let request = self.request(DeleteReq { options: Some(options) });
        self.call(async |channel| client(channel).delete(request).await.map(drop)).await
    }

    /// Returns the state of a partition; an empty name is the only one of a projection without
    /// partitions.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a projection.
    pub async fn projection_state(&self, name: &str, partition: &str) -> Result<Value, AdminError> {
        let options = state_req::Options { name: name.to_owned(), partition: partition.to_owned() };
        let request = self.request(StateReq { options: Some(options) });
        let answer = self.call(async |channel| client(channel).state(request).await).await?;
        Ok(answer.into_inner().state.map_or(Value::Null, json))
    }

    /// Returns the result of a partition: its state after `transformBy` and `filterBy`.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a projection.
    pub async fn projection_result(
        &self,
        name: &str,
        partition: &str,
    ) -> Result<Value, AdminError> {
        let options =
            result_req::Options { name: name.to_owned(), partition: partition.to_owned() };
        let request = self.request(ResultReq { options: Some(options) });
        let answer = self.call(async |channel| client(channel).result(request).await).await?;
        Ok(answer.into_inner().result.map_or(Value::Null, json))
    }
}

fn client(channel: Channel) -> ProjectionsClient<Channel> {
    ProjectionsClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

fn json(value: ProtoValue) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(truth)) => Value::Bool(truth),
        Some(Kind::NumberValue(number)) => json_number(number),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json).collect(),
        Some(Kind::StructValue(object)) => {
            let fields = object.fields.into_iter().map(|(name, value)| (name, json(value)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
    }
}

/// Returns a number of JavaScript; whole ones without a fraction.
fn json_number(number: f64) -> Value {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the number is whole and small enough"
        )]
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}
