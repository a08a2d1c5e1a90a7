//! The order of an answer: that of the document (GraphQL, section 7.2.2).
//!
//! The library answers fields in the order in which they are ready.

use async_graphql::{
    Value,
    indexmap::IndexMap,
    parser::types::{ExecutableDocument, OperationDefinition, Selection, SelectionSet},
};

/// The selections of one document, and the operation that is executed.
#[derive(Debug)]
pub(crate) struct Selections {
    document: ExecutableDocument,
    operation_name: Option<String>,
}

/// The names in an answer in order, each with what is selected below.
type Ordered<'d> = IndexMap<&'d str, Vec<&'d SelectionSet>>;

impl Selections {
    pub(crate) const fn new(document: ExecutableDocument, operation_name: Option<String>) -> Self {
        Self { document, operation_name }
    }

    /// Returns the operation to execute; the execution reports a name that is unknown.
    pub(crate) fn operation(&self) -> Option<&OperationDefinition> {
        let mut operations = self.document.operations.iter();
        let name = self.operation_name.as_deref();
        let is_meant = |known: Option<&str>| name.is_none() || known == name;
        let found = operations.find(|(known, _)| is_meant(known.map(|known| known.as_str())));
        found.map(|(_, operation)| &operation.node)
    }

    /// Returns an answer in order.
    pub(crate) fn arranged(&self, answer: Value) -> Value {
        match self.operation() {
            Some(operation) => self.value(answer, &[&operation.selection_set.node]),
            None => answer,
        }
    }

    fn value<'d>(&'d self, value: Value, sets: &[&'d SelectionSet]) -> Value {
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
    fn collect<'d>(&'d self, set: &'d SelectionSet, ordered: &mut Ordered<'d>) {
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
