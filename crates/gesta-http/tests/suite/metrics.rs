//! Metrics over HTTP: each name, and the change of its value by what it counts.

pub(crate) mod faults;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::Duration,
};

use axum::{Router, body::to_bytes};
use gesta::{Gesta, PartStatus, Position, Role, Subject, audit::Operator, testing::drain};
use gesta_http::{Api, GestaState};
use tower::ServiceExt as _;

use self::faults::{Faults, Openings, STORED_BYTES, StrictOpenings};
use crate::{OpenDoor, api, asked};

/// The samples of a scrape, by name with labels.
pub(crate) struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    pub(crate) async fn text(router: &Router) -> String {
        let response = router.clone().oneshot(asked("GET", "/metrics")).await.unwrap();
        assert_eq!(response.status(), 200);
        let format = response.headers()["content-type"].to_str().unwrap();
        assert_eq!(format, "text/plain; version=0.0.4; charset=utf-8");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    async fn of(router: &Router) -> Self {
        let text = Self::text(router).await;
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self(samples.collect())
    }

    /// The value of a sample; `None` if it is absent.
    #[track_caller]
    fn get(&self, sample: &str) -> Option<f64> {
        self.0.get(sample).copied()
    }

    /// Names without labels and the suffixes of histograms.
    fn names(&self) -> BTreeSet<&str> {
        let name = |sample: &'_ String| sample.split('{').next().unwrap_or_default().len();
        let names = self.0.keys().map(|sample| &sample[..name(sample)]);
        let suffixes = ["_bucket", "_sum", "_count"];
        names
            .map(|name| suffixes.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name))
            .collect()
    }
}

struct Watched {
    gesta: Gesta,
    faults: Faults,
    router: Router,
}

impl Watched {
    async fn open() -> Self {
        let faults = Faults::default();
        let gesta = faults::open(&faults, Role::All).await;
        let router = api().router(GestaState::new(gesta.clone()));
        Self { gesta, faults, router }
    }

    /// Opens a door, and waits until all parts have handled it.
    async fn open_door(&self, door: u8) {
        self.gesta.execute(OpenDoor { door }).await.unwrap();
        drain(&self.gesta).await;
    }

    async fn scrape(&self) -> Scrape {
        Scrape::of(&self.router).await
    }
}

fn operator() -> Operator {
    Operator::new("ann")
}

#[tokio::test]
async fn a_command_is_counted_by_its_outcome_with_its_time_and_its_append() {
    let watched = Watched::open().await;
    assert_eq!(watched.scrape().await.get("gesta_append_seconds_count"), Some(0.0));
    watched.open_door(7).await;
    watched.faults.refuses_appends.store(true, Ordering::SeqCst);
    watched.gesta.execute(OpenDoor { door: 8 }).await.unwrap_err();
    let scrape = watched.scrape().await;
    let commands = |outcome: &str| {
        scrape.get(&format!("gesta_commands_total{{command=\"open-door\",outcome=\"{outcome}\"}}"))
    };
    assert_eq!((commands("executed"), commands("overloaded")), (Some(1.0), Some(1.0)));
    assert_eq!(commands("conflict"), None);
    assert_eq!(scrape.get("gesta_command_seconds_count{command=\"open-door\"}"), Some(2.0));
    assert_eq!(scrape.get("gesta_append_seconds_count"), Some(2.0));
    assert_eq!(scrape.get("gesta_events_appended_total"), Some(1.0));
    assert_eq!(scrape.get("gesta_store_bytes"), Some(STORED_BYTES as f64));
}

#[tokio::test]
async fn a_command_whose_caller_gives_up_is_counted_as_abandoned() {
    let watched = Watched::open().await;
    watched.faults.appends_slowly.store(true, Ordering::SeqCst);
    let command = watched.gesta.execute(OpenDoor { door: 7 });
    tokio::select! {
        biased;
        _ = command => panic!("the store is slow"),
        () = tokio::task::yield_now() => {}
    }
    let abandoned = "gesta_commands_total{command=\"open-door\",outcome=\"abandoned\"}";
    assert_eq!(watched.scrape().await.get(abandoned), Some(1.0));
}

