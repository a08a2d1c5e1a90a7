//! A consumer of a group, and short ways to make requests.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use crate::client::{
    Empty, PATIENCE,
    groups::{
        create_req::{self, ConsumerStrategy},
        persistent_subscriptions_client::PersistentSubscriptionsClient,
        read_req::{self, nack::Action},
        read_resp::{self, ReadEvent},
        *,
    },
    id, identifier, shared,
};

/// A client of the service of groups.
pub(crate) type GroupClient = PersistentSubscriptionsClient<Channel>;

/// Settings with which each finished event is checkpointed at once.
pub(crate) fn settings() -> create_req::Settings {
    create_req::Settings {
        max_retry_count: 1,
        min_checkpoint_count: 1,
        max_checkpoint_count: 1,
        live_buffer_size: 100,
        read_batch_size: 10,
        history_buffer_size: 100,
        message_timeout: Some(create_req::settings::MessageTimeout::MessageTimeoutMs(600_000)),
        checkpoint_after: Some(create_req::settings::CheckpointAfter::CheckpointAfterMs(60_000)),
        consumer_strategy: "RoundRobin".to_owned(),
        ..create_req::Settings::default()
    }
}

/// A request that creates a group of a stream from its start.
pub(crate) fn of_stream(stream: &str, group: &str, settings: create_req::Settings) -> CreateReq {
    use create_req::{StreamOptions, options::StreamOption, stream_options::RevisionOption};
    let stream = StreamOptions {
        stream_identifier: identifier(stream),
        revision_option: Some(RevisionOption::Start(Empty {})),
    };
    CreateReq {
        options: Some(create_req::Options {
            group_name: group.to_owned(),
            settings: Some(settings),
            stream_identifier: None,
            stream_option: Some(StreamOption::Stream(stream)),
        }),
    }
}

/// A request that creates a group of the whole store from its start.
pub(crate) fn of_all(group: &str, prefix: Option<&str>) -> CreateReq {
    use create_req::{
        AllOptions,
        all_options::{AllOption, FilterOption, FilterOptions, filter_options},
        options::StreamOption,
    };
    let filter = prefix.map_or(FilterOption::NoFilter(Empty {}), |prefix| {
        let prefixes =
            filter_options::Expression { regex: String::new(), prefix: vec![prefix.to_owned()] };
        FilterOption::Filter(FilterOptions {
            filter: Some(filter_options::Filter::StreamIdentifier(prefixes)),
            ..FilterOptions::default()
        })
    });
    let all =
        AllOptions { all_option: Some(AllOption::Start(Empty {})), filter_option: Some(filter) };
    CreateReq {
        options: Some(create_req::Options {
            group_name: group.to_owned(),
            settings: Some(settings()),
            stream_identifier: None,
            stream_option: Some(StreamOption::All(all)),
        }),
    }
}

/// A request that creates a group in the form of earlier clients.
pub(crate) fn of_earlier_client(stream: &str, group: &str) -> CreateReq {
    let settings = create_req::Settings {
        consumer_strategy: String::new(),
        named_consumer_strategy: ConsumerStrategy::Pinned.into(),
        revision: 1,
        ..settings()
    };
    let mut request = of_stream(stream, group, settings);
    if let Some(options) = &mut request.options {
        options.stream_option = None;
        options.stream_identifier = identifier(stream);
    }
    request
}

/// The description of a group.
pub(crate) async fn info(
    client: &mut GroupClient,
    stream: &str,
    group: &str,
) -> Result<SubscriptionInfo, Status> {
    use get_info_req::{Options, options::StreamOption};
    let source = match stream {
        "$all" => StreamOption::All(Empty {}),
        _ => StreamOption::StreamIdentifier(identifier(stream).unwrap()),
    };
    let options = Options { stream_option: Some(source), group_name: group.to_owned() };
    let response = client.get_info(GetInfoReq { options: Some(options) }).await?;
    Ok(response.into_inner().subscription_info.expect("a description"))
}

