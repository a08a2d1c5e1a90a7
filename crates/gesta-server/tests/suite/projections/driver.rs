//! A client of the service of projections.

use std::time::Duration;

use tonic::{Status, transport::Channel};

use crate::{
    client::{
        Empty,
        projections::{
            CreateReq, DeleteReq, DisableReq, EnableReq, ResetReq, ResultReq, StateReq,
            StatisticsReq, UpdateReq,
            create_req::{self, options::Mode},
            delete_req, disable_req, enable_req,
            projections_client::ProjectionsClient,
            reset_req, result_req, state_req,
            statistics_req::{self, options::Mode as Asked},
            statistics_resp::Details,
            update_req,
        },
    },
    scene::Scene,
};

/// Short ways to call the service.
pub(crate) struct Driver(pub(crate) ProjectionsClient<Channel>);

/// The mode of a continuous projection, with its rights.
pub(crate) fn continuous(name: &str, emit_enabled: bool, track_emitted_streams: bool) -> Mode {
    Mode::Continuous(create_req::options::Continuous {
        name: name.to_owned(),
        emit_enabled,
        track_emitted_streams,
    })
}

impl Driver {
    pub(crate) async fn of(scene: &Scene) -> Self {
        Self(ProjectionsClient::new(scene.channel().await))
    }

    pub(crate) async fn create_as(&mut self, mode: Mode, query: &str) -> Result<(), Status> {
        let options =
            create_req::Options { mode: Some(mode), query: query.to_owned(), engine_version: 0 };
        self.0.create(CreateReq { options: Some(options) }).await.map(drop)
    }

    /// Creates a continuous projection that may emit.
    pub(crate) async fn create(&mut self, name: &str, query: &str) {
        self.create_as(continuous(name, true, false), query).await.unwrap();
    }

    pub(crate) async fn update(&mut self, name: &str, query: &str) -> Result<(), Status> {
        let options = update_req::Options {
            name: name.to_owned(),
            query: query.to_owned(),
            emit_option: None,
        };
        self.0.update(UpdateReq { options: Some(options) }).await.map(drop)
    }

    pub(crate) async fn enable(&mut self, name: &str) -> Result<(), Status> {
        let options = enable_req::Options { name: name.to_owned() };
        self.0.enable(EnableReq { options: Some(options) }).await.map(drop)
    }

    pub(crate) async fn disable(&mut self, name: &str) -> Result<(), Status> {
        self.stop(name, true).await
    }

    pub(crate) async fn abort(&mut self, name: &str) -> Result<(), Status> {
        self.stop(name, false).await
    }

    async fn stop(&mut self, name: &str, write_checkpoint: bool) -> Result<(), Status> {
        let options = disable_req::Options { name: name.to_owned(), write_checkpoint };
        self.0.disable(DisableReq { options: Some(options) }).await.map(drop)
    }

    pub(crate) async fn reset(&mut self, name: &str) -> Result<(), Status> {
        let options = reset_req::Options { name: name.to_owned(), write_checkpoint: false };
        self.0.reset(ResetReq { options: Some(options) }).await.map(drop)
    }

    /// Deletes a projection with all its streams.
    pub(crate) async fn delete(&mut self, name: &str) -> Result<(), Status> {
        let options = delete_req::Options {
            name: name.to_owned(),
            delete_emitted_streams: true,
            delete_state_stream: true,
            delete_checkpoint_stream: true,
        };
        self.0.delete(DeleteReq { options: Some(options) }).await.map(drop)
    }

    /// Returns a state as JSON.
    pub(crate) async fn state_of(&mut self, name: &str, partition: &str) -> Result<String, Status> {
        let (name, partition) = (name.to_owned(), partition.to_owned());
        let options = state_req::Options { name, partition };
        let state = self.0.state(StateReq { options: Some(options) }).await?.into_inner().state;
        Ok(json(state.as_ref()))
    }

    pub(crate) async fn state(&mut self, name: &str) -> String {
        self.state_of(name, "").await.unwrap()
    }

    /// Returns a result as JSON.
    pub(crate) async fn result_of(
        &mut self,
        name: &str,
        partition: &str,
    ) -> Result<String, Status> {
        let (name, partition) = (name.to_owned(), partition.to_owned());
        let options = result_req::Options { name, partition };
        let result = self.0.result(ResultReq { options: Some(options) }).await?.into_inner().result;
        Ok(json(result.as_ref()))
    }

    pub(crate) async fn statistics(&mut self, asked: Asked) -> Result<Vec<Details>, Status> {
        let options = statistics_req::Options { mode: Some(asked) };
        let request = StatisticsReq { options: Some(options) };
        let mut messages = self.0.statistics(request).await?.into_inner();
        let mut all = Vec::new();
        while let Some(message) = messages.message().await? {
            all.push(message.details.unwrap());
        }
        Ok(all)
    }

    pub(crate) async fn details(&mut self, name: &str) -> Details {
        self.statistics(Asked::Name(name.to_owned())).await.unwrap().remove(0)
    }

    pub(crate) async fn status(&mut self, name: &str) -> String {
        self.details(name).await.status
    }

    /// Names of all projections with this way of running.
    pub(crate) async fn names(&mut self, asked: Asked) -> Vec<String> {
        let all = self.statistics(asked).await.unwrap();
        all.into_iter().map(|details| details.name).collect()
    }

    pub(crate) async fn restart_all(&mut self) {
        self.0.restart_subsystem(Empty {}).await.unwrap();
    }

    /// Waits until the state of a partition is this JSON.
    pub(crate) async fn reaches(&mut self, name: &str, partition: &str, expected: &str) {
        for _ in 0..ASKED_MAX {
            if self.state_of(name, partition).await.unwrap() == expected {
                return;
            }
            tokio::time::sleep(ASK_AFTER).await;
        }
        let (state, details) =
            (self.state_of(name, partition).await.unwrap(), self.details(name).await);
        panic!("the state is {state}, expected {expected}: {details:?}");
    }

    /// Waits until the status has this word.
    pub(crate) async fn becomes(&mut self, name: &str, word: &str) -> Details {
        for _ in 0..ASKED_MAX {
            let details = self.details(name).await;
            if details.status.contains(word) {
                return details;
            }
            tokio::time::sleep(ASK_AFTER).await;
        }
        panic!("never {word}: {:?}", self.details(name).await);
    }
}

/// A server answers over a real connection, so its clock is the machine's: tests ask until the
/// answer is there.
const ASK_AFTER: Duration = Duration::from_millis(10);
const ASKED_MAX: u32 = 3_000;

fn json(value: Option<&prost_types::Value>) -> String {
    use prost_types::value::Kind;
    fn of(value: &prost_types::Value) -> serde_json::Value {
        match value.kind.as_ref().expect("a value has a kind") {
            Kind::NullValue(_) => serde_json::Value::Null,
            Kind::NumberValue(number) if number.fract() == 0.0 => (*number as i64).into(),
            Kind::NumberValue(number) => (*number).into(),
            Kind::StringValue(text) => text.clone().into(),
            Kind::BoolValue(value) => (*value).into(),
            Kind::StructValue(fields) => {
                fields.fields.iter().map(|(name, value)| (name.clone(), of(value))).collect()
            }
            Kind::ListValue(list) => list.values.iter().map(of).collect(),
        }
    }
    of(value.expect("an answer has a value")).to_string()
}
