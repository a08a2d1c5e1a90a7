//! Pauses of reactors and process managers by operators.

use gesta::{
    Begin, EffectContext, EffectError, Gesta, Reactor, Routing,
    audit::{self, AuditEvent, OperationOrdered},
    prelude::*,
    store::{ReadStream, RecordedAt},
};
use gesta_http::GestaState;
use serde_json::json;

use crate::{DoorEvent, OpenDoor, api, asked, send};

struct Bell;

impl Reactor for Bell {
    const NAME: &'static str = "bell";
    type Event = DoorEvent;

    async fn react(&self, _: &Recorded<DoorEvent>, _: &EffectContext) -> Result<(), EffectError> {
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Porter;

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Evening;

impl ProcessManager for Porter {
    const NAME: &'static str = "porter";
    type Event = DoorEvent;
    type Timer = Evening;
    type Commands = (OpenDoor,);

    fn route(event: &Recorded<DoorEvent>) -> Routing {
        Routing::start(&event.stream)
    }

    fn evolve(&mut self, _: &Input<Self>) {}

    fn react(&self, _: &Input<Self>, _: RecordedAt) -> Effects<Self> {
        Effects::none()
    }
}

#[tokio::test]
async fn an_operator_pauses_and_resumes_reactors_and_process_managers() {
    let gesta = Gesta::at("memory:").react(Bell, Begin::Now).process::<Porter>();
    let gesta = gesta.open().await.unwrap();
    let router = api().router(GestaState::new(gesta.clone()));
    for (verb, state) in [("pause", "paused"), ("resume", "running")] {
        for part in ["reactors/bell", "processes/porter"] {
            let order = asked("POST", &format!("/v1/{part}/{verb}?reason=moving"));
            assert_eq!(send(router.clone(), order).await.0, 204, "{verb} {part}");
            let (_, _, shown) = send(router.clone(), asked("GET", &format!("/v1/{part}"))).await;
            assert_eq!(shown["state"], state, "{part}");
        }
    }
    let read = ReadStream::forwards(audit::stream());
    let events = gesta.store().read_stream(read).collect_events().await.unwrap();
    let mut audited = Vec::new();
    for event in &events {
        let recorded = Recorded::<AuditEvent>::read(event).unwrap();
        assert_eq!(recorded.metadata.actor.as_deref(), Some("anonymous"));
        if let AuditEvent::Ordered(OperationOrdered { operation, target, reason, .. }) =
            recorded.event
        {
            audited.push(format!("{operation} {target}: {}", reason.unwrap_or_default()));
        }
    }
    let expected = [
        "pause-reactor bell: moving",
        "pause-process porter: moving",
        "resume-reactor bell: moving",
        "resume-process porter: moving",
    ];
    assert_eq!(audited, expected);
}

#[tokio::test]
async fn an_unknown_reactor_or_process_manager_is_not_paused() {
    let router = api().router(crate::state().await);
    for (path, detail) in [
        ("/v1/reactors/bell/pause", "reactor bell is not registered"),
        ("/v1/reactors/bell/resume", "reactor bell is not registered"),
        ("/v1/processes/porter/pause", "process manager porter is not registered"),
        ("/v1/processes/porter/resume", "process manager porter is not registered"),
    ] {
        let (status, _, problem) = send(router.clone(), asked("POST", path)).await;
        assert_eq!((status, &problem["detail"]), (404, &json!(detail)), "{path}");
    }
}
