//! A real Prometheus scrapes an application, evaluates the alerts of `ops/`, and answers the
//! queries of the dashboard.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    process::{Command, Stdio},
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use axum::{Router, extract::Request};
use gesta::{Gesta, PartStatus, Role, Subject, audit::Operator, testing::drain};
use gesta_http::GestaState;
use gesta_services::OwnServer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tower::ServiceExt as _;

use crate::{
    OpenDoor, api, asked,
    metrics::{
        Scrape,
        faults::{self, Faults},
    },
};

const ALERTS: &str = include_str!("../../../../ops/prometheus/alerts.yaml");
const DASHBOARD: &str = include_str!("../../../../ops/grafana/dashboard.json");

/// Maximum time until an alert has fired, or has ended.
const ALERT_MAX: Duration = Duration::from_secs(60);

/// Pause between two looks at Prometheus.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The alerts with short times, in which everything else is as operators have it.
fn quick_alerts() -> String {
    let quick = ["for: 10m", "for: 5m", "for: 1m"];
    let quick = quick.iter().fold(ALERTS.to_owned(), |text, long| text.replace(long, "for: 400ms"));
    let quick = quick.replace("[5m]", "[5s]");
    assert!(!quick.contains("5m") && !quick.contains("1m"), "each time is shortened:\n{quick}");
    quick
}

/// An application under a real Prometheus.
struct Stage {
    gesta: Gesta,
    faults: Faults,
    router: Router,
    /// The router that answers at the address.
    serving: Arc<Mutex<Router>>,
    prometheus: OwnServer,
    rules: TempDir,
}

impl Stage {
    /// Starts both, or says why the test is skipped. Returns when Prometheus has scraped a few
    /// times.
    async fn open_or_skip() -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("target={}", listener.local_addr().unwrap());
        let rules = tempfile::tempdir().unwrap();
        let file = rules.path().join("alerts.yaml");
        fs::write(&file, quick_alerts()).unwrap();
        let settings = [target, format!("rules={}", file.display())];
        let start =
            move || OwnServer::with_or_skip("prometheus", &settings.each_ref().map(String::as_str));
        let prometheus = tokio::task::spawn_blocking(start).await.unwrap()?;

