//! The embedded engine and the server return the same content for the same requests.

use std::time::Duration;

use gesta_search::{Direction, Document, Facet, Filter, Search, SearchResults, SearchStore, Sort};
use gesta_store::{Position, ReadModelStore as _};

use crate::engines::{self, create, write};

const DOCUMENTS: u64 = 600;
const SEARCHES: u64 = 120;
/// Time limit: more than a thousand calls of the server.
const LONG: Duration = Duration::from_secs(300);
/// Seed of all values.
const SEED: u64 = 0x5eed_5eac;

const WORDS: [&str; 16] = [
    "white",
    "whites",
    "hanging",
    "heart",
    "hearts",
    "lantern",
    "lanterns",
    "café",
    "größe",
    "red",
    "retrospot",
    "bag",
    "bags",
    "t-light",
    "holder",
    "ünïcode",
];
const TYPOS: [&str; 8] =
    ["wihte", "hangng", "lantren", "cafe", "grosse", "retrospt", "hodler", "unicoda"];

/// A small generator of pseudorandom numbers (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        let at = usize::try_from(self.below(texts.len() as u64)).unwrap();
        texts.get(at).unwrap()
    }
}

const STATUS: [&str; 4] = ["placed", "paid", "shipped", "cancelled"];
const COLOURS: [&str; 5] = ["red", "white", "blue", "Red", "rosé"];

fn document(number: u64, numbers: &mut Numbers) -> Document {
    let name: Vec<_> = (0..numbers.below(6)).map(|_| numbers.of(&WORDS)).collect();
    let colours: Vec<_> = (0..numbers.below(3)).map(|_| numbers.of(&COLOURS)).collect();
    let mut document = Document::new(format!("order-{number}"))
        .text("name", name.join(" "))
        .texts("ids", [number.to_string()])
        .keyword("status", numbers.of(&STATUS))
        .keyword_set("colours", colours);
    if numbers.below(5) > 0 {
        document = document.number("total", small(numbers) / 4.0);
    }
    if numbers.below(5) > 0 {
        document = document.date("placedAt", i64::try_from(numbers.below(50)).unwrap() * 1_000_003);
    }
    document
}

fn small(numbers: &mut Numbers) -> f64 {
    f64::from(u32::try_from(numbers.below(200)).unwrap()) - 100.0
}

/// Puts, changes and deletes the same documents in the same order.
async fn fill(store: &SearchStore) -> anyhow::Result<gesta_store::ReadModelId> {
    let id = create(store).await?;
    let mut numbers = Numbers(SEED);
    for batch in 0..6 {
        write(store, &id, |tx| {
            for write in 0..DOCUMENTS / 4 {
                let at = Position::new(1 + batch * DOCUMENTS + write);
                let number = numbers.below(DOCUMENTS);
                if numbers.below(10) == 0 {
                    tx.delete(&format!("order-{number}"), at);
                } else {
                    tx.put(document(number, &mut numbers), at)?;
                }
            }
            Ok(())
        })
        .await?;
    }
    Ok(id)
}

fn search(numbers: &mut Numbers) -> Search {
    let mut search = Search::new().facet(Facet::of("status")).facet(Facet::of("colours").limit(3));
    let words: Vec<_> = match numbers.below(4) {
        0 => vec![],
        1 => vec![numbers.of(&TYPOS)],
        2 => vec![numbers.of(&WORDS), numbers.of(&TYPOS)],
        _ => vec![numbers.of(&WORDS).get(..2).unwrap_or("b")],
    };
    search = search.text(&words.join(" ")).highlight("name");
    if numbers.below(3) == 0 {
        search = search.without_typos();
    }
    if numbers.below(2) == 0 {
        search =
            search.filter(Filter::one_of("status", [numbers.of(&STATUS), numbers.of(&STATUS)]));
    }
    if numbers.below(3) == 0 {
        let from = small(numbers) / 4.0;
        search = search.filter(Filter::numbers("total", from..from + 20.0));
    }
    if numbers.below(3) == 0 {
        let from = i64::try_from(numbers.below(40)).unwrap() * 1_000_003;
        search = search.filter(Filter::dates("placedAt", from..=from + 15_000_000));
    }
    let direction =
        if numbers.below(2) == 0 { Direction::Ascending } else { Direction::Descending };
    let sort = match numbers.below(3) {
        0 => Sort::Id,
        1 => Sort::by("total", direction),
        _ => Sort::by("placedAt", direction),
    };
    search.sort(sort).limit(1 + usize::try_from(numbers.below(40)).unwrap())
}

#[test]
fn both_engines_return_the_same_content_for_the_same_requests() {
    let Some(server) = engines::opensearch() else { return };
    let embedded = engines::tantivy().unwrap();
    engines::run_within(LONG, async {
        let ids = (fill(&embedded.store).await?, fill(&server.store).await?);
        let embedded = embedded.store.reader(&ids.0).await?;
        let server = server.store.reader(&ids.1).await?;
        let mut numbers = Numbers(SEED + 1);
        let mut found: Vec<SearchResults> = Vec::new();
        for _ in 0..SEARCHES {
            let mut search = search(&mut numbers);
            // The first pages, with the cursor of one engine for both.
            for _ in 0..3 {
                let (one, other) = (embedded.search(&search).await?, server.search(&search).await?);
                assert_eq!(one, other, "{search:?}");
                let next = one.next.clone();
                found.push(one);
                let Some(next) = next else { break };
                search = search.after(next);
            }
            // By relevance the order differs, and everything else is the same.
            let by_score = search.clone().after(None).sort(Sort::Relevance).limit(1_000);
            let (one, other) = (embedded.search(&by_score).await?, server.search(&by_score).await?);
            assert_eq!(sorted(&one), sorted(&other), "{by_score:?}");
            assert_eq!((one.total, one.facets), (other.total, other.facets), "{by_score:?}");
        }
        // The test shows something: most requests find some documents, and not all.
        let all = found.iter().filter(|it| it.total > 0 && it.total < DOCUMENTS / 2).count();
        assert!(all > found.len() / 2, "{all} of {}", found.len());
        Ok(())
    });
}

fn sorted(results: &SearchResults) -> Vec<&str> {
    let mut ids: Vec<_> = results.hits.iter().map(|hit| hit.document.id()).collect();
    ids.sort_unstable();
    ids
}
