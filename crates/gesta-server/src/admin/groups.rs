//! Consumer groups of a server.

use serde::Serialize;
use tonic::{Request, Response, Status, transport::Channel};

use super::{
    AdminClient, AdminError,
    connection::ANSWER_BYTES_MAX,
    proto::{
        persistent_subscriptions::{
            CreateReq, DeleteReq, GetInfoReq, ListReq, ReplayParkedReq, SubscriptionInfo,
            create_req, delete_req, get_info_req, list_req,
            persistent_subscriptions_client::PersistentSubscriptionsClient, replay_parked_req,
        },
        shared::{Empty, StreamIdentifier},
    },
};

/// The source that stands for the whole store.
const ALL: &str = "$all";

type Client = PersistentSubscriptionsClient<Channel>;

/// A group by its source and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupRef {
    /// The stream, or `$all` for the whole store.
    pub source: String,
    /// Name of the group.
    pub name: String,
}

impl GroupRef {
    /// Names the group of a source.
    #[must_use]
    pub fn new(source: &str, name: &str) -> Self {
        Self { source: source.to_owned(), name: name.to_owned() }
    }

    /// Returns the identifier of the stream, or `None` for the whole store.
    fn stream(&self) -> Option<StreamIdentifier> {
        (self.source != ALL)
            .then(|| StreamIdentifier { stream_name: self.source.clone().into_bytes().into() })
    }
}

/// A group to create, with the settings that clients have by default.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewGroup {
    /// The group.
    pub group: GroupRef,
    /// Begin at the first event, and not at the end.
    pub from_start: bool,
    /// `RoundRobin`, `DispatchToSingle`, `Pinned` or `PinnedByCorrelation`.
    pub strategy: String,
    /// Deliver the targets of links.
    pub resolve_links: bool,
    /// Deliveries after the first one, before an event is parked.
    pub retries_max: u16,
    /// Milliseconds that a consumer has for an event.
    pub timeout_millis: u32,
}

impl NewGroup {
    /// Creates a group of the end of its source.
    #[must_use]
    pub fn new(group: GroupRef) -> Self {
        Self {
            group,
            from_start: false,
            strategy: "RoundRobin".to_owned(),
            resolve_links: false,
            retries_max: 10,
            timeout_millis: 30_000,
        }
    }
}

/// A group, as its server describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct GroupDescription {
    /// The stream, or `$all`.
    pub source: String,
    /// Name of the group.
    pub name: String,
    /// `Live`, `Behind`, or the reason for which it stands.
    pub status: String,
    /// Number of connected consumers.
    pub consumers: usize,
    /// Events that consumers have and have not answered.
    pub in_flight: i32,
    /// Events that were parked.
    pub parked: i64,
    /// Deliveries since the group began on its server.
    pub delivered: i64,
    /// The place up to which all events are finished.
    pub checkpoint: String,
    /// The last place that the group knows.
    pub last_known: String,
    /// Way in which consumers share the events.
    pub strategy: String,
}

impl From<SubscriptionInfo> for GroupDescription {
    fn from(info: SubscriptionInfo) -> Self {
        Self {
            source: info.event_source,
            name: info.group_name,
            status: info.status,
            consumers: info.connections.len(),
            in_flight: info.total_in_flight_messages,
            parked: info.parked_message_count,
            delivered: info.total_items,
            checkpoint: info.last_checkpointed_event_position,
            last_known: info.last_known_event_position,
            strategy: info.named_consumer_strategy,
        }
    }
}

