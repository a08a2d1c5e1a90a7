//! The calls of the service `Projections`.

mod answers;
mod requests;

use std::pin::Pin;

use futures_util::{Stream, stream};
use gesta_store::{DeleteStream, ExpectedRevision, ListStreams, StoreError, StreamName};
use tonic::{Code, Request, Response, Status as Refusal};

use super::{
    checkpoint::{PartitionState, last_checkpoint, stored_state},
    config::{Change, Mode, ProjectionConfig, Switch},
    control::{Control, DescribedProjection, Projections},
    described::described,
    names, system, tracked,
};
use crate::{
    access::CallSubject,
    proto::{
        projections::{
            CreateReq, CreateResp, DeleteReq, DeleteResp, DisableReq, DisableResp, EnableReq,
            EnableResp, ResetReq, ResetResp, ResultReq, ResultResp, StateReq, StateResp,
            StatisticsReq, StatisticsResp, UpdateReq, UpdateResp,
            delete_req::Options as DeleteOptions,
            projections_server::{Projections as Calls, ProjectionsServer},
        },
        shared::Empty,
    },
    wire::{refused, status, with_trailers},
};

/// Names of streams that are asked for at once.
const STREAMS_PAGE: usize = 1_000;

/// The service over the projections of this server.
pub(crate) struct ProjectionsService {
    projections: Projections,
}

pub(crate) fn service(projections: Projections) -> ProjectionsServer<ProjectionsService> {
    ProjectionsServer::new(ProjectionsService::of(projections))
        .max_encoding_message_size(usize::MAX)
}

#[tonic::async_trait]
impl Calls for ProjectionsService {
    type StatisticsStream = Pin<Box<dyn Stream<Item = Result<StatisticsResp, Refusal>> + Send>>;

    async fn create(&self, request: Request<CreateReq>) -> Result<Response<CreateResp>, Refusal> {
        let subject = CallSubject::of(request.extensions());
        let config = requests::config(request.into_inner())?;
        subject.tell("projection", config.name.as_str());
        let create = |control: &Control| match control.config(&config.name) {
            Some(_) => Err(Refusal::already_exists(format!(
                "a projection named `{}` exists already",
                config.name
            ))),
            None => Ok(Some(Change::Created(Box::new(config.clone())))),
        };
        self.projections.change(create).await?;
        self.projections.until_begun(&config.name).await;
        Ok(Response::new(CreateResp {}))
    }

    async fn update(&self, request: Request<UpdateReq>) -> Result<Response<UpdateResp>, Refusal> {
        let subject = CallSubject::of(request.extensions());
        let (name, query, may_emit) = requests::update(request.into_inner())?;
        subject.tell("projection", name.as_str());
        system::refuse_change(&name)?;
        let update = |control: &Control| {
            existing(control, &name)?;
            Ok(Some(Change::Updated { name: name.clone(), query: query.clone(), may_emit }))
        };
        self.projections.change(update).await?;
        self.projections.until_begun(&name).await;
        Ok(Response::new(UpdateResp {}))
    }

    async fn delete(&self, request: Request<DeleteReq>) -> Result<Response<DeleteResp>, Refusal> {
        let subject = CallSubject::of(request.extensions());
        let options = requests::options(request.into_inner().options)?;
        subject.tell("projection", options.name.as_str());
        system::refuse_change(&options.name)?;
        let name = options.name.clone();
        let stopped = |control: &Control| {
            let config = existing(control, &name)?;
            match control.runner(&name).is_some_and(|runner| runner.is_running()) {
                true => Err(running(&name)),
                false => Ok(config.clone()),
            }
        };
        let config = stopped(&*self.projections.look().await?)?;
        // Streams first, so that a repeated call finishes what a broken one began.
        self.delete_streams(&config, &options).await.map_err(|error| status(&error))?;
        let delete = |control: &Control| {
            stopped(control)?;
            Ok(Some(Change::Deleted { name: name.clone() }))
        };
        self.projections.change(delete).await?;
        Ok(Response::new(DeleteResp {}))
    }

