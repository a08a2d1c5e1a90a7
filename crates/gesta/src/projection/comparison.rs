//! The comparison of two builds of a read model by their rows.
//!
//! Owns: [`Comparison`], and the walks over the rows of both builds. The first walk adds the hashes
//! of the rows of each table in buckets, whatever their order. If buckets differ, a second walk
//! keeps the rows of some of them, and finds those that only one build has.
//!
//! Invariant: memory is bounded by the number of tables, not by that of rows. Not here: the moment
//! at which both builds reflect the same events (`both_builds`).

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
    sync::{Arc, Mutex},
};

use gesta_store::{DatabaseError, Position, ReadModelStore, VisitRows};

/// Number of buckets of a table.
const BUCKETS: usize = 4_096;
/// Number of rows of differing buckets that the second walk keeps, of both builds together.
const KEPT_ROWS_MAX: u64 = 5_000;
/// Number of rows of a table that are shown for each build.
const SHOWN_ROWS_MAX: usize = 20;
/// Maximum length of a row that is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 4_096;

/// Comparison of the rows that a rebuild has written with the live ones, which reflect the same
/// events.
///
/// ```
/// use gesta::{Comparison, TableComparison};
///
/// let mut compared = Comparison::default();
/// assert!(compared.is_equal(), "no table differs");
/// compared.tables.push(TableComparison::default());
/// assert!(!compared.is_equal());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Comparison {
    /// Number of the live build.
    pub live: u64,
    /// Number of the rebuild.
    pub rebuilt: u64,
    /// Position up to which both reflect all events.
    pub position: Position,
    /// The tables of both, by name.
    pub tables: Vec<TableComparison>,
}

impl Comparison {
    /// Returns `true` if both builds have the same rows.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.tables.iter().all(|table| table.is_equal)
    }
}

/// Comparison of a table.
///
/// ```
/// use gesta::TableComparison;
///
/// let mut orders = TableComparison::default();
/// (orders.live_rows, orders.rebuilt_rows) = (2, 3);
/// assert!(!orders.is_equal);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableComparison {
    /// Name of the table.
    pub table: String,
    /// Number of live rows.
    pub live_rows: u64,
    /// Number of rebuilt rows.
    pub rebuilt_rows: u64,
    /// True if both builds have the same rows.
    pub is_equal: bool,
    /// Rows that only the live build has, as texts of JSON, by text: up to 20, cut after 4 KiB.
    pub only_live: Vec<String>,
    /// Rows that only the rebuild has, in the same form.
    pub only_rebuilt: Vec<String>,
    /// There are, or may be, more of either kind.
    pub has_more: bool,
}

/// Readers of both builds, which reflect the same events.
#[derive(Debug)]
pub(crate) struct BothBuilds {
    /// Number of the live build, and its reader.
    pub(crate) live: (u64, Box<dyn Any + Send>),
    /// The same of the rebuild.
    pub(crate) rebuilt: (u64, Box<dyn Any + Send>),
    /// Position up to which both reflect all events.
    pub(crate) position: Position,
}

/// The place where a projection leaves the readers for the caller.
pub(crate) type BothBuildsSlot = Arc<Mutex<Option<BothBuilds>>>;

/// Compares the tables of two builds.
pub(super) async fn compare<S: ReadModelStore>(
    mut live: S::Reader,
    mut rebuilt: S::Reader,
) -> Result<Vec<TableComparison>, DatabaseError> {
    // At the same time: a database may end a reader that does nothing.
    let (live_sums, rebuilt_sums) = tokio::try_join!(
        S::visit_rows(&mut live, TableSums::default()),
        S::visit_rows(&mut rebuilt, TableSums::default()),
    )?;
    let names: BTreeSet<&String> = live_sums.0.keys().chain(rebuilt_sums.0.keys()).collect();
    let (mut compared, mut wanted) = (Vec::new(), BTreeMap::new());
    for name in names {
        let sums = [live_sums.of(name), rebuilt_sums.of(name)];
        let (mut table, buckets) = compare_sums(name, sums);
        table.has_more = buckets.are_some_only;
        if !table.is_equal {
            wanted.insert(name.clone(), buckets.chosen);
        }
        compared.push(table);
    }
    if wanted.is_empty() {
        return Ok(compared);
    }
    let wanted = Arc::new(wanted);
    let (mut live_rows, mut rebuilt_rows) = tokio::try_join!(
        S::visit_rows(&mut live, KeptRows::of(&wanted)),
        S::visit_rows(&mut rebuilt, KeptRows::of(&wanted)),
    )?;
    for table in &mut compared {
        let (live, rebuilt) = (live_rows.take(&table.table), rebuilt_rows.take(&table.table));
        let (only_live, only_rebuilt) = (missing_in(&live, &rebuilt), missing_in(&rebuilt, &live));
        table.has_more |= only_live.len().max(only_rebuilt.len()) > SHOWN_ROWS_MAX;
        table.only_live = only_live.into_iter().take(SHOWN_ROWS_MAX).collect();
        table.only_rebuilt = only_rebuilt.into_iter().take(SHOWN_ROWS_MAX).collect();
    }
    Ok(compared)
}