        let faults = Faults::default();
        let gesta = faults::open(&faults, Role::All).await;
        let router = api().router(GestaState::new(gesta.clone()));
        let serving = Arc::new(Mutex::new(router.clone()));
        let current = Arc::clone(&serving);
        let app = Router::new().fallback(async move |request: Request| {
            let router = current.lock().unwrap().clone();
            router.oneshot(request).await
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        let stage = Self { gesta, faults, router, serving, prometheus, rules };
        // A failed scrape before the application was there is not counted.
        stage.until_has_results("count_over_time(gesta_store_up[1m]) > 10").await;
        Some(stage)
    }

    /// Opens a door, whatever becomes of it.
    async fn open_door(&self) {
        let _ = self.gesta.execute(OpenDoor { door: 1 }).await;
    }

    async fn ask(&self, path: &str) -> Value {
        let base = self.prometheus.url();
        let address = base.strip_prefix("http://").unwrap();
        let mut connection = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    /// The results of a query at this moment.
    async fn query(&self, query: &str) -> Vec<Value> {
        let mut path = "/api/v1/query?query=".to_owned();
        path.extend(form_urlencoded::byte_serialize(query.as_bytes()));
        let answer = self.ask(&path).await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }

    async fn until_has_results(&self, query: &str) {
        let begun = Instant::now();
        while self.query(query).await.is_empty() {
            assert!(begun.elapsed() < ALERT_MAX, "{query} has no results");
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// The names of the alerts that fire at this moment.
    async fn firing(&self) -> BTreeSet<String> {
        let answer = self.ask("/api/v1/alerts").await;
        let alerts = answer["data"]["alerts"].as_array().unwrap().clone();
        let firing = alerts.into_iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect()
    }

    /// Repeats the fault until each of these alerts fires, mends it, and waits until none of them
    /// does.
    async fn fires(
        &self,
        alerts: &[&str],
        mut repeat: impl AsyncFnMut(),
        mend: impl AsyncFnOnce(),
    ) -> Vec<String> {
        let mut begun = Instant::now();
        loop {
            repeat().await;
            let firing = self.firing().await;
            if alerts.iter().all(|alert| firing.contains(*alert)) {
                break;
            }
            assert!(begun.elapsed() < ALERT_MAX, "{alerts:?} do not fire, but {firing:?}");
            sleep(LOOK_INTERVAL).await;
        }
        mend().await;
        begun = Instant::now();
        loop {
            let firing = self.firing().await;
            if !alerts.iter().any(|alert| firing.contains(*alert)) {
                return alerts.iter().map(|alert| (*alert).to_owned()).collect();
            }
            assert!(begun.elapsed() < ALERT_MAX, "of {alerts:?}, {firing:?} do not end");
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// As [`fires`](Self::fires), for a switch that makes commands fail or take long.
    async fn fires_under_commands(
        &self,
        alerts: &[&str],
        switch: &std::sync::atomic::AtomicBool,
    ) -> Vec<String> {
        switch.store(true, Ordering::SeqCst);
        let mend = async || switch.store(false, Ordering::SeqCst);
        self.fires(alerts, async || self.open_door().await, mend).await
    }
}

fn operator() -> Operator {
    Operator::new("ann")
}

async fn nothing() {}

/// Makes the faults of the process itself and of its commands. Returns the alerts that have fired.
async fn faults_of_requests(stage: &Stage) -> Vec<String> {
    let Stage { faults, router, serving, .. } = stage;
    let serve = |router: Router| *serving.lock().unwrap() = router;
    let mut fired = Vec::new();

    serve(Router::new());
    let back = async || serve(router.clone());
    fired.extend(stage.fires(&["GestaDown"], nothing, back).await);

    let api = api().router(GestaState::new(faults::open(faults, Role::Commands).await));
    serve(api);
    let back = async || serve(router.clone());
    fired.extend(stage.fires(&["GestaComponentNotRunning"], nothing, back).await);

    let bug = async || {
        router.clone().oneshot(asked("GET", "/bug")).await.unwrap();
    };
    fired.extend(stage.fires(&["GestaHttpErrors"], bug, nothing).await);

    faults.is_headless.store(true, Ordering::SeqCst);
    let mend = async || faults.is_headless.store(false, Ordering::SeqCst);
    fired.extend(stage.fires(&["GestaStoreUnanswered"], nothing, mend).await);

    let failing = stage.fires_under_commands(&["GestaCommandsFailing"], &faults.refuses_appends);
    fired.extend(failing.await);
    let conflicts = stage.fires_under_commands(&["GestaConflicts"], &faults.has_intruder);
    fired.extend(conflicts.await);
    let slow = ["GestaAppendsSlow", "GestaCommandsSlow"];
    fired.extend(stage.fires_under_commands(&slow, &faults.appends_slowly).await);
    fired
}

/// Makes the faults of components. Returns the alerts that have fired.
async fn faults_of_components(stage: &Stage) -> Vec<String> {
    let Stage { gesta, faults, .. } = stage;
    let mut fired = Vec::new();

    drain(gesta).await;
    faults.hold_projections(true);
    stage.open_door().await;
    faults.advance_clock(Duration::from_secs(600));
    let mend = async || faults.hold_projections(false);
    fired.extend(stage.fires(&["GestaLagging"], nothing, mend).await);

    // The first event wakes the process manager, whose timers are due: one ends the instance. The
    // second event begins another one, with a timer ahead.
    for _ in 0..2 {
        stage.open_door().await;
        drain(gesta).await;
    }
    gesta.pause_process("porter", &operator()).await.unwrap();
    faults.advance_clock(Duration::from_secs(600));
    let paused = ["GestaComponentStopped", "GestaTimersOverdue"];
    let mend = async || gesta.resume_process("porter", &operator()).await.unwrap();
    fired.extend(stage.fires(&paused, nothing, mend).await);

    faults.effects_are_refused.store(true, Ordering::SeqCst);
    stage.open_door().await;
    let mend = async || faults.effects_are_refused.store(false, Ordering::SeqCst);
    fired.extend(stage.fires(&["GestaComponentRetrying"], nothing, mend).await);
    gesta.watch_part("relay", || PartStatus::default().in_trouble("no broker answers"));
    let mend = async || gesta.watch_part("relay", PartStatus::default);
    fired.extend(stage.fires(&["GestaComponentRetrying"], nothing, mend).await);

    faults.reactions_panic.store(true, Ordering::SeqCst);
    stage.open_door().await;
    let mend = async || {
        faults.reactions_panic.store(false, Ordering::SeqCst);
        let instance = Subject::Instance("door-1".to_owned());
        gesta.retry_process("porter", &instance, &operator()).await.unwrap();
    };
    fired.extend(stage.fires(&["GestaInstancesTroubled"], nothing, mend).await);

    faults.projections_fail.store(true, Ordering::SeqCst);
    stage.open_door().await;
    let mend = async || {
        faults.projections_fail.store(false, Ordering::SeqCst);
        for (letter, _) in gesta.dead_letters().await.unwrap() {
            gesta.retry_dead_letter(&letter, &operator()).await.unwrap();
        }
    };
    fired.extend(stage.fires(&["GestaDeadLetters"], nothing, mend).await);
    fired
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alert_fires_when_its_fault_is_made_and_ends_after_it() {
    let Some(stage) = Stage::open_or_skip().await else { return };
    assert_eq!(stage.firing().await, BTreeSet::new(), "before any fault");
    let mut fired: BTreeSet<String> = faults_of_requests(&stage).await.into_iter().collect();
    fired.extend(faults_of_components(&stage).await);
    let alerts = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    assert_eq!(fired, alerts.map(str::to_owned).collect());
    // Other alerts that a fault has fired have ended as well.
    let begun = Instant::now();
    while !stage.firing().await.is_empty() {
        assert!(begun.elapsed() < ALERT_MAX, "{:?} do not end", stage.firing().await);
        sleep(LOOK_INTERVAL).await;
    }
}

/// The queries of a dashboard's panels, with their titles.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap();
    let of_panel = |panel: &Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| {
            let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "5s");
            (title.clone(), query.replace("$job", ".*").replace("$instance", ".*"))
        })
    };
    panels.iter().flat_map(of_panel).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_query_of_the_dashboard_has_a_number() {
    let Some(stage) = Stage::open_or_skip().await else { return };
    let queries = queries(&serde_json::from_str(DASHBOARD).unwrap());
    assert!(queries.len() > 25, "{} queries", queries.len());
    for (title, query) in queries {
        assert!(!query.contains('$'), "{title}: {query}");
        let begun = Instant::now();
        loop {
            stage.open_door().await;
            let results = stage.query(&query).await;
            let is_number =
                |result: &Value| result["value"][1].as_str().is_some_and(|it| it != "NaN");
            if results.iter().any(is_number) {
                break;
            }
            assert!(begun.elapsed() < ALERT_MAX, "{title}: {query} has {results:?}");
            sleep(LOOK_INTERVAL).await;
        }
    }
}

/// Gives a text to `promtool`, and returns what it finds.
fn promtool(arguments: &[&str], text: &str) -> (bool, String) {
    let mut promtool = Command::new("promtool");
    promtool.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = promtool.spawn().unwrap();
    running.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_has_no_objection_to_the_alerts_and_the_metrics() {
    let Some(stage) = Stage::open_or_skip().await else { return };
    let rules = stage.rules.path().join("originals.yaml");
    fs::write(&rules, ALERTS).unwrap();
    let (is_right, said) = promtool(&["check", "rules", rules.to_str().unwrap()], "");
    assert!(is_right, "{said}");
    stage.open_door().await;
    let text = Scrape::text(&stage.router).await;
    let (is_right, said) = promtool(&["check", "metrics"], &text);
    assert!(is_right && said.is_empty(), "{said}");
}
