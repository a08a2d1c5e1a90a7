//! A store without any optional capability is a store too, as long as it says so and refuses.

use gesta_store::{
    Append, EventStore, Filter, FindAppend, Pages, StoreError, SubscribeTo, Subscription,
    conformance::{Fresh, block_on},
};

use crate::broken::Broken;

gesta_store::conformance!(|| Fresh::new(limited()));

fn unsupported(capability: &'static str) -> StoreError {
    StoreError::Unsupported { capability }
}

/// Lacks all that a store may lack, and refuses what needs it.
fn limited() -> Broken {
    Broken {
        append: Box::new(|store, append| {
            refuse_optional(&append)?;
            block_on(store.append(append))
        }),
        find_append: Box::new(|_, _| Err(unsupported("finding appends"))),
        read_all: Box::new(|store, read| match read.filter {
            Filter::Everything => store.read_all(read),
            _ => Pages::failed(unsupported("filtered reads")),
        }),
        subscribe: Box::new(|store, subscribe| match subscribe.to {
            SubscribeTo::Stream { .. } | SubscribeTo::All { filter: Filter::Everything, .. } => {
                store.subscribe(subscribe)
            }
            SubscribeTo::All { .. } => Subscription::failed(unsupported("filtered reads")),
        }),
        ..claiming_less()
    }
}

fn refuse_optional(append: &Append) -> Result<(), StoreError> {
    let mut names = append.streams.iter().map(|part| &part.stream);
    let first = names.next();
    // One stream named twice is no append to several: the store itself rejects it.
    if names.any(|name| Some(name) != first) {
        return Err(unsupported("appends to several streams"));
    }
    match append.condition {
        Some(_) => Err(unsupported("append conditions")),
        None => Ok(()),
    }
}

/// Claims to lack all that a store may lack, and does it nevertheless.
pub(crate) fn claiming_less() -> Broken {
    Broken {
        capabilities: Box::new(|store, ()| {
            let mut can = store.capabilities();
            can.multi_stream_append = false;
            can.append_condition = false;
            can.filtered_reads = false;
            can.find_append = FindAppend::Never;
            can
        }),
        ..Broken::sound()
    }
}