/// The rows of a bucket: their number and the sum of their hashes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct BucketSum {
    rows: u64,
    hashes: u128,
}

/// The buckets of each table.
#[derive(Default)]
struct TableSums(BTreeMap<String, Vec<BucketSum>>);

impl TableSums {
    /// Returns the buckets of a table. None if it has no rows.
    fn of(&self, table: &str) -> &[BucketSum] {
        self.0.get(table).map_or(&[], Vec::as_slice)
    }
}

impl VisitRows for TableSums {
    fn visit(&mut self, table: &str, row: &str) {
        if !self.0.contains_key(table) {
            self.0.insert(table.to_owned(), vec![BucketSum::default(); BUCKETS]);
        }
        let hash = hash_of(row);
        let bucket = self.0.get_mut(table).and_then(|buckets| buckets.get_mut(bucket_of(hash)));
        if let Some(sum) = bucket {
            sum.rows += 1;
            sum.hashes = sum.hashes.wrapping_add(hash);
        }
    }
}

fn hash_of(row: &str) -> u128 {
    let hash = blake3::hash(row.as_bytes());
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    u128::from_le_bytes(*first)
}

fn bucket_of(hash: u128) -> usize {
    (hash % BUCKETS as u128) as usize
}

/// The differing buckets of which the second walk keeps the rows.
struct DifferingBuckets {
    chosen: BTreeSet<usize>,
    are_some_only: bool,
}

fn compare_sums(
    table: &str,
    [live, rebuilt]: [&[BucketSum]; 2],
) -> (TableComparison, DifferingBuckets) {
    let sum = |sums: &[BucketSum], bucket| sums.get(bucket).copied().unwrap_or_default();
    let mut differing = DifferingBuckets { chosen: BTreeSet::new(), are_some_only: false };
    let (mut is_equal, mut kept) = (true, 0);
    for bucket in 0..BUCKETS {
        let (live, rebuilt) = (sum(live, bucket), sum(rebuilt, bucket));
        if live == rebuilt {
            continue;
        }
        is_equal = false;
        kept += live.rows + rebuilt.rows;
        match kept <= KEPT_ROWS_MAX || differing.chosen.is_empty() {
            true => differing.chosen.extend([bucket]),
            false => differing.are_some_only = true,
        }
    }
    let rows = |sums: &[BucketSum]| sums.iter().map(|sum| sum.rows).sum();
    let compared = TableComparison {
        table: table.to_owned(),
        live_rows: rows(live),
        rebuilt_rows: rows(rebuilt),
        is_equal,
        only_live: Vec::new(),
        only_rebuilt: Vec::new(),
        has_more: false,
    };
    (compared, differing)
}

/// The rows of some buckets of some tables, by hash, with their number and their text.
struct KeptRows {
    wanted: Arc<BTreeMap<String, BTreeSet<usize>>>,
    tables: BTreeMap<String, RowsByHash>,
}

type RowsByHash = HashMap<u128, (u64, String)>;

impl KeptRows {
    fn of(wanted: &Arc<BTreeMap<String, BTreeSet<usize>>>) -> Self {
        Self { wanted: Arc::clone(wanted), tables: BTreeMap::new() }
    }

    fn take(&mut self, table: &str) -> RowsByHash {
        self.tables.get_mut(table).map(mem::take).unwrap_or_default()
    }
}

