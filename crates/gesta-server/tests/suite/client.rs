//! The raw client: generated messages, and short ways to make them.

#[allow(
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    dead_code,
    missing_debug_implementations,
    missing_docs,
    unreachable_pub,
    reason = "generated code"
)]
mod packages {
    include!(concat!(env!("OUT_DIR"), "/client/packages.rs"));
}

use std::time::Duration;

pub(crate) use delete_req::options::ExpectedStreamRevision as Deleting;
pub(crate) use packages::event_store::client::{
    self as shared, Empty, StreamIdentifier, gossip, monitoring, operations,
    persistent_subscriptions as groups, projections, server_features, streams::*, users,
};
pub(crate) use packages::{
    gesta::client::appends, google::rpc, kurrentdb::protocol::v2::streams as v2,
};
use streams_client::StreamsClient;
pub(crate) use tombstone_req::options::ExpectedStreamRevision as Tombstoning;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use uuid::Uuid;

use self::{
    append_req::{ProposedMessage, options::ExpectedStreamRevision},
    read_req::{
        Options,
        options::{
            AllOptions, ControlOption, CountOption, FilterOption, FilterOptions, ReadDirection,
            StreamOption, StreamOptions, SubscriptionOptions, UuidOption, all_options::AllOption,
            filter_options, stream_options::RevisionOption, uuid_option,
        },
    },
    read_resp::{Content, ReadEvent},
};

/// Time after which a message that has not come fails the test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A client of the service of streams.
pub(crate) type Client = StreamsClient<InterceptedService<Channel, Credentials>>;

/// The header `authorization` of each call, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Credentials(pub(crate) Option<MetadataValue<Ascii>>);

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

pub(crate) fn identifier(stream: &str) -> Option<StreamIdentifier> {
    Some(StreamIdentifier { stream_name: stream.to_owned().into() })
}

pub(crate) fn id(number: u128) -> Option<shared::Uuid> {
    let text = Uuid::from_u128(number).to_string();
    Some(shared::Uuid { value: Some(shared::uuid::Value::String(text)) })
}

/// An event with this id and type.
pub(crate) fn proposed(number: u128, event_type: &str) -> ProposedMessage {
    let metadata = [("type", event_type), ("content-type", "application/json")];
    ProposedMessage {
        id: id(number),
        metadata: metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        custom_metadata: Default::default(),
        data: format!("{{\"n\":{number}}}").into(),
    }
}

pub(crate) const ANY: ExpectedStreamRevision = ExpectedStreamRevision::Any(Empty {});
pub(crate) const NO_STREAM: ExpectedStreamRevision = ExpectedStreamRevision::NoStream(Empty {});
pub(crate) const EXISTS: ExpectedStreamRevision = ExpectedStreamRevision::StreamExists(Empty {});

pub(crate) const fn exact(revision: u64) -> ExpectedStreamRevision {
    ExpectedStreamRevision::Revision(revision)
}

/// Appends these events in one call.
pub(crate) async fn append(
    client: &mut Client,
    stream: &str,
    expected: ExpectedStreamRevision,
    events: Vec<ProposedMessage>,
) -> Result<append_resp::Result, Status> {
    let options = append_req::Options {
        stream_identifier: identifier(stream),
        expected_stream_revision: Some(expected),
    };
    let first = append_req::Content::Options(options);
    let rest = events.into_iter().map(append_req::Content::ProposedMessage);
    let messages: Vec<_> = std::iter::once(first)
        .chain(rest)
        .map(|content| AppendReq { content: Some(content) })
        .collect();
    let response = client.append(tokio_stream::iter(messages)).await?.into_inner();
    Ok(response.result.expect("a response has a result"))
}

