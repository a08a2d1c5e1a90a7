//! The code of `docs/guide/snapshots.md`.

use gesta::{
    SnapshotPolicy,
    prelude::*,
    sqlite::Sqlite,
    store::SnapshotStore as _,
    stream_of,
    testing::{assert_snapshots_equal_replays, assert_snapshots_hold},
};

#[derive(Event, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[event(name = "metered")]
struct Metered {
    kilowatt_hours: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Meter {
    kilowatt_hours: u64,
}

#[derive(EventSet, Clone, Debug, PartialEq)]
enum MeterEvent {
    Metered(Metered),
}

impl Aggregate for Meter {
    const CATEGORY: &'static str = "meter";
    type Id = u32;
    type Event = MeterEvent;

    fn evolve(&mut self, event: &MeterEvent) {
        let MeterEvent::Metered(metered) = event;
        self.kilowatt_hours += metered.kilowatt_hours;
    }
}

#[derive(Command, Serialize, Deserialize)]
#[command(name = "read-meter", on = Meter, either)]
struct ReadMeter {
    #[command(id)]
    meter: u32,
    kilowatt_hours: u64,
}

impl Decide for ReadMeter {
    type Rejection = std::convert::Infallible;

    fn decide(&self, _: &Meter) -> Decision<Self> {
        Ok(Metered { kilowatt_hours: self.kilowatt_hours }.into())
    }
}

#[test]
fn a_snapshot_omits_nothing() {
    let readings = [3, 5, 8].map(|kilowatt_hours| Metered { kilowatt_hours }.into());
    assert_snapshots_equal_replays::<Meter>(readings);
}

#[tokio::test]
async fn snapshots_hold() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let snapshots = Sqlite::open(directory.path()).await?;
    let policy = SnapshotPolicy::every(100).fold_version(1);
    let gesta = Gesta::at("memory:").snapshots::<Meter>(&snapshots, policy).open().await?;
    for kilowatt_hours in 0..250 {
        gesta.execute(ReadMeter { meter: 1, kilowatt_hours }).await?;
    }
    assert_snapshots_hold(&gesta).await;
    let snapshot = snapshots.load_snapshot(&stream_of::<Meter>(&1)?).await?;
    assert!(snapshot.is_some(), "a snapshot was taken");
    Ok(())
}