    async fn statistics(
        &self,
        request: Request<StatisticsReq>,
    ) -> Result<Response<Self::StatisticsStream>, Refusal> {
        let asked = requests::statistics(request.into_inner())?;
        let head = self.projections.store().head().await.map_err(|error| status(&error))?;
        let mut details = Vec::new();
        for (DescribedProjection { config, progress, .. }, percent) in
            described(&self.projections, head.position, |config| asked.includes(config)).await?
        {
            details.push(answers::statistics(&config, &progress.lock(), percent));
        }
        let of_system = system::NAMES.into_iter().filter(|name| asked.includes_system(name));
        details.extend(of_system.map(|name| answers::system_statistics(name, head.position)));
        if let (Some(name), true) = (asked.name(), details.is_empty()) {
            return Err(not_found(name));
        }
        let messages =
            details.into_iter().map(|details| Ok(StatisticsResp { details: Some(details) }));
        Ok(Response::new(Box::pin(stream::iter(messages.collect::<Vec<_>>()))))
    }

    async fn disable(
        &self,
        request: Request<DisableReq>,
    ) -> Result<Response<DisableResp>, Refusal> {
        let subject = CallSubject::of(request.extensions());
        let options = requests::options(request.into_inner().options)?;
        subject.tell("projection", options.name.as_str());
        system::refuse_change(&options.name)?;
        let to = if options.write_checkpoint { Switch::Disabled } else { Switch::Aborted };
        self.switch(&options.name, to).await?;
        Ok(Response::new(DisableResp {}))
    }

    async fn enable(&self, request: Request<EnableReq>) -> Result<Response<EnableResp>, Refusal> {
        let subject = CallSubject::of(request.extensions());
        let options = requests::options(request.into_inner().options)?;
        subject.tell("projection", options.name.as_str());
        if system::is_of_system(&options.name) {
            return Ok(Response::new(EnableResp {}));
        }
        self.switch(&options.name, Switch::Enabled).await?;
        // A projection that failed is enabled still.
        self.projections.restart(Some(&options.name)).await?;
        self.projections.until_begun(&options.name).await;
        Ok(Response::new(EnableResp {}))
    }

    async fn reset(&self, request: Request<ResetReq>) -> Result<Response<ResetResp>, Refusal> {
        let subject = CallSubject::of(request.extensions());
        let options = requests::options(request.into_inner().options)?;
        subject.tell("projection", options.name.as_str());
        if system::is_of_system(&options.name) {
            // The index has all events: there is nothing to begin again.
            return Ok(Response::new(ResetResp {}));
        }
        let reset = |control: &Control| {
            existing(control, &options.name)?;
            Ok(Some(Change::Reset { name: options.name.clone() }))
        };
        self.projections.change(reset).await?;
        Ok(Response::new(ResetResp {}))
    }

    async fn state(&self, request: Request<StateReq>) -> Result<Response<StateResp>, Refusal> {
        let options = requests::options(request.into_inner().options)?;
        let state = self.partition(&options.name, &options.partition).await?.state;
        let state = answers::value(state.as_deref());
        let state = state.map_err(|_| too_deep("state", &options.name, &options.partition))?;
        Ok(Response::new(StateResp { state: Some(state) }))
    }

    async fn result(&self, request: Request<ResultReq>) -> Result<Response<ResultResp>, Refusal> {
        let options = requests::options(request.into_inner().options)?;
        let result = self.partition(&options.name, &options.partition).await?.result;
        let result = answers::value(result.as_deref());
        let result = result.map_err(|_| too_deep("result", &options.name, &options.partition))?;
        Ok(Response::new(ResultResp { result: Some(result) }))
    }

    async fn restart_subsystem(&self, _: Request<Empty>) -> Result<Response<Empty>, Refusal> {
        self.projections.restart(None).await?;
        Ok(Response::new(Empty {}))
    }
}

impl ProjectionsService {
    /// Returns the calls over these projections, for programs that make them in this process.
    pub(crate) const fn of(projections: Projections) -> Self {
        Self { projections }
    }

    async fn switch(&self, name: &str, to: Switch) -> Result<(), Refusal> {
        let switch = |control: &Control| {
            let config = existing(control, name)?;
            let change = Change::Switched { name: name.to_owned(), to };
            Ok((config.switch != to).then_some(change))
        };
        self.projections.change(switch).await
    }