#[tokio::test]
async fn conflicts_with_other_programs_and_further_attempts_are_counted() {
    let watched = Watched::open().await;
    watched.faults.has_intruder.store(true, Ordering::SeqCst);
    watched.gesta.execute(OpenDoor { door: 7 }).await.unwrap_err();
    let scrape = watched.scrape().await;
    let of = |name: &str| scrape.get(&format!("{name}{{command=\"open-door\"}}"));
    assert_eq!(of("gesta_conflicts_total"), Some(10.0));
    assert_eq!(of("gesta_conflict_retries_total"), Some(9.0));
}

#[tokio::test]
async fn dead_letters_of_each_component_are_shown_until_they_are_discarded() {
    let watched = Watched::open().await;
    let Watched { gesta, faults, .. } = &watched;
    for fault in [&faults.projections_fail, &faults.effects_fail, &faults.reactions_panic] {
        fault.store(true, Ordering::SeqCst);
    }
    watched.open_door(7).await;
    let letters = |scrape: &Scrape| {
        [("projection", "openings"), ("reactor", "bell"), ("process-manager", "porter")].map(
            |(component, name)| {
                let labels = format!("{{component=\"{component}\",name=\"{name}\"}}");
                scrape.get(&format!("gesta_dead_letters{labels}")).unwrap()
            },
        )
    };
    let scrape = watched.scrape().await;
    assert_eq!(letters(&scrape), [1.0, 1.0, 1.0]);
    let troubled = "gesta_process_instances{process=\"porter\",state=\"troubled\"}";
    assert_eq!(scrape.get(troubled), Some(1.0));
    let halted = "gesta_component_state{component=\"projection\",name=\"strict-openings\",\
                  state=\"halted\"}";
    assert_eq!(scrape.get(halted), Some(1.0));

    for (id, _) in gesta.dead_letters().await.unwrap() {
        gesta.discard_dead_letter(&id, &operator()).await.unwrap();
    }
    for letter in gesta.reactor_dead_letters("bell").await.unwrap() {
        gesta.discard_effect("bell", letter.id, &operator()).await.unwrap();
    }
    let instance = Subject::Instance("door-7".to_owned());
    gesta.process_set_aside("porter").await.unwrap();
    faults.reactions_panic.store(false, Ordering::SeqCst);
    gesta.retry_process("porter", &instance, &operator()).await.unwrap();
    let scrape = watched.scrape().await;
    assert_eq!(letters(&scrape), [0.0, 0.0, 0.0]);
    assert_eq!((scrape.get(troubled), scrape.get(halted)), (Some(0.0), None));
}

#[tokio::test]
async fn a_projection_that_is_behind_shows_its_lag_until_it_has_caught_up() {
    let watched = Watched::open().await;
    let Watched { gesta, faults, .. } = &watched;
    watched.open_door(1).await;
    faults.hold_projections(true);
    let receipt = gesta.execute(OpenDoor { door: 7 }).await.unwrap();
    faults.advance_clock(Duration::from_secs(600));
    let of = |scrape: &Scrape, name: &str| {
        scrape.get(&format!("{name}{{component=\"projection\",name=\"openings\"}}")).unwrap()
    };
    let scrape = watched.scrape().await;
    let lag = of(&scrape, "gesta_lag_seconds");
    assert!((600.0..700.0).contains(&lag), "{lag}");
    assert!(of(&scrape, "gesta_lag_events") >= 1.0);
    let head = scrape.get("gesta_store_position").unwrap();
    assert!(of(&scrape, "gesta_component_position") < head);

    faults.hold_projections(false);
    gesta.wait_for::<Openings>(&receipt).await.unwrap();
    gesta.wait_for::<StrictOpenings>(&receipt).await.unwrap();
    let scrape = watched.scrape().await;
    assert_eq!(of(&scrape, "gesta_lag_seconds"), 0.0);
    assert_eq!(of(&scrape, "gesta_lag_events"), 0.0);
}

