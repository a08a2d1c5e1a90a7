//! The order of an answer: that of the document (GraphQL, section 7.2.2).
//!
//! The library answers fields in the order in which they are ready.

use async_graphql::{
    Name, Value,
    indexmap::IndexMap,
    parser::types::{ExecutableDocument, Selection, SelectionSet},
};

/// The selections of one document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selections<'d> {
    document: &'d ExecutableDocument,
    operation_name: Option<&'d str>,
}

/// The names in an answer in order, each with what is selected below.
type Ordered<'d> = IndexMap<&'d str, Vec<&'d SelectionSet>>;

impl<'d> Selections<'d> {
    pub(crate) const fn new(
        document: &'d ExecutableDocument,
        operation_name: Option<&'d str>,
    ) -> Self {
        Self { document, operation_name }
    }

    /// Returns an answer in order.
    pub(crate) fn arranged(self, answer: Value) -> Value {
        let mut operations = self.document.operations.iter();
        let name = self.operation_name;
        let is_meant =
            |known: Option<&Name>| name.is_none_or(|name| known.is_some_and(|it| it == name));
        match operations.find(|(known, _)| is_meant(*known)) {
            Some((_, operation)) => self.value(answer, &[&operation.node.selection_set.node]),
            None => answer,
        }
    }

    fn value(self, value: Value, sets: &[&'d SelectionSet]) -> Value {
        match value {
            Value::List(items) => {
                items.into_iter().map(|item| self.value(item, sets)).collect::<Vec<_>>().into()
            }
            Value::Object(mut members) => {
                let mut ordered = Ordered::new();
                for set in sets {
                    self.collect(set, &mut ordered);
                }
                let mut arranged = IndexMap::with_capacity(members.len());
                for (name, below) in ordered {
                    if let Some((name, member)) = members.swap_remove_entry(name) {
                        arranged.insert(name, self.value(member, &below));
                    }
                }
                // Nothing is lost, whatever the library answers.
                arranged.extend(members);
                Value::Object(arranged)
            }
            other => other,
        }
    }

    /// Collects the names of a selection. Those of fragments for other types are not in the answer.
    fn collect(self, set: &'d SelectionSet, ordered: &mut Ordered<'d>) {
        for item in &set.items {
            match &item.node {
                Selection::Field(field) => {
                    let name = field.node.response_key().node.as_str();
                    ordered.entry(name).or_default().push(&field.node.selection_set.node);
                }
                Selection::InlineFragment(fragment) => {
                    self.collect(&fragment.node.selection_set.node, ordered);
                }
                Selection::FragmentSpread(spread) => {
                    let fragment = self.document.fragments.get(&spread.node.fragment_name.node);
                    if let Some(fragment) = fragment {
                        self.collect(&fragment.node.selection_set.node, ordered);
                    }
                }
            }
        }
    }
}
