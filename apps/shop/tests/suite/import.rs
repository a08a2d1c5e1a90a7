//! The import: repeated, interrupted, killed, with invalid rows, and of the whole table.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use gesta::Gesta;
use gesta_log::{LogStore, Options};
use serde_json::Value;
use shop::{
    import::{self, Documents, ImportSummary},
    orders::sales::MakeReport,
    read_side,
};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::oneshot};

use crate::opened;

const SAMPLE: &[u8] = include_bytes!("../../data/sample.csv");
const SAMPLE_REPORT: &[u8] = include_bytes!("../../data/sample-report.json");

/// Maximum wait for read models.
const PATIENCE: Duration = Duration::from_secs(60);

fn expected() -> Value {
    serde_json::from_slice(SAMPLE_REPORT).unwrap()
}

async fn import(shop: &Gesta, table: &[u8]) -> ImportSummary {
    let imported = import::run(shop, Documents::read(table).unwrap(), || {}).await.unwrap();
    read_side::caught_up(shop, imported.position, PATIENCE).await.unwrap();
    imported
}

async fn report(shop: &Gesta) -> Value {
    let head = shop.store().head().await.unwrap().position;
    let report = shop.ask(MakeReport).at_least_position(head).within(PATIENCE).await.unwrap();
    serde_json::to_value(report).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_is_reported_as_another_program_counted_it_also_when_it_comes_twice() {
    let directory = TempDir::new().unwrap();
    let shop = opened::in_directory(directory.path()).await;

    let first = import(&shop, SAMPLE).await;
    assert_eq!((first.known, first.rejected.as_slice()), (0, [].as_slice()));
    assert_eq!(report(&shop).await, expected());

    let second = import(&shop, SAMPLE).await;
    assert_eq!((second.new, second.known, second.position), (0, first.new, first.position));
    assert_eq!(report(&shop).await, expected());
}

#[test]
fn an_import_that_is_cut_short_goes_on_in_a_shop_that_is_opened_again() {
    let directory = TempDir::new().unwrap();
    for steps in [1, 40, 400, 900] {
        // Dropping the runtime also drops all tasks of the import.
        Runtime::new().unwrap().block_on(async {
            cut_short_after(steps, &opened::in_directory(directory.path()).await).await;
        });
    }
    Runtime::new().unwrap().block_on(async {
        let shop = opened::in_directory(directory.path()).await;
        let rest = import(&shop, SAMPLE).await;
        assert!(rest.known > 0 && rest.new > 0, "it was cut in the middle: {rest:?}");
        assert_eq!(report(&shop).await, expected());
    });
}

/// Drops the import with all commands in flight.
async fn cut_short_after(steps: usize, shop: &Gesta) {
    let (cut, now) = oneshot::channel();
    let left = std::sync::Mutex::new((steps, Some(cut)));
    let step = move || {
        let mut left = left.lock().unwrap();
        left.0 = left.0.saturating_sub(1);
        if left.0 == 0
            && let Some(cut) = left.1.take()
        {
            let _ = cut.send(());
        }
    };
    tokio::select! {
        _ = import::run(shop, Documents::read(SAMPLE).unwrap(), step) => {}
        _ = now => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_another_table_knows_otherwise_stays_as_it_is() {
    let header =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";
    let one = format!("{header}\n1,mug,Mug,1,2011-01-04T10:00:00Z,2,,France\n");
    let other = format!("{header}\n2,mug,Red mug,1,2011-01-05T10:00:00Z,3,,France\n");
    let shop = opened::in_memory().await;
    import(&shop, one.as_bytes()).await;
    let imported = import(&shop, other.as_bytes()).await;
    assert_eq!((imported.new, imported.known, imported.rejected.len()), (3, 1, 0));
    assert_eq!(report(&shop).await["gross_revenue"], "5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_comes_again_with_other_rows_is_refused_with_its_line() {
    let header =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";
    let one = format!("{header}\n1,mug,Mug,1,2011-01-04T10:00:00Z,2,,France\n");
    let other = format!("{header}\n1,mug,Mug,2,2011-01-04T10:00:00Z,2,,France\n");
    let shop = opened::in_memory().await;
    import(&shop, one.as_bytes()).await;
    let imported = import(&shop, other.as_bytes()).await;
    let rejected: Vec<_> = imported.rejected.iter().map(ToString::to_string).collect();
    assert_eq!(rejected.len(), 1);
    assert!(rejected[0].starts_with("line 2: document 1: "), "{rejected:?}");
    assert_eq!(report(&shop).await["gross_revenue"], "2");
}

/// Returns a command of the shop's binary on a store.
fn program(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    let store = format!("gesta:{}", directory.display());
    command.args(arguments).args(["--store", &store]).stdin(Stdio::null());
    command
}

#[test]
fn killed_at_any_moment_an_import_goes_on_and_the_report_is_the_same() {
    let directory = TempDir::new().unwrap();
    let mut table = tempfile::NamedTempFile::new().unwrap();
    table.write_all(SAMPLE).unwrap();
    let table = table.path().to_str().unwrap();
    let all = expected_events();
    let mut between = 0;
    for part in 1..=4 {
        let events = kill_after(all * part / 5, directory.path(), table);
        between += u32::from(events > 0 && events < all);
    }
    assert!(between >= 1, "{between} of 4 kills came between the first and the last event");

    let outcome = program(directory.path(), &["import", table]).output().unwrap();
    assert!(outcome.status.success(), "{outcome:?}");
    let outcome = program(directory.path(), &["report", "--json"]).output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&outcome.stdout).unwrap(), expected());
}

/// Three events per order, one per other document.
fn expected_events() -> u64 {
    let report = expected();
    let count = |key: &str| report[key].as_u64().unwrap();
    3 * count("orders") + count("credit_notes") + count("stock_adjustments") + count("products")
}

/// Kills the program (SIGKILL) once the log has `n` events; returns their number then.
fn kill_after(events: u64, directory: &Path, table: &str) -> u64 {
    let mut import = program(directory, &["import", table])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while import.try_wait().unwrap().is_none() && events_in(directory) < events {
        std::thread::yield_now();
    }
    import.kill().unwrap();
    import.wait().unwrap();
    events_in(directory)
}

fn events_in(directory: &Path) -> u64 {
    LogStore::open(directory, Options::read_only()).map_or(0, |store| store.report().events)
}

/// The full table of the sample, in a directory next to the repository.
fn whole_table() -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let beside = fs::read_dir(repository.parent()?).ok()?;
    let mut tables =
        beside.flatten().map(|entry| entry.path().join("data").join("online-retail.csv"));
    tables.find(|table| table.is_file())
}

#[expect(clippy::print_stdout, reason = "what was not tested is said aloud")]
#[tokio::test(flavor = "multi_thread")]
async fn the_whole_table_is_reported_as_expected() {
    let Some(table) = whole_table() else {
        println!("skipped: no data/online-retail.csv in a directory beside the repository");
        return;
    };
    let expected = fs::read(table.with_file_name("expected-report.json")).unwrap();
    let directory = TempDir::new().unwrap();
    let shop = opened::in_directory(directory.path()).await;
    let imported = import(&shop, &fs::read(table).unwrap()).await;
    assert_eq!(imported.rejected, []);
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    assert_eq!(report(&shop).await, expected);
}