#[tokio::test]
async fn a_part_of_the_application_shows_its_state_and_its_lag() {
    let watched = Watched::open().await;
    let Watched { gesta, faults, .. } = &watched;
    gesta.watch_part("printer", || PartStatus::default().in_trouble("out of paper"));
    gesta.watch_part("relay", || PartStatus::default().at(Position::START));
    watched.open_door(7).await;
    faults.advance_clock(Duration::from_secs(600));
    let of = |scrape: &Scrape, name: &str, labels: &str| {
        scrape.get(&format!("{name}{{component=\"part\",{labels}}}"))
    };

    let scrape = watched.scrape().await;
    let state = |labels: &str| of(&scrape, "gesta_component_state", labels);
    assert_eq!(state("name=\"printer\",state=\"in-trouble\""), Some(1.0));
    assert_eq!(state("name=\"relay\",state=\"running\""), Some(1.0));
    let lag = |name: &str| of(&scrape, "gesta_lag_seconds", &format!("name=\"{name}\""));
    assert_eq!(lag("printer"), None, "it does not follow the store");
    assert!((600.0..700.0).contains(&lag("relay").unwrap()), "{:?}", lag("relay"));

    let head = gesta.store().head().await.unwrap().position;
    gesta.watch_part("relay", move || PartStatus::default().at(head));
    let scrape = watched.scrape().await;
    assert_eq!(of(&scrape, "gesta_lag_seconds", "name=\"relay\""), Some(0.0));
}

#[tokio::test]
async fn a_timer_that_has_not_fired_in_time_is_overdue() {
    let watched = Watched::open().await;
    watched.open_door(7).await;
    let overdue = "gesta_timers_overdue{process=\"porter\"}";
    let pending = "gesta_process_timers{process=\"porter\"}";
    let scrape = watched.scrape().await;
    assert_eq!((scrape.get(pending), scrape.get(overdue)), (Some(1.0), Some(0.0)));
    watched.gesta.pause_process("porter", &operator()).await.unwrap();
    watched.faults.advance_clock(Duration::from_secs(64));
    assert_eq!(watched.scrape().await.get(overdue), Some(0.0), "4 s late is not overdue");
    watched.faults.advance_clock(Duration::from_secs(2));
    assert_eq!(watched.scrape().await.get(overdue), Some(1.0));
    watched.gesta.resume_process("porter", &operator()).await.unwrap();
    drain(&watched.gesta).await;
    let scrape = watched.scrape().await;
    assert_eq!((scrape.get(pending), scrape.get(overdue)), (Some(0.0), Some(0.0)));
}

#[tokio::test]
async fn requests_are_counted_by_the_pattern_of_their_route_and_their_status() {
    let watched = Watched::open().await;
    let ask = async |method: &str, path: &str| {
        watched.router.clone().oneshot(asked(method, path)).await.unwrap();
    };
    ask("POST", "/doors/1/open").await;
    ask("POST", "/doors/2/open").await;
    ask("GET", "/bug").await;
    ask("GET", "/no/such/path").await;
    ask("GET", "/doors/1/open").await;
    let mut foreign = asked("POST", "/doors/3/open");
    foreign.headers_mut().insert("origin", "https://elsewhere.example".parse().unwrap());
    foreign.headers_mut().insert("sec-fetch-site", "cross-site".parse().unwrap());
    watched.router.clone().oneshot(foreign).await.unwrap();
    let scrape = watched.scrape().await;
    let count = |method: &str, route: &str, status: &str| {
        let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
        scrape.get(&format!("gesta_http_requests_total{{{labels}}}"))
    };
    assert_eq!(count("POST", "/doors/{door}/open", "200"), Some(2.0));
    assert_eq!(count("POST", "/doors/{door}/open", "403"), Some(1.0), "refused by a rule");
    assert_eq!(count("GET", "/doors/{door}/open", "405"), Some(1.0));
    assert_eq!(count("GET", "/bug", "500"), Some(1.0), "a panic");
    assert_eq!(count("GET", "(none)", "404"), Some(1.0));
    let times = "gesta_http_request_seconds_count{method=\"POST\",route=\"/doors/{door}/open\"}";
    assert_eq!(scrape.get(times), Some(3.0));
    assert_eq!(scrape.get("gesta_http_requests_in_progress"), Some(1.0), "the scrape itself");
}