/// Appends events of the type `happened` with these ids, and returns the stream's head.
pub(crate) async fn grow(
    client: &mut Client,
    stream: &str,
    ids: impl IntoIterator<Item = u128>,
) -> u64 {
    let events = ids.into_iter().map(|number| proposed(number, "happened")).collect();
    match append(client, stream, ANY, events).await.unwrap() {
        append_resp::Result::Success(success) => match success.current_revision_option {
            Some(append_resp::success::CurrentRevisionOption::CurrentRevision(head)) => head,
            other => panic!("no revision: {other:?}"),
        },
        append_resp::Result::WrongExpectedVersion(wrong) => panic!("not appended: {wrong:?}"),
    }
}

/// Deletes a stream with this expectation.
pub(crate) async fn delete(
    client: &mut Client,
    stream: &str,
    expected: Deleting,
) -> Result<u64, Status> {
    let options = delete_req::Options {
        stream_identifier: identifier(stream),
        expected_stream_revision: Some(expected),
    };
    let response = client.delete(DeleteReq { options: Some(options) }).await?.into_inner();
    match response.position_option {
        Some(delete_resp::PositionOption::Position(position)) => Ok(position.commit_position),
        other => panic!("no position: {other:?}"),
    }
}

/// Tombstones a stream with this expectation.
pub(crate) async fn tombstone(
    client: &mut Client,
    stream: &str,
    expected: Tombstoning,
) -> Result<u64, Status> {
    let options = tombstone_req::Options {
        stream_identifier: identifier(stream),
        expected_stream_revision: Some(expected),
    };
    let response = client.tombstone(TombstoneReq { options: Some(options) }).await?.into_inner();
    match response.position_option {
        Some(tombstone_resp::PositionOption::Position(position)) => Ok(position.commit_position),
        other => panic!("no position: {other:?}"),
    }
}

/// A read under construction.
#[derive(Clone)]
pub(crate) struct Read(Options);

impl Read {
    fn new(target: StreamOption) -> Self {
        Self(Options {
            stream_option: Some(target),
            count_option: Some(CountOption::Count(u64::MAX)),
            filter_option: Some(FilterOption::NoFilter(Empty {})),
            uuid_option: Some(UuidOption { content: Some(uuid_option::Content::String(Empty {})) }),
            ..Options::default()
        })
    }

    /// A stream from its first event.
    pub(crate) fn stream(name: &str) -> Self {
        Self::new(StreamOption::Stream(StreamOptions {
            stream_identifier: identifier(name),
            revision_option: Some(RevisionOption::Start(Empty {})),
        }))
    }

    /// The whole store from its first event.
    pub(crate) fn all() -> Self {
        let all_option = Some(AllOption::Start(Empty {}));
        Self::new(StreamOption::All(AllOptions { all_option }))
    }

    pub(crate) fn at_revision(mut self, revision: u64) -> Self {
        if let Some(StreamOption::Stream(stream)) = &mut self.0.stream_option {
            stream.revision_option = Some(RevisionOption::Revision(revision));
        }
        self
    }

    pub(crate) fn at_position(mut self, commit: u64, prepare: u64) -> Self {
        let position =
            read_req::options::Position { commit_position: commit, prepare_position: prepare };
        let all_option = Some(AllOption::Position(position));
        self.0.stream_option = Some(StreamOption::All(AllOptions { all_option }));
        self
    }

    pub(crate) fn at_end(mut self) -> Self {
        match &mut self.0.stream_option {
            Some(StreamOption::Stream(stream)) => {
                stream.revision_option = Some(RevisionOption::End(Empty {}));
            }
            Some(StreamOption::All(all)) => all.all_option = Some(AllOption::End(Empty {})),
            None => {}
        }
        self
    }

    pub(crate) fn backwards(mut self) -> Self {
        self.0.set_read_direction(ReadDirection::Backwards);
        self
    }

    /// Reads in the direction that has this number.
    pub(crate) fn in_direction(mut self, number: i32) -> Self {
        self.0.read_direction = number;
        self
    }

    pub(crate) fn limit(mut self, events: u64) -> Self {
        self.0.count_option = Some(CountOption::Count(events));
        self
    }