    /// Returns state and result of a partition, as JSON.
    pub(crate) async fn state_and_result(
        &self,
        name: &str,
        partition: &str,
    ) -> Result<(Option<String>, Option<String>), Refusal> {
        let PartitionState { state, result, .. } = self.partition(name, partition).await?;
        Ok((state, result))
    }

    /// Returns the state of a partition, from memory or from the store.
    async fn partition(&self, name: &str, partition: &str) -> Result<PartitionState, Refusal> {
        if system::is_of_system(name) {
            return Ok(PartitionState::default());
        }
        let config = {
            let control = self.projections.look().await?;
            let config = existing(&control, name)?;
            let runner = control.runner(name);
            let known =
                runner.and_then(|runner| runner.progress.lock().states.get(partition).cloned());
            if let Some(known) = known {
                return Ok(known);
            }
            if config.mode == Mode::Transient {
                return Ok(PartitionState::default());
            }
            config.clone()
        };
        let store = self.projections.store();
        let stored = match partition {
            "" => {
                let stream = names::checkpoints(name);
                let last = last_checkpoint(store, &config, &stream).await;
                last.map(|last| last.record.map(|record| record.root(None)).unwrap_or_default())
            }
            partition => stored_state(store, &config, &names::partition(name, partition)).await,
        };
        stored.map_err(|error| status(&error))
    }

    async fn delete_streams(
        &self,
        config: &ProjectionConfig,
        options: &DeleteOptions,
    ) -> Result<(), StoreError> {
        let store = self.projections.store();
        if options.delete_emitted_streams && config.tracks_streams {
            let mut streams = tracked::names(store, &config.name).await?;
            // Results outlive their projection.
            streams.retain(|stream| !names::is_result(stream));
            tracked::delete(store, &streams).await?;
            self.delete_stream(names::emitted_streams(&config.name)).await?;
        }
        if options.delete_checkpoint_stream {
            self.delete_stream(names::checkpoints(&config.name)).await?;
        }
        if options.delete_state_stream || options.delete_checkpoint_stream {
            self.delete_partitions(config).await?;
        }
        Ok(())
    }

    async fn delete_partitions(&self, config: &ProjectionConfig) -> Result<(), StoreError> {
        let mut list = ListStreams::all().prefix(names::partitions(&config.name));
        loop {
            let page = list.clone().limit(STREAMS_PAGE);
            let streams = self.projections.store().list_streams(page).await?;
            let Some(last) = streams.last().cloned() else { return Ok(()) };
            for stream in streams {
                self.delete_stream(stream).await?;
            }
            list = list.after(last);
        }
    }

    async fn delete_stream(&self, stream: StreamName) -> Result<(), StoreError> {
        let delete = DeleteStream::new(stream, ExpectedRevision::Any);
        self.projections.store().delete_stream(delete).await.map(drop)
    }
}

fn existing<'a>(control: &'a Control, name: &str) -> Result<&'a ProjectionConfig, Refusal> {
    if name.is_empty() {
        return Err(refused("the name of the projection is missing"));
    }
    control.config(name).ok_or_else(|| not_found(name))
}

/// Refuses to delete a projection that runs. Clients know the first words.
fn running(name: &str) -> Refusal {
    let text = format!(
        "Envelope callback expected Updated, received OperationFailed instead: the projection \
         `{name}` is running; disable it before you delete it"
    );
    with_trailers(Code::Unknown, text, [("exception", "projection-running")])
}

/// Refuses an answer that clients cannot decode.
fn too_deep(what: &str, name: &str, partition: &str) -> Refusal {
    let stream = match partition {
        "" => names::checkpoints(name),
        partition => names::partition(name, partition),
    };
    Refusal::failed_precondition(format!(
        "the {what} of `{name}` has more levels than clients of the protocol read; the last \
         checkpoint in the stream `{stream}` has it as JSON"
    ))
}

fn not_found(name: &str) -> Refusal {
    Refusal::not_found(format!("there is no projection named `{name}`"))
}
