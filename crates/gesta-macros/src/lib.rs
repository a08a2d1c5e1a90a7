//! Derives for the types that an application writes: events, event sets, commands, rejections.
//!
//! Owns: what a derive reads from its attributes, and the code it writes. Always holds: a mistake
//! in an attribute is reported at the attribute, in words; the code names everything by its full
//! path in `gesta`. Not here: the traits, and everything that happens at run time.

mod attributes;
mod command;
mod event;
mod event_set;
mod rejection;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `gesta::Event` for a struct.
///
/// ```text
/// #[event(name = "order-placed")]                                    version 1
/// #[event(name = "order-placed", version = 2, from = OrderPlacedV1)] reads version 1 through `From`
/// #[event(name = "order-placed", version = 2, split = OrderPlacedV1)]   as any number of events,
///                                       through `From<OrderPlacedV1> for Vec<OrderPlaced>`
/// #[event(tag)]  customer: CustomerId       tag `customer:…`; of an `Option` or `Vec`, one for each
/// #[event(tag = "buyer")] customer: …       the same under another key
/// ```
///
/// `#[event(personal)]` is reserved for the erasure of personal data and refused so far.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `gesta::EventSet` for an enum whose variants each hold one event.
///
/// ```text
/// #[events(ignore("order-noted"))]      folds go past events of a type that left the set
/// #[events(replaced(OrderPlacedV1))]    an old event is read as any number of events of the set,
///                                       through `From<OrderPlacedV1> for Vec<OrderEvent>`
/// #[events(categories("order"))]        only events of these categories are meant, where another
///                                       category has events of the same names
/// ```
///
/// `#[events(read_only)]` leaves out the conversions into `gesta::Events`, which a set of another
/// crate's events cannot have: such a set is for projections and processes, not for aggregates.
#[proc_macro_derive(EventSet, attributes(events))]
pub fn derive_event_set(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event_set::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `gesta::Command` for a struct.
///
/// ```text
/// #[command(name = "ship-order", on = Order)]          the order must exist
/// #[command(name = "place-order", on = Order, new)]    it must not; `either`: whether or not
/// #[command(…, validate = PlaceOrder::check)]          fn(&PlaceOrder) -> Result<(), InvalidField>
/// #[command(…, id = PlaceOrder::ids)]                  fn(&PlaceOrder) -> the ids of `on`
/// #[command(id)]   order: OrderId     what `on` is looked up by; several fields make a tuple
/// #[command(edge)] now: Timestamp     filled at the edge, so a retry may carry another value
/// ```
#[proc_macro_derive(Command, attributes(command))]
pub fn derive_command(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    command::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `gesta::Rejection`: `#[rejection(code = "not-paid")]` on a struct, or on each variant
/// of an enum.
#[proc_macro_derive(Rejection, attributes(rejection))]
pub fn derive_rejection(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    rejection::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