/// Waits until the description of a group satisfies a condition.
pub(crate) async fn info_when(
    client: &mut GroupClient,
    (stream, group): (&str, &str),
    condition: impl Fn(&SubscriptionInfo) -> bool,
) -> SubscriptionInfo {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let info = info(client, stream, group).await.unwrap();
            if condition(&info) {
                return info;
            }
            tokio::task::yield_now().await;
        }
    });
    waited.await.expect("the group gets there in time")
}

pub(crate) async fn delete(
    client: &mut GroupClient,
    stream: &str,
    group: &str,
) -> Result<(), Status> {
    use delete_req::{Options, options::StreamOption};
    let source = StreamOption::StreamIdentifier(identifier(stream).unwrap());
    let options = Options { stream_option: Some(source), group_name: group.to_owned() };
    client.delete(DeleteReq { options: Some(options) }).await.map(drop)
}

pub(crate) async fn replay(
    client: &mut GroupClient,
    (stream, group): (&str, &str),
    stop_at: Option<i64>,
) -> Result<(), Status> {
    use replay_parked_req::{
        Options,
        options::{StopAtOption, StreamOption},
    };
    let options = Options {
        group_name: group.to_owned(),
        stream_option: Some(StreamOption::StreamIdentifier(identifier(stream).unwrap())),
        stop_at_option: Some(stop_at.map_or(StopAtOption::NoLimit(Empty {}), StopAtOption::StopAt)),
    };
    client.replay_parked(ReplayParkedReq { options: Some(options) }).await.map(drop)
}

pub(crate) async fn truncate_parked(
    client: &mut GroupClient,
    (stream, group): (&str, &str),
    stop_at: Option<i64>,
) -> Result<(), Status> {
    use truncate_parked_req::{
        Options,
        options::{StopAtOption, StreamOption},
    };
    let options = Options {
        group_name: group.to_owned(),
        stream_option: Some(StreamOption::StreamIdentifier(identifier(stream).unwrap())),
        stop_at_option: Some(stop_at.map_or(StopAtOption::NoLimit(Empty {}), StopAtOption::StopAt)),
    };
    client.truncate_parked(TruncateParkedReq { options: Some(options) }).await.map(drop)
}

/// A connected consumer.
pub(crate) struct GroupConsumer {
    answers: mpsc::Sender<ReadReq>,
    messages: Streaming<ReadResp>,
}

impl GroupConsumer {
    /// Connects, and takes the confirmation.
    pub(crate) async fn connect(
        client: &mut GroupClient,
        of: (&str, &str),
        slots: i32,
    ) -> Result<Self, Status> {
        let (answers, asked) = Self::asking(of, slots).await;
        let messages = client.read(asked).await?.into_inner();
        Self::confirmed(answers, messages, of).await
    }

    /// Returns what asks for a connection, and the answers that follow.
    pub(crate) async fn asking(
        (stream, group): (&str, &str),
        slots: i32,
    ) -> (mpsc::Sender<ReadReq>, ReceiverStream<ReadReq>) {
        use read_req::{
            Options,
            options::{StreamOption, UuidOption, uuid_option},
        };
        let source = match stream {
            "$all" => StreamOption::All(Empty {}),
            _ => StreamOption::StreamIdentifier(identifier(stream).unwrap()),
        };
        let options = Options {
            stream_option: Some(source),
            group_name: group.to_owned(),
            buffer_size: slots,
            uuid_option: Some(UuidOption { content: Some(uuid_option::Content::String(Empty {})) }),
        };
        let (answers, sent) = mpsc::channel(100);
        let content = Some(read_req::Content::Options(options));
        answers.send(ReadReq { content }).await.unwrap();
        (answers, ReceiverStream::new(sent))
    }

