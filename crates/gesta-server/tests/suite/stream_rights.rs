//! Rights to streams: access control lists, their defaults, and what no list opens.

use tonic::Code;

use crate::{
    client::{read_resp::Content, *},
    secured::Secured,
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
    let refused = try_append(&mut anonymous, "order-1").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
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
    set_metadata(&mut admin, "$user-ann", r#"{"$acl":{"$r":"ann","$w":"ann"}}"#).await;
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
async fn a_reader_of_the_whole_store_sees_neither_users_nor_the_audit_stream() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let (mut admin, mut ann) = (scene.admin().await, scene.client("ann", "changeit").await);
    set_metadata(&mut admin, "$all", r#"{"$acl":{"$r":"ann"}}"#).await;
    for number in 0..5 {
        try_append(&mut ann, &format!("order-{number}")).await.unwrap();
    }
    let is_closed = |place: &String| place.contains("$user-") || place.contains("$audit");
    let places = Read::all().places(&mut admin).await;
    assert!(places.iter().any(is_closed), "{places:?}");
    let places = Read::all().places(&mut ann).await;
    assert!(!places.iter().any(is_closed) && places.len() >= 5, "{places:?}");
    // A limit counts what is shown.
    assert_eq!(Read::all().limit(5).places(&mut ann).await.len(), 5);
    let mut messages = Read::all().subscribing().open(&mut ann).await.unwrap();
    messages.confirmed().await;
    loop {
        match messages.next().await {
            Content::CaughtUp(_) => break,
            content => assert!(!is_closed(&crate::client::place(&content))),
        }
    }
}

#[tokio::test]
async fn each_append_of_a_batch_is_checked() {
    let scene = Secured::start().await;
    scene.create_user("ann", &[]).await;
    let mut ann = scene.client("ann", "changeit").await;
    let request = |number: u128, stream: &str| {
        let event = proposed(number, "happened");
        BatchAppendReq {
            correlation_id: id(number),
            options: Some(batch_append_req::Options {
                stream_identifier: identifier(stream),
                expected_stream_position: Some(
                    batch_append_req::options::ExpectedStreamPosition::Any(()),
                ),
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
    };
    let requests = [request(1, "$settings"), request(2, "order-1")];
    let answers = ann.batch_append(tokio_stream::iter(requests)).await.unwrap();
    let mut answers = answers.into_inner();
    let mut codes = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        codes.push((
            answer.correlation_id,
            match answer.result.unwrap() {
                batch_append_resp::Result::Success(_) => 0,
                batch_append_resp::Result::Error(status) => status.code,
            },
        ));
    }
    codes.sort_by_key(|(_, code)| *code);
    assert_eq!(codes, [(id(2), 0), (id(1), i32::from(Code::PermissionDenied))]);
}

#[tokio::test]
async fn changes_of_rights_are_in_the_audit_stream() {
    let scene = Secured::start().await;
    let mut admin = scene.admin().await;
    set_metadata(&mut admin, "order-1", r#"{"$acl":{"$r":"ann"}}"#).await;
    set_metadata(&mut admin, "order-2", r#"{"$maxCount":5}"#).await;
    let audit = Read::stream("$audit").run(&mut admin).await.unwrap();
    let changes: Vec<_> = audit.iter().filter_map(rights_changed).collect();
    assert_eq!(changes, [r#"{"by":"admin","stream":"$$order-1"}"#]);
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
    for stream in ["order-1", "order-2"] {
        ops.create(create(stream, "shipping", crate::group_client::settings())).await.unwrap();
    }
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
    let calls = audit.iter().filter(|content| {
        let record = event(content).event.as_ref().unwrap();
        record.metadata["type"] == "$call" && record.data.starts_with(br#"{"by":"ops""#)
    });
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn a_group_of_the_whole_store_leaves_out_users_and_the_audit_stream() {
    use crate::client::groups::{
        persistent_subscriptions_client::PersistentSubscriptionsClient, read_req, read_resp,
    };
    let scene = Secured::start().await;
    let mut admin = scene.admin().await;
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
        assert!(!place.contains("$user-") && !place.contains("$audit"), "{place}");
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
