//! Latency of searches over synthetic orders, in the process.
//!
//! `cargo run --release -p gesta-search --example latency -- 1000000 10000` fills an index with a
//! million orders in a temporary directory, and searches it ten thousand times. The mixture: one to
//! three words, some of them the beginning of a word or with a typo; half of the searches with
//! filters; facets, highlights and 20 documents each.

use std::{
    env,
    io::{self, Write as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use gesta_search::{
    Direction, Document, Facet, Filter, IndexDefinition, Search, SearchStore, Sort, TextField,
};
use gesta_store::{CreateReadModel, Position, ReadModelStore as _, ReadModelTx as _, Stage};
use serde_json::json;

/// Documents of one commit.
const BATCH: u64 = 10_000;
/// Different words of product names.
const VOCABULARY: u64 = 4_000;
const CUSTOMERS: u64 = 50_000;
const STATUS: [&str; 6] = ["placed", "paid", "shipped", "delivered", "cancelled", "refunded"];
const COUNTRIES: [&str; 5] = ["United Kingdom", "France", "Germany", "EIRE", "Spain"];
/// Time between two orders, in microseconds.
const STEP: i64 = 60_000_000;

/// A small generator of pseudorandom numbers (xorshift): every run has the same orders.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn of(&mut self, texts: &[&'static str]) -> &'static str {
        let at = usize::try_from(self.below(texts.len() as u64)).unwrap_or_default();
        texts.get(at).copied().unwrap_or_default()
    }

    /// A word of a product's name; a few of them are in most names.
    fn word(&mut self) -> String {
        let rank = self.below(VOCABULARY) * self.below(VOCABULARY) / VOCABULARY;
        word(rank)
    }
}

/// Makes a pronounceable word of 4 to 10 letters.
fn word(rank: u64) -> String {
    const SYLLABLES: [&str; 20] = [
        "lan", "ter", "he", "art", "whi", "te", "bag", "ret", "ros", "pot", "cup", "sau", "cer",
        "vin", "ta", "ge", "met", "al", "sig", "n",
    ];
    let mut numbers =
        Numbers(0x9e37_79b9_7f4a_7c15 ^ (rank + 1).wrapping_mul(0xff51_afd7_ed55_8ccd));
    numbers.below(7);
    (0..2 + numbers.below(2)).map(|_| numbers.of(&SYLLABLES)).collect()
}

fn order(number: u64, numbers: &mut Numbers) -> Document {
    let id = format!("{}", 500_000 + number);
    let customer = format!("C{}", numbers.below(CUSTOMERS));
    let status = numbers.of(&STATUS);
    let lines = 1 + numbers.below(8);
    let names = (0..lines).map(|_| {
        let words: Vec<_> = (0..4).map(|_| numbers.word()).collect();
        words.join(" ")
    });
    let names: Vec<_> = names.collect();
    let placed_at = i64::try_from(number).unwrap_or_default() * STEP;
    let body = json!({
        "orderId": id, "customerId": customer, "status": status, "lines": lines,
        "total": "17.85", "placedAt": placed_at,
    });
    Document::new(&id)
        .texts("products", names)
        .texts("codes", [&id, &customer])
        .keyword("customer", customer)
        .keyword("status", status)
        .keyword("country", numbers.of(&COUNTRIES))
        .date("placedAt", placed_at)
        .body(body)
}

async fn fill(store: &SearchStore, documents: u64) -> Result<gesta_store::ReadModelId> {
    let id = store.create_read_model(CreateReadModel::new("orders", 1, Stage::Live)).await?;
    let mut tx = store.begin(&id).await?;
    tx.define(
        IndexDefinition::new()
            .text("products", TextField::new().weight(2.0))
            .text("codes", TextField::new().without_typos())
            .keyword("customer")
            .keyword("status")
            .keyword("country")
            .date("placedAt"),
    )?;
    tx.commit().await?;
    let mut numbers = Numbers(0x5eed);
    let mut number = 0;
    while number < documents {
        let mut tx = store.begin(&id).await?;
        for _ in 0..BATCH.min(documents - number) {
            number += 1;
            tx.put(order(number, &mut numbers), Position::new(number))?;
        }
        tx.commit().await?;
    }
    Ok(id)
}

/// A word with two neighbours swapped.
fn with_typo(word: &str) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let middle = letters.len() / 2;
    if middle > 0 {
        letters.swap(middle - 1, middle);
    }
    letters.into_iter().collect()
}

fn search(documents: u64, numbers: &mut Numbers) -> Search {
    let mut words = Vec::new();
    for _ in 0..1 + numbers.below(3) {
        let word = numbers.word();
        words.push(match numbers.below(5) {
            0 => with_typo(&word),
            1 => word.chars().take(3).collect(),
            _ => word,
        });
    }
    if numbers.below(20) == 0 {
        words = vec![format!("{}", 500_000 + numbers.below(documents))];
    }
    let mut search = Search::new().text(&words.join(" ")).highlight("products");
    search = search.facet(Facet::of("status")).facet(Facet::of("country"));
    if numbers.below(4) == 0 {
        search = search.filter(Filter::is("status", numbers.of(&STATUS)));
    }
    if numbers.below(4) == 0 {
        let from = i64::try_from(numbers.below(documents)).unwrap_or_default() * STEP;
        search = search.filter(Filter::dates("placedAt", from..from + 30 * 1_440 * STEP));
    }
    if numbers.below(4) == 0 {
        search = search.sort(Sort::by("placedAt", Direction::Descending));
    }
    search
}

fn quantile(sorted: &[Duration], per_mille: usize) -> Duration {
    let at = (sorted.len() * per_mille / 1_000).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

#[tokio::main]
#[expect(clippy::disallowed_methods, reason = "it measures real time")]
async fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let mut number = |default: u64| match arguments.next() {
        Some(text) => text.parse().with_context(|| format!("{text:?} is no number")),
        None => Ok(default),
    };
    let (documents, searches) = (number(100_000)?, number(1_000)?);
    let directory = tempfile::tempdir()?;
    let store = SearchStore::tantivy(directory.path()).await?;
    let begun = Instant::now();
    let id = fill(&store, documents).await?;
    let filled = begun.elapsed();
    let mut numbers = Numbers(0xbeef);
    let (mut times, mut found) = (Vec::new(), 0);
    for _ in 0..searches {
        let search = search(documents, &mut numbers);
        let begun = Instant::now();
        let results = store.reader(&id).await?.search(&search).await?;
        times.push(begun.elapsed());
        found += results.total;
    }
    times.sort_unstable();
    let mut out = io::stdout().lock();
    writeln!(out, "documents  {documents}, filled in {:.1} s", filled.as_secs_f64())?;
    writeln!(out, "searches   {searches}, {} documents found by each", found / searches.max(1))?;
    for (label, per_mille) in [("p50", 500), ("p95", 950), ("p99", 990), ("max", 1_000)] {
        let milliseconds = quantile(&times, per_mille).as_secs_f64() * 1_000.0;
        writeln!(out, "{label}        {milliseconds:.1} ms")?;
    }
    Ok(())
}