impl AdminClient {
    /// Returns all groups, by source and name.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub async fn groups(&self) -> Result<Vec<GroupDescription>, AdminError> {
        use list_req::{Options, options::ListOption};
        let all = ListOption::ListAllSubscriptions(Empty {});
        let request = ListReq { options: Some(Options { list_option: Some(all) }) };
        let listed = self.ask(request, async |mut client, request| client.list(request).await);
        Ok(listed.await?.subscriptions.into_iter().map(Into::into).collect())
    }

    /// Describes a group.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a group.
    pub async fn group(&self, group: &GroupRef) -> Result<GroupDescription, AdminError> {
        use get_info_req::{Options, options::StreamOption};
        let source =
            group.stream().map_or(StreamOption::All(Empty {}), StreamOption::StreamIdentifier);
        let options = Options { stream_option: Some(source), group_name: group.name.clone() };
        let request = GetInfoReq { options: Some(options) };
        let described =
            self.ask(request, async |mut client, request| client.get_info(request).await);
        let info = described.await?.subscription_info;
        info.map(Into::into).ok_or_else(|| AdminError::NoAnswer {
            address: self.address.clone(),
            reason: "the description is empty".to_owned(),
        })
    }

    /// Creates a group.
    ///
    /// # Errors
    ///
    /// [`AdminError::Refused`] if it exists.
    pub async fn create_group(&self, group: NewGroup) -> Result<(), AdminError> {
        use create_req::{
            AllOptions, Options, StreamOptions, all_options::AllOption, options::StreamOption,
            stream_options::RevisionOption,
        };
        let from_start = group.from_start;
        let source = match group.group.stream() {
            Some(stream) => StreamOption::Stream(StreamOptions {
                stream_identifier: Some(stream),
                revision_option: Some(match from_start {
                    true => RevisionOption::Start(Empty {}),
                    false => RevisionOption::End(Empty {}),
                }),
            }),
            None => StreamOption::All(AllOptions {
                all_option: Some(match from_start {
                    true => AllOption::Start(Empty {}),
                    false => AllOption::End(Empty {}),
                }),
                filter_option: None,
            }),
        };
        let options = Options {
            stream_option: Some(source),
            group_name: group.group.name.clone(),
            settings: Some(settings(&group)),
            ..Options::default()
        };
        let request = CreateReq { options: Some(options) };
        self.ask(request, async |mut client, request| client.create(request).await).await?;
        Ok(())
    }

    /// Deletes a group with its checkpoint and its parked events.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a group.
    pub async fn delete_group(&self, group: &GroupRef) -> Result<(), AdminError> {
        use delete_req::{Options, options::StreamOption};
        let source =
            group.stream().map_or(StreamOption::All(Empty {}), StreamOption::StreamIdentifier);
        let options = Options { stream_option: Some(source), group_name: group.name.clone() };
        let request = DeleteReq { options: Some(options) };
        self.ask(request, async |mut client, request| client.delete(request).await).await?;
        Ok(())
    }

    /// Delivers the parked events of a group again.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] without such a group.
    pub async fn replay_parked(&self, group: &GroupRef) -> Result<(), AdminError> {
        use replay_parked_req::{
            Options,
            options::{StopAtOption, StreamOption},
        };
        let source =
            group.stream().map_or(StreamOption::All(Empty {}), StreamOption::StreamIdentifier);
        let options = Options {
            group_name: group.name.clone(),
            stream_option: Some(source),
            stop_at_option: Some(StopAtOption::NoLimit(Empty {})),
        };
        let request = ReplayParkedReq { options: Some(options) };
        self.ask(request, async |mut client, request| client.replay_parked(request).await).await?;
        Ok(())
    }

    /// Makes a call at this server, or at the one that it names.
    async fn ask<Message: Clone, Answer>(
        &self,
        message: Message,
        call: impl AsyncFn(Client, Request<Message>) -> Result<Response<Answer>, Status>,
    ) -> Result<Answer, AdminError> {
        let at = async |asked: &Self| {
            let request = asked.request(message.clone());
            let answered = asked.call(async |channel| call(client(channel), request).await).await;
            answered.map(Response::into_inner)
        };
        match at(self).await {
            Err(AdminError::Elsewhere { address, .. }) => at(&self.at(address)).await,
            answered => answered,
        }
    }
}

fn client(channel: Channel) -> Client {
    Client::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

/// The settings that the official clients send by default, with those that were asked for.
fn settings(group: &NewGroup) -> create_req::Settings {
    use create_req::settings::{CheckpointAfter, MessageTimeout};
    let timeout = i32::try_from(group.timeout_millis).unwrap_or(i32::MAX);
    create_req::Settings {
        resolve_links: group.resolve_links,
        max_retry_count: group.retries_max.into(),
        min_checkpoint_count: 10,
        max_checkpoint_count: 1_000,
        live_buffer_size: 500,
        read_batch_size: 20,
        history_buffer_size: 500,
        message_timeout: Some(MessageTimeout::MessageTimeoutMs(timeout)),
        checkpoint_after: Some(CheckpointAfter::CheckpointAfterMs(2_000)),
        consumer_strategy: group.strategy.clone(),
        ..create_req::Settings::default()
    }
}