#[tokio::test]
async fn a_nested_router_counts_each_request_once_under_its_whole_pattern() {
    let faults = Faults::default();
    let state = GestaState::new(faults::open(&faults, Role::All).await);
    let rules = gesta_http::HttpRules::new(&state);
    let router = Router::new().nest("/house", api().nested(state)).layer(rules);
    let ask = asked("POST", "/house/doors/1/open");
    assert_eq!(router.clone().oneshot(ask).await.unwrap().status(), 200);
    let response = router.clone().oneshot(asked("GET", "/house/metrics")).await.unwrap();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let line = "gesta_http_requests_total{method=\"POST\",route=\"/house/doors/{door}/open\",\
                status=\"200\"} 1\n";
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains(line), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_holds_up_a_scrape_for_two_seconds_and_no_command() {
    let watched = Watched::open().await;
    watched.open_door(7).await;
    watched.faults.is_silent.store(true, Ordering::SeqCst);
    let begun = tokio::time::Instant::now();
    let scrapes = async { tokio::join!(watched.scrape(), watched.scrape()) };
    let commands = async {
        for door in 0..100 {
            watched.gesta.execute(OpenDoor { door }).await.unwrap();
        }
        begun.elapsed()
    };
    let ((scrape, other), commands) = tokio::join!(scrapes, commands);
    assert_eq!(commands, Duration::ZERO, "commands do not wait for scrapes");
    assert!(begun.elapsed() <= Duration::from_millis(2_100), "{:?}", begun.elapsed());
    for scrape in [scrape, other] {
        assert_eq!(scrape.get("gesta_store_up"), Some(0.0));
        assert_eq!(scrape.get("gesta_store_position"), None);
        let commands = "gesta_commands_total{command=\"open-door\",outcome=\"executed\"}";
        assert!(scrape.get(commands).is_some(), "what is known is told");
    }
}

#[tokio::test]
async fn a_node_that_does_not_run_a_component_reports_its_state_alone() {
    let gesta = faults::open(&Faults::default(), Role::Commands).await;
    let router = api().router(GestaState::new(gesta));
    let labels = "component=\"projection\",name=\"openings\"";
    let waiting = format!("gesta_component_state{{{labels},state=\"waiting\"}}");
    let scrape = loop {
        let scrape = Scrape::of(&router).await;
        if scrape.get(&waiting).is_some() {
            break scrape;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(scrape.get(&format!("gesta_dead_letters{{{labels}}}")), None);
    assert_eq!(scrape.get(&format!("gesta_lag_seconds{{{labels}}}")), None);
}

#[tokio::test]
async fn metrics_are_among_the_routes_of_operators() {
    let gesta = Gesta::at("memory:").open().await.unwrap();
    let router = Api::new("Doors", "1.0").router(GestaState::new(gesta));
    let response = router.oneshot(asked("GET", "/metrics")).await.unwrap();
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn each_metric_of_the_guide_has_a_sample() {
    const GUIDE: &str = include_str!("../../../../docs/guide/metrics.md");
    let watched = Watched::open().await;
    watched.open_door(7).await;
    watched.scrape().await;
    let scrape = watched.scrape().await;
    let rows = GUIDE.lines().filter_map(|line| line.strip_prefix("| `gesta_"));
    let documented: BTreeSet<String> =
        rows.map(|row| format!("gesta_{}", row.split('`').next().unwrap())).collect();
    assert!(documented.len() > 20, "{documented:?}");
    let mut found: BTreeSet<String> = scrape.names().into_iter().map(str::to_owned).collect();
    // Needs a cache of queries, which this application does not have.
    found.insert("gesta_query_cache_queries_total".to_owned());
    assert_eq!(found, documented);
}
