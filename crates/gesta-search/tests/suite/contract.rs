//! The contract of a search store, clause by clause, on each engine.

mod documents;
mod searches;

/// One test for each clause, in a module for each engine.
macro_rules! clauses {
    ($($module:ident::$clause:ident;)*) => {
        mod tantivy {
            $(#[test]
            fn $clause() {
                let engine = crate::engines::tantivy().unwrap();
                crate::engines::run(super::$module::$clause(&engine.store));
            })*
        }

        mod opensearch {
            $(#[test]
            fn $clause() {
                let Some(engine) = crate::engines::opensearch() else { return };
                crate::engines::run(super::$module::$clause(&engine.store));
            })*
        }
    };
}

clauses! {
    documents::a_document_comes_back_as_it_was_put;
    documents::an_event_that_is_applied_again_changes_nothing;
    documents::a_tombstone_guards_against_late_writes;
    documents::the_last_of_several_writes_at_one_position_counts;
    documents::a_replay_on_a_newer_document_goes_on_from_it;
    documents::an_unlisted_document_is_only_found_by_its_id;
    documents::what_was_not_committed_is_not_found;
    documents::other_fields_need_another_version;
    documents::a_late_writer_is_told_the_stored_checkpoint;
    searches::words_are_found_by_prefix_typo_and_without_diacritics;
    searches::codes_are_found_without_typos;
    searches::the_best_match_is_first;
    searches::filters_all_hold;
    searches::ranges_include_their_ends_as_asked;
    searches::facets_count_all_pages;
    searches::pages_have_every_document_once;
    searches::documents_without_the_value_are_last;
    searches::a_page_by_relevance_goes_on_where_the_last_one_ended;
    searches::matches_are_highlighted;
    searches::a_search_that_does_not_fit_is_refused;
}
