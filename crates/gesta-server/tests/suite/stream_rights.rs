//! Rights to streams: access control lists, their defaults, and what no list opens.

use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;

use crate::{
    client::{read_resp::Content, *},
    secured::{Secured, basic},
};

/// Sets the metadata of a stream.
async fn set_metadata(client: &mut Client, stream: &str, json: &str) {
    let mut event = proposed(uuid::Uuid::new_v4().as_u128(), "$metadata");
    event.data = json.to_owned().into();
    append(client, &format!("$${stream}"), ANY, vec![event]).await.unwrap();
}

async fn try_append(client: &mut Client, stream: &str) -> Result<(), tonic::Status> {
    let event = proposed(uuid::Uuid::new_v4().as_u128(), "happened");
    append(client, stream, ANY, vec![event]).await.map(drop)
}

fn assert_denied<Answer>(answer: Result<Answer, tonic::Status>) {
    assert_exception(&answer.err().expect("denied"), Code::PermissionDenied, "access-denied");
}

#[tokio::test]
async fn every_user_may_use_the_streams_of_users_by_default() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let mut ann = scene.client("ann", "changeit").await;
    try_append(&mut ann, "order-1").await.unwrap();
    assert_eq!(Read::stream("order-1").places(&mut ann).await, ["0@order-1"]);
    set_metadata(&mut ann, "order-1", r#"{"$maxCount":5}"#).await;
    let mut anonymous = scene.client_with(Credentials::default()).await;
    assert_denied(try_append(&mut anonymous, "order-1").await);
}

#[tokio::test]
async fn the_whole_store_takes_no_events_and_is_not_deleted_by_anybody() {
    let scene = Secured::start().await;
    let mut admin = scene.admin().await;
    set_metadata(&mut admin, "$all", r#"{"$acl":{"$w":"admin","$d":"admin"}}"#).await;
    assert_denied(try_append(&mut admin, "$all").await);
    assert_denied(delete(&mut admin, "$all", Deleting::Any(Empty {})).await);
    assert_denied(tombstone(&mut admin, "$all", Tombstoning::Any(Empty {})).await);
}

#[tokio::test]
async fn a_list_gives_each_right_to_those_that_it_names() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    scene.create_user("bob", &["sales"]).await;
    let (mut admin, mut ann, mut bob) = (
        scene.admin().await,
        scene.client("ann", "changeit").await,
        scene.client("bob", "changeit").await,
    );
    try_append(&mut ann, "order-1").await.unwrap();
    let list = r#"{"$acl":{"$r":["ann","sales"],"$w":"sales","$d":[],"$mr":"ann","$mw":[]}}"#;
    set_metadata(&mut admin, "order-1", list).await;

    for reader in [&mut admin, &mut ann, &mut bob] {
        assert_eq!(Read::stream("order-1").places(reader).await.len(), 1);
    }
    try_append(&mut bob, "order-1").await.unwrap();
    assert_denied(try_append(&mut ann, "order-1").await);
    Read::stream("$$order-1").run(&mut ann).await.unwrap();
    assert_denied(Read::stream("$$order-1").run(&mut bob).await);
    assert_denied(try_append(&mut ann, "$$order-1").await);
    // A right of nobody is one of `$admins`.
    let delete = DeleteReq {
        options: Some(delete_req::Options {
            stream_identifier: identifier("order-1"),
            expected_stream_revision: Some(delete_req::options::ExpectedStreamRevision::Any(
                Empty {},
            )),
        }),
    };
    assert_denied(bob.delete(delete.clone()).await);
    admin.delete(delete).await.unwrap();
}