    /// Takes the confirmation.
    pub(crate) async fn confirmed(
        answers: mpsc::Sender<ReadReq>,
        messages: Streaming<ReadResp>,
        (stream, group): (&str, &str),
    ) -> Result<Self, Status> {
        let mut consumer = Self { answers, messages };
        let ended = || Status::unavailable("ended without a confirmation");
        match consumer.next_or_end().await?.ok_or_else(ended)? {
            read_resp::Content::SubscriptionConfirmation(confirmed) => {
                assert_eq!(confirmed.subscription_id, format!("{stream}::{group}"));
            }
            read_resp::Content::Event(event) => panic!("not confirmed: {event:?}"),
        }
        Ok(consumer)
    }

    pub(crate) async fn next_or_end(&mut self) -> Result<Option<read_resp::Content>, Status> {
        let message = tokio::time::timeout(PATIENCE, self.messages.message()).await;
        let message = message.expect("a message comes in time")?;
        Ok(message.map(|message| message.content.expect("a message has content")))
    }

    pub(crate) async fn next(&mut self) -> ReadEvent {
        match self.next_or_end().await.unwrap() {
            Some(read_resp::Content::Event(event)) => event,
            other => panic!("not an event: {other:?}"),
        }
    }

    /// Returns `revision@stream` of the next events, without an answer to them.
    pub(crate) async fn places(&mut self, count: usize) -> Vec<String> {
        let mut places = Vec::new();
        for _ in 0..count {
            places.push(place(&self.next().await));
        }
        places
    }

    pub(crate) async fn ack(&self, events: &[&ReadEvent]) {
        self.try_ack(events).await.unwrap();
    }

    /// Acknowledges events, or says that the connection is lost.
    pub(crate) async fn try_ack(
        &self,
        events: &[&ReadEvent],
    ) -> Result<(), mpsc::error::SendError<ReadReq>> {
        let ack = read_req::Ack { id: Default::default(), ids: ids(events) };
        self.answers.send(ReadReq { content: Some(read_req::Content::Ack(ack)) }).await
    }

    pub(crate) async fn nack(&self, event: &ReadEvent, action: Action) {
        self.nack_because(event, action, "the test says so").await;
    }

    pub(crate) async fn nack_because(&self, event: &ReadEvent, action: Action, reason: &str) {
        let nack = read_req::Nack {
            id: Default::default(),
            ids: ids(&[event]),
            action: action.into(),
            reason: reason.to_owned(),
        };
        self.say(read_req::Content::Nack(nack)).await;
    }

    pub(crate) async fn say(&self, content: read_req::Content) {
        self.answers.send(ReadReq { content: Some(content) }).await.unwrap();
    }

    /// The error that ends the messages.
    pub(crate) async fn error(&mut self) -> Status {
        loop {
            match self.next_or_end().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ended without an error"),
                Err(status) => return status,
            }
        }
    }
}

fn ids(events: &[&ReadEvent]) -> Vec<shared::Uuid> {
    let original = |event: &&ReadEvent| {
        let record = event.link.as_ref().or(event.event.as_ref()).expect("an event or a link");
        record.id.clone().expect("an event has an id")
    };
    events.iter().map(original).collect()
}

/// `revision@stream` of an event, of the target if it is a link.
pub(crate) fn place(event: &ReadEvent) -> String {
    let record = event.event.as_ref().or(event.link.as_ref()).expect("an event or a link");
    let stream = &record.stream_identifier.as_ref().expect("a name").stream_name;
    format!("{}@{}", record.stream_revision, std::str::from_utf8(stream).unwrap())
}

/// Number of failed deliveries before this one.
pub(crate) fn retries(event: &ReadEvent) -> i32 {
    match event.count {
        Some(read_resp::read_event::Count::RetryCount(count)) => count,
        _ => 0,
    }
}

/// An acknowledgement of an event that the consumer does not have.
pub(crate) fn ack_of_stranger() -> read_req::Content {
    read_req::Content::Ack(read_req::Ack {
        id: Default::default(),
        ids: vec![id(999_999).unwrap()],
    })
}

pub(crate) fn assert_of_group(status: &Status, code: Code, kind: &str) {
    crate::client::assert_exception(status, code, kind);
    assert_eq!(crate::client::trailer(status, "group-name"), "mail");
}