    pub(crate) fn subscribing(mut self) -> Self {
        self.0.count_option = Some(CountOption::Subscription(SubscriptionOptions {}));
        self
    }

    pub(crate) fn resolving(mut self) -> Self {
        self.0.resolve_links = true;
        self
    }

    pub(crate) fn told_of_the_end(mut self) -> Self {
        self.0.control_option = Some(ControlOption { compatibility: 1 });
        self
    }

    pub(crate) fn without_form_of_ids(mut self) -> Self {
        self.0.uuid_option = None;
        self
    }

    pub(crate) fn filtered(mut self, by: filter_options::Filter, window: u32) -> Self {
        self.0.filter_option = Some(FilterOption::Filter(FilterOptions {
            filter: Some(by),
            window: Some(filter_options::Window::Max(window)),
            checkpoint_interval_multiplier: 1,
        }));
        self
    }

    pub(crate) fn request(self) -> ReadReq {
        ReadReq { options: Some(self.0) }
    }

    /// Begins the read.
    pub(crate) async fn open(self, client: &mut Client) -> Result<Messages, Status> {
        Ok(Messages(client.read(self.request()).await?.into_inner()))
    }

    /// Reads to the end.
    pub(crate) async fn run(self, client: &mut Client) -> Result<Vec<Content>, Status> {
        let mut messages = self.open(client).await?;
        let mut read = Vec::new();
        while let Some(content) = messages.next_or_end().await? {
            read.push(content);
        }
        Ok(read)
    }

    /// Reads to the end and returns `revision@stream` of each event.
    pub(crate) async fn places(self, client: &mut Client) -> Vec<String> {
        self.run(client).await.unwrap().iter().map(place).collect()
    }
}

pub(crate) fn by_prefix(prefix: &[&str]) -> filter_options::Expression {
    let prefix = prefix.iter().map(|prefix| (*prefix).to_owned()).collect();
    filter_options::Expression { regex: String::new(), prefix }
}

pub(crate) fn by_regex(regex: &str) -> filter_options::Expression {
    filter_options::Expression { regex: regex.to_owned(), prefix: Vec::new() }
}

/// The messages of a read or a subscription.
pub(crate) struct Messages(Streaming<ReadResp>);

impl Messages {
    pub(crate) async fn next_or_end(&mut self) -> Result<Option<Content>, Status> {
        let message = tokio::time::timeout(PATIENCE, self.0.message()).await;
        let message = message.expect("a message comes in time")?;
        Ok(message.map(|message| message.content.expect("a message has content")))
    }

    pub(crate) async fn next(&mut self) -> Content {
        self.next_or_end().await.unwrap().expect("a subscription has no end")
    }

    /// Takes the confirmation that begins a subscription.
    pub(crate) async fn confirmed(&mut self) {
        let first = self.next().await;
        assert!(matches!(first, Content::Confirmation(_)), "{first:?}");
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

pub(crate) fn event(content: &Content) -> &ReadEvent {
    match content {
        Content::Event(event) => event,
        other => panic!("not an event: {other:?}"),
    }
}

/// `revision@stream` of an event, or of the link to it.
pub(crate) fn place(content: &Content) -> String {
    let event = event(content);
    let record = event.link.as_ref().or(event.event.as_ref()).expect("an event or a link");
    let stream = &record.stream_identifier.as_ref().expect("a name").stream_name;
    format!("{}@{}", record.stream_revision, std::str::from_utf8(stream).unwrap())
}

/// Checks code and kind of an error.
pub(crate) fn assert_exception(status: &Status, code: Code, exception: &str) {
    assert_eq!(status.code(), code, "{status}");
    let named = status.metadata().get("exception").expect("the trailer `exception`");
    assert_eq!(named.to_str().unwrap(), exception);
}

pub(crate) fn trailer<'a>(status: &'a Status, key: &str) -> &'a str {
    status.metadata().get(key).expect(key).to_str().unwrap()
}