#[tokio::test]
async fn an_append_is_found_without_the_name_of_a_stream_that_the_caller_may_not_read() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let mut admin = scene.admin().await;
    append(&mut admin, "order-1", ANY, vec![proposed(7, "happened")]).await.unwrap();
    append(&mut admin, "secret-ledger", ANY, vec![proposed(8, "happened")]).await.unwrap();
    set_metadata(&mut admin, "secret-ledger", r#"{"$acl":{"$r":"admin","$w":"ann"}}"#).await;
    let find = async |number| {
        let channel = scene.channel().await;
        let credentials = basic("ann", "changeit");
        let mut finder =
            appends::appends_client::AppendsClient::with_interceptor(channel, credentials);
        let request = appends::FindReq { first_event_id: id(number) };
        finder.find(request).await.map(|answer| answer.into_inner().found)
    };
    assert!(find(7).await.unwrap().is_some());
    assert!(find(9).await.unwrap().is_none());
    let denied = find(8).await.unwrap_err();
    assert_exception(&denied, Code::PermissionDenied, "access-denied");
    assert!(!denied.message().contains("secret"), "{denied}");
}

#[tokio::test]
async fn system_streams_and_the_whole_store_are_for_administrators() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let (mut admin, mut ann) = (scene.admin().await, scene.client("ann", "changeit").await);
    let mut ops = scene.client("ops", scene.passwords.ops()).await;
    try_append(&mut ann, "order-1").await.unwrap();
    for client in [&mut ann, &mut ops] {
        assert_denied(Read::all().run(client).await);
        assert_denied(Read::all().subscribing().open(client).await);
        assert_denied(Read::stream("$ce-order").run(client).await);
        assert_denied(try_append(client, "$settings").await);
    }
    assert!(Read::all().run(&mut admin).await.unwrap().len() > 1);
    set_metadata(&mut admin, "$ce-order", r#"{"$acl":{"$r":"ann"}}"#).await;
    set_metadata(&mut admin, "$all", r#"{"$acl":{"$r":"ann"}}"#).await;
    assert_eq!(Read::stream("$ce-order").places(&mut ann).await, ["0@$ce-order"]);
    Read::all().run(&mut ann).await.unwrap();
    assert_denied(Read::all().run(&mut ops).await);
}

#[tokio::test]
async fn settings_change_the_default_lists_and_unreadable_ones_close_them() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let (mut admin, mut ann) = (scene.admin().await, scene.client("ann", "changeit").await);
    let settings = async |client: &mut Client, json: &str| {
        let mut event = proposed(uuid::Uuid::new_v4().as_u128(), "update-default-acl");
        event.data = json.to_owned().into();
        append(client, "$settings", ANY, vec![event]).await.unwrap();
    };
    settings(&mut admin, r#"{"$userStreamAcl":{"$w":"writers"}}"#).await;
    assert_denied(try_append(&mut ann, "order-1").await);
    Read::stream("order-1").run(&mut ann).await.unwrap();
    settings(&mut admin, r#"{"$userStreamAcl":{"$w":["ann"]}}"#).await;
    try_append(&mut ann, "order-1").await.unwrap();
    settings(&mut admin, "not JSON").await;
    assert_denied(Read::stream("order-1").run(&mut ann).await);
    Read::stream("order-1").run(&mut admin).await.unwrap();
}

#[tokio::test]
async fn a_link_does_not_open_the_stream_of_its_target() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let mut ann = scene.client("ann", "changeit").await;
    try_append(&mut ann, "order-1").await.unwrap();
    let mut links = Vec::new();
    for target in ["0@$user-admin", "0@order-1"] {
        let mut link = proposed(uuid::Uuid::new_v4().as_u128(), "$>");
        link.data = target.to_owned().into();
        links.push(link);
    }
    append(&mut ann, "mine-1", ANY, links).await.unwrap();
    let read = Read::stream("mine-1").resolving().run(&mut ann).await.unwrap();
    let targets: Vec<_> = read.iter().map(|content| event(content).event.is_some()).collect();
    assert_eq!(targets, [false, true]);
    let mut admin = scene.admin().await;
    let read = Read::stream("mine-1").resolving().run(&mut admin).await.unwrap();
    assert!(read.iter().all(|content| event(content).event.is_some()));
}

#[tokio::test]
async fn no_list_opens_users_or_lets_the_audit_stream_be_changed() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let (mut admin, mut ann) = (scene.admin().await, scene.client("ann", "changeit").await);
    for stream in ["$user-ann", "$user-evil", "$users", "$$$user-ann", "$$$users"] {
        assert_denied(try_append(&mut admin, stream).await);
    }
    for stream in ["$user-ann", "$users", "$settings", "$audit", "$persistentSubscriptionConfig"] {
        assert_denied(delete(&mut admin, stream, Deleting::Any(Empty {})).await);
        assert_denied(tombstone(&mut admin, stream, Tombstoning::Any(Empty {})).await);
    }
    assert_denied(Read::stream("$user-ann").run(&mut ann).await);
    assert_denied(try_append(&mut ann, "$user-ann").await);
    assert!(!Read::stream("$audit").run(&mut admin).await.unwrap().is_empty());
    assert_denied(Read::stream("$audit").run(&mut ann).await);
    for stream in ["$audit", "$$$audit"] {
        assert_denied(try_append(&mut admin, stream).await);
    }
    let tombstone = TombstoneReq {
        options: Some(tombstone_req::Options {
            stream_identifier: identifier("$audit"),
            expected_stream_revision: Some(tombstone_req::options::ExpectedStreamRevision::Any(
                Empty {},
            )),
        }),
    };
    assert_denied(admin.tombstone(tombstone).await);
}