impl VisitRows for KeptRows {
    fn visit(&mut self, table: &str, row: &str) {
        let Some(buckets) = self.wanted.get(table) else { return };
        let hash = hash_of(row);
        if !buckets.contains(&bucket_of(hash)) {
            return;
        }
        let rows = self.tables.entry(table.to_owned()).or_default();
        rows.entry(hash).or_insert_with(|| (0, shown(row))).0 += 1;
    }
}

/// Returns the text of a row, cut after [`SHOWN_BYTES_MAX`].
fn shown(row: &str) -> String {
    if row.len() <= SHOWN_BYTES_MAX {
        return row.to_owned();
    }
    format!("{} …", &row[..row.floor_char_boundary(SHOWN_BYTES_MAX)])
}

/// Returns the rows that one build has more often than the other one, by text.
fn missing_in(these: &RowsByHash, others: &RowsByHash) -> Vec<String> {
    let surplus = |(hash, (count, text)): (&u128, &(u64, String))| {
        let other = others.get(hash).map_or(0, |(count, _)| *count);
        (*count > other).then(|| text.clone())
    };
    let mut missing: Vec<String> = these.iter().filter_map(surplus).collect();
    missing.sort();
    missing
}

#[cfg(test)]
mod tests {
    use gesta_store::{
        CreateReadModel, MemoryReadModels, ReadModelTx, Rows, Stage, conformance::block_on,
    };

    use super::*;

    async fn compared(
        live: impl Iterator<Item = (u64, String)>,
        rebuilt: impl Iterator<Item = (u64, String)>,
    ) -> Result<TableComparison, DatabaseError> {
        let store = MemoryReadModels::new();
        let first = store.create_read_model(CreateReadModel::new("names", 1, Stage::Live)).await?;
        let create = CreateReadModel::new("names", 1, Stage::Rebuilding);
        let second = store.create_read_model(create).await?;
        fill(&store, &first, live).await?;
        fill(&store, &second, rebuilt).await?;
        let readers = (store.reader(&first).await?, store.reader(&second).await?);
        let mut tables = compare::<MemoryReadModels>(readers.0, readers.1).await?;
        assert_eq!(tables.len(), 1);
        Ok(tables.remove(0))
    }

    async fn fill(
        store: &MemoryReadModels,
        id: &gesta_store::ReadModelId,
        rows: impl Iterator<Item = (u64, String)>,
    ) -> Result<(), DatabaseError> {
        let mut tx = store.begin(id).await?;
        for (key, value) in rows {
            tx.put_json("names", &key.to_string(), &value.into()).await?;
        }
        tx.commit().await
    }

    fn names(count: u64) -> impl Iterator<Item = (u64, String)> {
        (0..count).map(|number| (number, format!("name {number}")))
    }

    #[test]
    fn one_changed_row_among_many_is_found() {
        let changed = |(key, name)| (key, if key == 77 { "another".to_owned() } else { name });
        let table = block_on(compared(names(30_000), names(30_000).map(changed))).unwrap();
        assert!(!table.is_equal);
        assert_eq!((table.live_rows, table.rebuilt_rows), (30_000, 30_000));
        assert_eq!(table.only_live, [r#"{"key":"77","value":"name 77"}"#]);
        assert_eq!(table.only_rebuilt, [r#"{"key":"77","value":"another"}"#]);
        assert!(!table.has_more);
    }

    #[test]
    fn of_many_changed_rows_some_are_shown_and_the_rest_is_announced() {
        let changed = names(30_000).map(|(key, name)| (key, format!("{name}!")));
        let table = block_on(compared(names(30_000), changed)).unwrap();
        assert!(!table.is_equal && table.has_more);
        let shown = (table.only_live.len(), table.only_rebuilt.len());
        assert_eq!(shown, (SHOWN_ROWS_MAX, SHOWN_ROWS_MAX));
    }

    #[test]
    fn a_long_row_is_cut_and_a_row_of_one_build_alone_is_shown() {
        let long = (0, "é".repeat(SHOWN_BYTES_MAX));
        let table = block_on(compared(names(0), [long].into_iter())).unwrap();
        assert_eq!((table.live_rows, table.rebuilt_rows), (0, 1));
        let [only] = table.only_rebuilt.as_slice() else { panic!("one row: {table:?}") };
        assert!(only.len() < SHOWN_BYTES_MAX + 8 && only.ends_with('…'));
    }
}
