//! Searches: words, filters, facets, order and pages.

use gesta_search::{
    Direction, Document, Facet, Filter, PAGE_MAX, Search, SearchResults, SearchStore, Sort,
};
use gesta_store::{Position, ReadModelId, ReadModelStore as _};

use crate::engines::{create, write};

type Outcome = anyhow::Result<()>;

/// Creates an index with these documents.
async fn filled(
    store: &SearchStore,
    documents: impl IntoIterator<Item = Document>,
) -> anyhow::Result<ReadModelId> {
    let id = create(store).await?;
    write(store, &id, |tx| {
        for (document, position) in documents.into_iter().zip(7..) {
            tx.put(document, Position::new(position))?;
        }
        Ok(())
    })
    .await?;
    Ok(id)
}

async fn search(
    store: &SearchStore,
    id: &ReadModelId,
    search: &Search,
) -> anyhow::Result<SearchResults> {
    Ok(store.reader(id).await?.search(search).await?)
}

fn ids(results: &SearchResults) -> Vec<String> {
    results.hits.iter().map(|hit| hit.document.id().to_owned()).collect()
}

fn named(id: &str, name: &str) -> Document {
    Document::new(id).text("name", name)
}

pub(super) async fn words_are_found_by_prefix_typo_and_without_diacritics(
    store: &SearchStore,
) -> Outcome {
    let documents =
        [named("1", "WHITE hanging LANTERN"), named("2", "Café, größe XL"), named("3", "Red lamp")];
    let id = filled(store, documents).await?;
    for (text, expected) in [
        ("lantern", &["1"][..]),
        ("lant whi", &["1"]),
        ("lantren", &["1"]),
        ("lampern", &["1"]),
        ("wite hangng", &["1"]),
        ("CAFE\u{301}", &["2"]),
        ("große", &["2"]),
        ("la", &["1", "3"]),
        ("lamb", &["3"]),
        ("lantern lamp", &[]),
        ("lantern OR lamp", &[]),
        ("xx", &[]),
        ("\"*:{}[]~\\", &[]),
        ("--", &[]),
        ("", &["1", "2", "3"]),
        (" \t", &["1", "2", "3"]),
    ] {
        let found = search(store, &id, &Search::new().text(text).sort(Sort::Id)).await?;
        assert_eq!(
            (ids(&found), found.total),
            (strings(expected), expected.len() as u64),
            "{text}"
        );
    }
    let wordless = Search::new().text("!?").filter(Filter::numbers("total", ..)).limit(0);
    assert_eq!(search(store, &id, &wordless).await?.total, 0);
    let exact = Search::new().text("lantren").without_typos();
    assert_eq!(search(store, &id, &exact).await?.total, 0);
    Ok(())
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

pub(super) async fn codes_are_found_without_typos(store: &SearchStore) -> Outcome {
    let documents = [
        Document::new("1").texts("ids", ["536365", "anna"]),
        Document::new("2").texts("ids", ["536366", "hanna"]),
    ];
    let id = filled(store, documents).await?;
    for (text, expected) in
        [("536365", &["1"][..]), ("53636", &["1", "2"]), ("anna", &["1"]), ("annb", &[])]
    {
        let found = search(store, &id, &Search::new().text(text).sort(Sort::Id)).await?;
        assert_eq!(ids(&found), strings(expected), "{text}");
    }
    Ok(())
}

pub(super) async fn the_best_match_is_first(store: &SearchStore) -> Outcome {
    let documents = [
        named("1", "lanterns of paper and many other words"),
        named("2", "lantren"),
        named("3", "lantern"),
        named("4", "lantern with many other words in its name"),
    ];
    let id = filled(store, documents).await?;
    let found = search(store, &id, &Search::new().text("lantern")).await?;
    let order = ids(&found);
    assert_eq!(
        order,
        ["3", "4", "1", "2"],
        "the word itself, in the shorter text first; a typo last"
    );
    assert!(found.hits.is_sorted_by(|one, other| one.score >= other.score));
    Ok(())
}

pub(super) async fn filters_all_hold(store: &SearchStore) -> Outcome {
    let documents = [
        named("1", "lamp").keyword("status", "paid").keyword_set("colours", ["red", "blue"]),
        named("2", "lamp").keyword("status", "paid").keyword("colours", "red"),
        named("3", "lamp").keyword("status", "Paid").keyword("colours", "blue"),
        named("4", "cup").keyword("status", "paid").keyword("colours", "blue"),
    ];
    let id = filled(store, documents).await?;
    let paid = || Search::new().filter(Filter::is("status", "paid"));
    for (request, expected) in [
        (paid(), &["1", "2", "4"][..]),
        (paid().filter(Filter::is("colours", "blue")), &["1", "4"]),
        (paid().filter(Filter::one_of("colours", ["blue", "green", "red"])), &["1", "2", "4"]),
        (paid().filter(Filter::is("colours", "blue")).text("lamp"), &["1"]),
        (paid().filter(Filter::one_of("colours", [""; 0])), &[]),
        (paid().filter(Filter::is("colours", "re")), &[]),
    ] {
        let found = search(store, &id, &request.clone().sort(Sort::Id)).await?;
        assert_eq!(ids(&found), strings(expected), "{request:?}");
    }
    Ok(())
}

pub(super) async fn ranges_include_their_ends_as_asked(store: &SearchStore) -> Outcome {
    let documents = [
        Document::new("1").number("total", -1.5).date("placedAt", -1),
        Document::new("2").number("total", 0.0).date("placedAt", 0),
        Document::new("3").number("total", 2.5).date("placedAt", 1_291_191_960_123_456),
        Document::new("4"),
    ];
    let id = filled(store, documents).await?;
    let day = 1_291_191_960_123_456;
    for (filter, expected) in [
        (Filter::numbers("total", 0.0..2.5), &["2"][..]),
        (Filter::numbers("total", 0.0..=2.5), &["2", "3"]),
        (Filter::numbers("total", ..0.0), &["1"]),
        (Filter::numbers("total", -1.5..), &["1", "2", "3"]),
        (Filter::numbers("total", ..), &["1", "2", "3"]),
        (Filter::dates("placedAt", 0..day), &["2"]),
        (Filter::dates("placedAt", 0..=day), &["2", "3"]),
        (Filter::dates("placedAt", ..0), &["1"]),
        (Filter::dates("placedAt", day..day), &[]),
        (Filter::dates("placedAt", ..), &["1", "2", "3"]),
    ] {
        let request = Search::new().filter(filter).sort(Sort::Id);
        let found = search(store, &id, &request).await?;
        assert_eq!(ids(&found), strings(expected), "{request:?}");
    }
    Ok(())
}

pub(super) async fn facets_count_all_pages(store: &SearchStore) -> Outcome {
    let documents = (0..60).map(|number| {
        let status = match number % 3 {
            0 => "paid",
            1 => "placed",
            _ => "shipped",
        };
        let colours = if number % 2 == 0 { vec!["red", "blue"] } else { vec!["red"] };
        let name = if number < 30 { "lamp" } else { "cup" };
        named(&format!("{number:02}"), name)
            .keyword("status", status)
            .keyword_set("colours", colours)
    });
    let id = filled(store, documents).await?;
    let request = Search::new()
        .text("lamp")
        .facet(Facet::of("status"))
        .facet(Facet::of("colours").limit(1))
        .limit(2);
    let found = search(store, &id, &request).await?;
    assert_eq!((found.total, found.hits.len()), (30, 2));
    let counts = |values: &[(&str, u64)]| {
        values.iter().map(|(value, count)| ((*value).to_owned(), *count)).collect::<Vec<_>>()
    };
    let [status, colours] = found.facets.as_slice() else { panic!("two facets were asked for") };
    assert_eq!(status.values, counts(&[("paid", 10), ("placed", 10), ("shipped", 10)]));
    assert_eq!((&*colours.field, &colours.values), ("colours", &counts(&[("red", 30)])));
    let only_counts = search(store, &id, &request.limit(0)).await?;
    assert_eq!((only_counts.total, only_counts.hits, only_counts.next), (30, vec![], None));
    assert_eq!(only_counts.facets, found.facets);
    Ok(())
}

pub(super) async fn pages_have_every_document_once(store: &SearchStore) -> Outcome {
    // Many of the same value, so that ids decide across the ends of pages.
    let documents = (0..47).map(|number| {
        let document = Document::new(format!("{number:02}")).keyword("status", "paid");
        document
            .number("total", f64::from(number % 5) - 2.0)
            .date("placedAt", i64::from(number % 3))
    });
    let id = filled(store, documents).await?;
    let (up, down) = (Direction::Ascending, Direction::Descending);
    for sort in [
        Sort::Id,
        Sort::by("total", up),
        Sort::by("total", down),
        Sort::by("placedAt", up),
        Sort::by("placedAt", down),
    ] {
        let paid = Search::new().filter(Filter::is("status", "paid")).sort(sort.clone());
        let all = ids(&search(store, &id, &paid.clone().limit(PAGE_MAX)).await?);
        assert_eq!(all.len(), 47);
        let mut expected: Vec<u32> = (0..47).collect();
        expected.sort_by_key(|number| match &sort {
            Sort::Field { field, direction } => {
                let value = i64::from(if field == "total" { number % 5 } else { number % 3 });
                (if *direction == up { value } else { -value }, *number)
            }
            _ => (0, *number),
        });
        let expected: Vec<_> = expected.iter().map(|number| format!("{number:02}")).collect();
        assert_eq!(all, expected, "{sort:?}");
        let (mut paged, mut cursor) = (Vec::new(), None);
        loop {
            let request = paid.clone().limit(10).after(cursor);
            let found = search(store, &id, &request).await?;
            assert_eq!(found.total, 47, "of all pages");
            paged.extend(ids(&found));
            let Some(next) = found.next else { break };
            // As it comes back from a client.
            cursor = Some(next.to_string().parse()?);
        }
        assert_eq!(paged, all, "{sort:?}");
    }
    Ok(())
}

pub(super) async fn documents_without_the_value_are_last(store: &SearchStore) -> Outcome {
    let documents = [
        Document::new("1"),
        Document::new("2").number("total", -5.0).date("placedAt", i64::MIN + 1),
        Document::new("3"),
        Document::new("4").number("total", 5.0).date("placedAt", i64::MAX - 1),
    ];
    let id = filled(store, documents).await?;
    for field in ["total", "placedAt"] {
        for (direction, expected) in [
            (Direction::Ascending, ["2", "4", "1", "3"]),
            (Direction::Descending, ["4", "2", "1", "3"]),
        ] {
            let (mut paged, mut cursor) = (Vec::new(), None);
            loop {
                let sort = Sort::by(field, direction);
                let request = Search::new().sort(sort).limit(1).after(cursor);
                let found = search(store, &id, &request).await?;
                paged.extend(ids(&found));
                let Some(next) = found.next else { break };
                cursor = Some(next);
            }
            assert_eq!(paged, expected, "{field} {direction:?}");
        }
    }
    Ok(())
}

pub(super) async fn a_page_by_relevance_goes_on_where_the_last_one_ended(
    store: &SearchStore,
) -> Outcome {
    let documents =
        (0..25).map(|number| named(&format!("{number:02}"), &"lantern ".repeat(1 + number % 4)));
    let id = filled(store, documents).await?;
    let request = Search::new().text("lantern");
    let all = ids(&search(store, &id, &request.clone().limit(PAGE_MAX)).await?);
    let (mut paged, mut cursor) = (Vec::new(), None);
    loop {
        let found = search(store, &id, &request.clone().limit(4).after(cursor)).await?;
        paged.extend(ids(&found));
        let Some(next) = found.next else { break };
        cursor = Some(next.to_string().parse()?);
    }
    assert_eq!(paged, all);
    assert_eq!(all.len(), 25);
    Ok(())
}

pub(super) async fn matches_are_highlighted(store: &SearchStore) -> Outcome {
    let id = filled(store, [named("1", "WHITE hanging <b> Lantern").text("ids", "536365")]).await?;
    let request = Search::new().text("lantren whi").highlight("name").highlight("ids");
    let found = search(store, &id, &request).await?;
    let highlights = found.hits.iter().flat_map(|hit| &hit.highlights);
    let marked: Vec<_> = highlights.map(|highlight| highlight.marked("[", "]")).collect();
    assert_eq!(marked, ["[WHITE] hanging <b> [Lantern]"], "of the fields that match");
    Ok(())
}

pub(super) async fn a_search_that_does_not_fit_is_refused(store: &SearchStore) -> Outcome {
    let id = filled(store, [Document::new("1")]).await?;
    let request = Search::new().filter(Filter::is("colour", "red"));
    let refused = search(store, &id, &request).await.unwrap_err().to_string();
    assert!(refused.contains("has no field `colour`; its fields are colours, ids"), "{refused}");
    Ok(())
}
