//! An application of a tenant: its events name the tenant, and its store is the tenant's alone.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use gesta::{
    Begin, CommandRequest, EventMetadata, Gesta, OpenError, RetryPolicy, TenantError, TenantId,
    Unauthorized, is_internal,
    store::{
        Append, EventId, EventStore, EventType, ExpectedRevision, MemoryReadModels, NewEvent,
        ReadAll, RecordedEvent, StreamName, memory::MemoryStore,
    },
    testing::{VirtualClock, drain},
};

use crate::{
    bank::{Balances, Controls, deposit},
    library::{LendBook, MONTH, Reminder},
    post_office::{Notices, PostOffice, olga},
};

fn tenant(id: &str) -> TenantId {
    id.parse().unwrap()
}

async fn events_of(store: &Arc<MemoryStore>) -> Vec<RecordedEvent> {
    store.read_all(ReadAll::forwards()).collect_events().await.unwrap()
}

#[tokio::test]
async fn every_event_of_the_application_names_its_tenant() {
    let (store, clock) = (Arc::new(MemoryStore::new()), VirtualClock::new());
    let at_once = RetryPolicy::default().first_wait_max(Duration::ZERO).wait_max(Duration::ZERO);
    let gesta = Gesta::on(store.clone()).tenant(tenant("acme")).clock(clock.clone());
    let gesta = gesta.retry(at_once).process_with(Reminder::after(MONTH));
    let gesta = gesta.react(Notices(PostOffice::default()), Begin::AtTheStart);
    let gesta = gesta.open().await.unwrap();
    let lend = gesta.execute(LendBook::new("emma", "ann")).metadata("till", 7);
    lend.await.unwrap();
    drain(&gesta).await;
    gesta.pause_process("reminder", &olga()).await.unwrap();
    gesta.resume_process("reminder", &olga()).await.unwrap();
    clock.advance(MONTH);
    drain(&gesta).await;
    gesta.close().await;
    let events = events_of(&store).await;
    for beginning in [
        "book-",
        "reader-",
        "process:reminder-",
        "processes:journal-",
        "reactors:journal-",
        "audit-operations",
        "tenants:store-owner",
    ] {
        let is_there = events.iter().any(|event| event.stream.as_str().starts_with(beginning));
        assert!(is_there, "{beginning}: {events:?}");
    }
    for event in events.iter().filter(|event| !event.stream.is_system()) {
        let metadata = EventMetadata::from_json(&event.metadata);
        assert_eq!(metadata.tenant, Some(tenant("acme")), "{event:?}");
        assert_eq!(metadata.custom.get::<String>("tenantId"), None);
    }
    let lent = events.iter().find(|event| event.stream.as_str() == "book-emma").unwrap();
    assert_eq!(EventMetadata::from_json(&lent.metadata).custom.get::<u32>("till"), Some(7));
}

#[tokio::test]
async fn a_store_belongs_to_the_tenant_that_opens_it_first() {
    let store = Arc::new(MemoryStore::new());
    let open = |id: &str| Gesta::on(store.clone()).tenant(tenant(id)).open();
    let acme = open("acme").await.unwrap();
    acme.execute(LendBook::new("emma", "ann")).await.unwrap();
    let head = store.head().await.unwrap().position;
    let error = open("globex").await.unwrap_err();
    let OpenError::Tenant(TenantError::OtherOwner { owner, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!(*owner, tenant("acme"));
    assert!(error.to_string().contains("belongs to tenant `acme`"), "{error}");
    open("acme").await.unwrap();
    assert_eq!(store.head().await.unwrap().position, head, "neither opening has appended");
}

#[tokio::test]
async fn of_two_tenants_that_claim_a_store_at_once_one_gets_it() {
    for _ in 0..20 {
        let store = Arc::new(MemoryStore::new());
        let open = |id: &str| Gesta::on(store.clone()).tenant(tenant(id)).open();
        let (acme, globex) = tokio::join!(open("acme"), open("globex"));
        assert_ne!(acme.is_ok(), globex.is_ok());
        assert_eq!(events_of(&store).await.len(), 1);
    }
}

#[tokio::test]
async fn a_record_of_the_owner_that_cannot_be_read_refuses_the_store() {
    let store = Arc::new(MemoryStore::new());
    let other = NewEvent::json(EventId::random(), EventType::new("note-written").unwrap(), "{}");
    let stream = StreamName::new("tenants:store-owner").unwrap();
    assert!(is_internal(&stream));
    store.append(Append::to(stream, ExpectedRevision::Any, [other])).await.unwrap();
    let opened = Gesta::on(store).tenant(tenant("acme")).open().await;
    assert!(matches!(opened, Err(OpenError::Tenant(TenantError::Unreadable))), "{opened:?}");
}

#[tokio::test]
async fn hooks_see_the_tenant_in_the_context_of_a_command() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    for id in [Some("acme"), None] {
        let seen = Arc::clone(&seen);
        let note = move |request: &CommandRequest| {
            seen.lock().unwrap().push(request.context.tenant.clone());
            Ok::<(), Unauthorized>(())
        };
        let builder = Gesta::at("memory:").authorize(note);
        let builder = match id {
            Some(id) => builder.tenant(tenant(id)),
            None => builder,
        };
        let gesta = builder.open().await.unwrap();
        gesta.execute(LendBook::new("emma", "ann")).await.unwrap();
    }
    assert_eq!(*seen.lock().unwrap(), [Some(tenant("acme")), None]);
}

#[tokio::test]
async fn an_inline_projection_of_a_tenant_joins_its_appends() {
    let (balances, read_models) = (Balances(Controls::free()), MemoryReadModels::new());
    let gesta = Gesta::at("memory:").tenant(tenant("acme"));
    let gesta = gesta.project_inline(balances, &read_models).open().await.unwrap();
    let receipt = deposit(&gesta, "1", 20).await;
    assert_eq!(gesta.reached::<Balances>(), Some(receipt.position), "no wait is needed");
}