#[tokio::test]
async fn a_reader_of_the_whole_store_sees_of_the_systems_streams_what_they_may_read() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let (mut admin, mut ann) = (scene.admin().await, scene.client("ann", "changeit").await);
    let header = crate::secured::basic("admin", scene.passwords.admin());
    let channel = scene.channel().await;
    let mut groups =
        groups::persistent_subscriptions_client::PersistentSubscriptionsClient::with_interceptor(
            channel, header,
        );
    groups.create(crate::group_client::of_all("everything", None)).await.unwrap();
    set_metadata(&mut admin, "$all", r#"{"$acl":{"$r":"ann"}}"#).await;
    for number in 0..5 {
        try_append(&mut ann, &format!("order-{number}")).await.unwrap();
    }
    set_metadata(&mut admin, "order-1", r#"{"$acl":{"$mr":"$admins"}}"#).await;
    set_metadata(&mut admin, "order-2", r#"{"$maxCount":5}"#).await;
    try_append(&mut admin, "$board").await.unwrap();
    try_append(&mut admin, "$secret").await.unwrap();
    set_metadata(&mut admin, "$board", r#"{"$acl":{"$r":"ann"}}"#).await;

    let of_system = |places: Vec<String>| -> std::collections::BTreeSet<String> {
        let names = places.iter().filter_map(|place| place.split_once('@'));
        names.map(|(_, name)| name.to_owned()).filter(|name| name.starts_with('$')).collect()
    };
    let all = of_system(Read::all().places(&mut admin).await);
    for name in
        ["$users", "$user-ann", "$audit", "$persistentSubscriptionConfig", "$$$all", "$$order-1"]
    {
        assert!(all.contains(name), "{name} is missing in {all:?}");
    }
    let seen = ["$$order-2".to_owned(), "$board".to_owned()];
    let places = Read::all().places(&mut ann).await;
    assert_eq!(of_system(places), seen.clone().into());
    // A limit counts what is shown.
    assert_eq!(Read::all().limit(5).places(&mut ann).await.len(), 5);
    let mut messages = Read::all().subscribing().open(&mut ann).await.unwrap();
    messages.confirmed().await;
    let mut places = Vec::new();
    loop {
        match messages.next().await {
            Content::CaughtUp(_) => break,
            content => places.push(crate::client::place(&content)),
        }
    }
    assert_eq!(of_system(places), seen.into());
}

/// An append of one event in a batch.
fn in_batch(number: u128, stream: &str) -> BatchAppendReq {
    let event = proposed(number, "happened");
    BatchAppendReq {
        correlation_id: id(number),
        options: Some(batch_append_req::Options {
            stream_identifier: identifier(stream),
            expected_stream_position: Some(batch_append_req::options::ExpectedStreamPosition::Any(
                (),
            )),
            deadline_option: None,
        }),
        proposed_messages: vec![batch_append_req::ProposedMessage {
            id: event.id,
            metadata: event.metadata,
            custom_metadata: event.custom_metadata,
            data: event.data,
        }],
        is_final: true,
    }
}

/// Returns the code of one append of a batch, 0 for a success.
fn code_of(answer: &BatchAppendResp) -> i32 {
    match answer.result.as_ref().unwrap() {
        batch_append_resp::Result::Success(_) => 0,
        batch_append_resp::Result::Error(status) => status.code,
    }
}

#[tokio::test]
async fn each_append_of_a_batch_is_checked() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let mut ann = scene.client("ann", "changeit").await;
    let requests = [in_batch(1, "$settings"), in_batch(2, "order-1")];
    let answers = ann.batch_append(tokio_stream::iter(requests)).await.unwrap();
    let mut answers = answers.into_inner();
    let mut codes = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        let code = code_of(&answer);
        codes.push((answer.correlation_id, code));
    }
    codes.sort_by_key(|(_, code)| *code);
    assert_eq!(codes, [(id(2), 0), (id(1), i32::from(Code::PermissionDenied))]);
}

/// Keeps a batch open while what its user may do changes.
#[tokio::test]
async fn an_open_batch_has_the_rights_that_its_user_has_now() {
    let scene = Secured::start().await;
    let mut admin = scene.admin().await;
    set_metadata(&mut admin, "order-1", r#"{"$acl":{"$w":"sales"}}"#).await;
    let mut users = scene.admins_users().await;
    for (login, number) in [("ann", 10), ("bob", 20), ("eve", 30)] {
        scene.create_user(login, &["sales"]).await;
        let mut client = scene.client(login, "changeit").await;
        let (requests, received) = mpsc::unbounded_channel();
        let received = UnboundedReceiverStream::new(received);
        requests.send(in_batch(number, "order-1")).unwrap();
        let mut answers = client.batch_append(received).await.unwrap().into_inner();
        assert_eq!(code_of(&answers.message().await.unwrap().unwrap()), 0, "{login}");
        let login_name = login.to_owned();
        match login {
            "ann" => {
                let options = Some(users::disable_req::Options { login_name });
                users.disable(users::DisableReq { options }).await.unwrap();
            }
            "bob" => {
                let options = users::update_req::Options {
                    login_name,
                    password: String::new(),
                    full_name: String::new(),
                    groups: Vec::new(),
                };
                users.update(users::UpdateReq { options: Some(options) }).await.unwrap();
            }
            _ => {
                let options = Some(users::delete_req::Options { login_name });
                users.delete(users::DeleteReq { options }).await.unwrap();
                // The same name is another person.
                scene.create_user(login, &[]).await;
            }
        }
        requests.send(in_batch(number + 1, "order-1")).unwrap();
        let denied = code_of(&answers.message().await.unwrap().unwrap());
        assert_eq!(denied, i32::from(Code::PermissionDenied), "{login}");
    }
}

#[tokio::test]
async fn changes_of_rights_are_in_the_audit_stream() {
    let scene = Secured::start().await;
    let mut admin = scene.admin().await;
    set_metadata(&mut admin, "order-1", r#"{"$acl":{"$r":"ann"}}"#).await;
    set_metadata(&mut admin, "order-2", r#"{"$maxCount":5}"#).await;
    // Metadata without a list remove it.
    set_metadata(&mut admin, "order-1", r#"{"$maxCount":5}"#).await;
    let mut settings = proposed(uuid::Uuid::new_v4().as_u128(), "update-default-acl");
    settings.data = "{}".into();
    append(&mut admin, "$settings", ANY, vec![settings]).await.unwrap();
    set_metadata(&mut admin, "$settings", r#"{"$maxAge":1}"#).await;
    let audit = Read::stream("$audit").run(&mut admin).await.unwrap();
    let changes: Vec<_> = audit.iter().filter_map(rights_changed).collect();
    let streams = ["$$order-1", "$$order-1", "$settings", "$$$settings"];
    let expected =
        streams.map(|stream| format!(r#"{{"by":"admin","from":"127.0.0.1","stream":"{stream}"}}"#));
    assert_eq!(changes, expected);
}

fn rights_changed(content: &Content) -> Option<String> {
    let record = event(content).event.as_ref()?;
    let is_change = record.metadata.get("type").is_some_and(|name| name == "$rights-changed");
    is_change.then(|| String::from_utf8(record.data.to_vec()).unwrap())
}

#[tokio::test]
async fn a_consumer_needs_the_right_to_read_the_source_of_its_group() {
    use crate::client::groups::{
        persistent_subscriptions_client::PersistentSubscriptionsClient, read_req,
    };
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let mut admin = scene.admin().await;
    set_metadata(&mut admin, "order-1", r#"{"$acl":{"$r":"bob"}}"#).await;
    let clients = |login: &'static str, password: String| {
        let channel = scene.channel();
        async move {
            let header = crate::secured::basic(login, &password);
            PersistentSubscriptionsClient::with_interceptor(channel.await, header)
        }
    };
    let mut ops = clients("ops", scene.passwords.ops().to_owned()).await;
    let create = crate::group_client::of_stream;
    let update = |stream| groups::UpdateReq {
        options: Some(groups::update_req::Options {
            group_name: "shipping".to_owned(),
            settings: Some(groups::update_req::Settings {
                max_checkpoint_count: 9,
                read_batch_size: 1,
                history_buffer_size: 2,
                ..Default::default()
            }),
            stream_identifier: identifier(stream),
            stream_option: None,
        }),
    };
    let new = |stream| create(stream, "shipping", crate::group_client::settings());
    // An operator manages groups, and reads no more than others by them.
    assert_denied(ops.create(new("order-1")).await);
    assert_denied(ops.create(crate::group_client::of_all("everything", None)).await);
    ops.create(new("order-2")).await.unwrap();
    let mut owner = clients("admin", scene.passwords.admin().to_owned()).await;
    owner.create(new("order-1")).await.unwrap();
    assert_denied(ops.update(update("order-1")).await);
    ops.update(update("order-2")).await.unwrap();
    let mut ann = clients("ann", "changeit".to_owned()).await;
    let read = |stream: &str| groups::ReadReq {
        content: Some(read_req::Content::Options(read_req::Options {
            group_name: "shipping".to_owned(),
            buffer_size: 1,
            stream_option: Some(read_req::options::StreamOption::StreamIdentifier(
                identifier(stream).unwrap(),
            )),
            uuid_option: None,
        })),
    };
    assert_denied(ann.read(tokio_stream::iter([read("order-1")])).await);
    ann.read(tokio_stream::iter([read("order-2")])).await.unwrap();

    let audit = Read::stream("$audit").run(&mut admin).await.unwrap();
    let [first, all, second] = ["order-1::shipping", "$all::everything", "order-2::shipping"];
    let denied = "refused: PermissionDenied";
    // Those that were refused, too.
    let expected =
        [(first, denied), (all, denied), (second, "done"), (first, denied), (second, "done")];
    let expected = expected.map(|(group, outcome)| (group.to_owned(), outcome.to_owned()));
    assert_eq!(group_calls(&audit, "ops"), expected);
}

/// Returns the calls about groups that the audit stream has of a login, with their outcomes.
fn group_calls(audit: &[Content], login: &str) -> Vec<(String, String)> {
    let records = audit.iter().map(|content| event(content).event.as_ref().unwrap());
    let calls = records.filter(|record| record.metadata["type"] == "$call");
    let calls = calls.map(|record| serde_json::from_slice(&record.data).unwrap());
    let of_login = calls.filter(|call: &serde_json::Value| call["by"] == login);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    of_login.map(|call| (text(&call["group"]), text(&call["outcome"]))).collect()
}

#[tokio::test]
async fn a_group_of_the_whole_store_leaves_out_streams_of_the_system() {
    use crate::client::groups::{
        persistent_subscriptions_client::PersistentSubscriptionsClient, read_req, read_resp,
    };
    let scene = Secured::start().await;
    let mut admin = scene.admin().await;
    set_metadata(&mut admin, "order-1", r#"{"$acl":{"$mr":"$admins"}}"#).await;
    try_append(&mut admin, "$secret").await.unwrap();
    try_append(&mut admin, "order-1").await.unwrap();
    let header = crate::secured::basic("admin", scene.passwords.admin());
    let mut client = PersistentSubscriptionsClient::with_interceptor(scene.channel().await, header);
    client.create(crate::group_client::of_all("everything", None)).await.unwrap();
    let options = read_req::Options {
        group_name: "everything".to_owned(),
        buffer_size: 100,
        stream_option: Some(read_req::options::StreamOption::All(Empty {})),
        uuid_option: None,
    };
    let begin = groups::ReadReq { content: Some(read_req::Content::Options(options)) };
    // The consumer stays.
    let requests = futures_util::StreamExt::chain(
        tokio_stream::iter([begin]),
        futures_util::stream::pending(),
    );
    let mut messages = client.read(requests).await.unwrap().into_inner();
    loop {
        let message = tokio::time::timeout(PATIENCE, messages.message()).await;
        let message = message.expect("a message comes in time").unwrap().unwrap();
        let Some(read_resp::Content::Event(event)) = message.content else { continue };
        let place = crate::group_client::place(&event);
        assert!(!place.contains("@$"), "{place}");
        if place == "0@order-1" {
            break;
        }
    }
}

#[tokio::test]
async fn an_append_to_several_streams_needs_the_right_to_each() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let (mut admin, mut ann) = (scene.admin().await, scene.client("ann", "changeit").await);
    set_metadata(&mut admin, "stock-1", r#"{"$acl":{"$r":"ann","$w":"$admins"}}"#).await;
    set_metadata(&mut admin, "secret-1", r#"{"$acl":{"$r":"$admins"}}"#).await;
    let header = crate::secured::basic("ann", "changeit");
    let channel = scene.channel().await;
    let mut client =
        v2::streams_service_client::StreamsServiceClient::with_interceptor(channel, header);
    let record = |stream: &str| {
        let schema = v2::SchemaInfo { name: "happened".to_owned(), format: 1, id: None };
        v2::AppendRecord {
            stream: stream.to_owned(),
            schema: Some(schema),
            data: "{}".into(),
            ..Default::default()
        }
    };
    let check = |stream: &str| {
        use v2::consistency_check::{StreamStateCheck, Type};
        let state = StreamStateCheck { stream: stream.to_owned(), expected_state: -1 };
        v2::ConsistencyCheck { r#type: Some(Type::StreamState(state)) }
    };
    let request = |streams: &[&str], checks: &[&str]| v2::AppendRecordsRequest {
        records: streams.iter().map(|stream| record(stream)).collect(),
        checks: checks.iter().map(|stream| check(stream)).collect(),
    };
    assert_denied(client.append_records(request(&["order-1", "stock-1"], &[])).await);
    assert_denied(client.append_records(request(&["order-1"], &["secret-1"])).await);
    let session = [v2::AppendRequest {
        stream: "stock-1".to_owned(),
        records: vec![record("")],
        expected_revision: None,
    }];
    assert_denied(client.append_session(tokio_stream::iter(session)).await);
    assert!(Read::stream("order-1").run(&mut ann).await.unwrap().len() < 2);
    client.append_records(request(&["order-1"], &["stock-1"])).await.unwrap();
}
