//! Derives for an application's types: events, event sets, commands, rejections and queries, and
//! the requests and responses of its HTTP interface.
//!
//! Owns: parsing the derives' attributes, and generating the implementations.
//!
//! Invariants: an error in an attribute is reported at that attribute and says what to write;
//! generated code names everything by its full path in `gesta`, or in `gesta_http` for the derives
//! that it exports.
//!
//! Not here: the traits and their run-time code.

mod attributes;
mod command;
mod event;
mod event_set;
mod fields;
mod personal;
mod query;
mod rejection;
mod request_fields;
mod schema;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `gesta::Event` for a struct.
///
/// ```text
/// #[event(name = "order-placed")]           version 1
/// #[event(name = "order-placed", version = 2, from = OrderPlacedV1)]
///                                           upcasts version 1 with `From`
/// #[event(name = "order-placed", version = 2, split = OrderPlacedV1)]
///                                           upcasts version 1 into any number of events, with
///                                           `From<OrderPlacedV1> for Vec<OrderPlaced>`
/// #[event(name = "order-placed", codec = Cbor)]
///                                           encodes with an `EventCodec` instead of as JSON
/// #[event(tag = CUSTOMER)] customer: …      a tag with a key that decisions share, a constant of
///                                           type `TagKey`; one per value of `Option` or `Vec`
/// #[event(tag)]  customer: CustomerId       tag `customer:…`
/// #[event(tag = "buyer")] customer: …       tag `buyer:…`
/// #[event(personal)] email: Email           personal data: operators without the right to see them
///                                           get a mask. Goes with a tag: `tag, personal`
/// ```
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `gesta::EventSet` for an enum whose variants each hold one event, or for the struct
/// of an event that is a set by itself.
///
/// ```text
/// #[events(ignore("order-noted"))]      skips stored events of a type that has left the set
/// #[events(replaced(OrderPlacedV1))]    upcasts an old event to any number of events of the set,
///                                       with `From<OrderPlacedV1> for Vec<OrderEvent>`
/// #[events(categories("order"))]        restricts the set to these categories, if another category
///                                       has events of the same names
/// ```
///
/// `#[events(read_only)]` omits `gesta::HasEvent`: the set is for projections and processes, and no
/// decision returns its events.
#[proc_macro_derive(EventSet, attributes(events))]
pub fn derive_event_set(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event_set::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `gesta::Command` for a struct.
///
/// ```text
/// #[command(name = "ship-order", on = Order)]          the order must exist
/// #[command(name = "place-order", on = Order, new)]    it must not; with `either`, it may
/// #[command(…, validate = PlaceOrder::check)]          fn(&PlaceOrder) -> Result<(), InvalidField>
/// #[command(…, id = PlaceOrder::ids)]                  fn(&PlaceOrder) -> the ids of `on`
/// #[command(id)]   order: OrderId     the id of `on`; several fields make a tuple
/// #[command(edge)] now: Timestamp     set by the server: a retry may carry another value
/// ```
#[proc_macro_derive(Command, attributes(command))]
pub fn derive_command(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    command::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `gesta::Query` for a struct.
///
/// ```text
/// #[query(reads = Orders, answer = Option<OrderRow>)]
/// #[query(…, caching = Caching::of)]                   fn(&Self) -> Caching<Answer>
/// ```
#[proc_macro_derive(Query, attributes(query))]
pub fn derive_query(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    query::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `gesta::Rejection`: `#[rejection(code = "not-paid")]` on a struct, or on each variant
/// of an enum.
#[proc_macro_derive(Rejection, attributes(rejection))]
pub fn derive_rejection(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    rejection::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `gesta_http::Fields`, `gesta_http::Schema` and a strict `Deserialize` for the struct
/// of a request's body or parameters.
///
/// Fields are camelCase in JSON, unknown ones are refused, those of type `Option` may be absent.
/// Doc comments become descriptions in the OpenAPI document. `#[serde(rename = "…")]` names a
/// field.
///
/// ```text
/// #[request(command = ShipOrder)]          fn into_command: fields by name, converted with `Into`
/// #[request(command = …, path(order: Id))] with the field `order` from the route's path
/// #[request(command = …, default(notes))]  with fields that the request does not have
/// #[request(default)] notes: Option<…>     the default value if absent
/// #[request(now)]    at: Option<Time>      the application's time if absent
/// #[request(new_id)] id: Option<Id>        a new id if absent, the same one for every retry
/// #[request(into = OrderItem)]             `From` for a value with the same fields
/// #[request(example = "Ann")] name: Text   the value in examples of the OpenAPI document
/// #[request(example)] price: Option<Price> the example of the type, also if it may be absent
/// #[request(own_schema)]                   without `Fields` and `Schema`, to write them by hand
/// ```
#[proc_macro_derive(RequestFields, attributes(request, serde))]
pub fn derive_request_fields(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    request_fields::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Implements `gesta_http::Schema` for a struct that is serialized into a response, with a schema
/// that lists its fields as `serde::Serialize` writes them, or for an enum without fields.
///
/// Doc comments become descriptions in the OpenAPI document.
#[proc_macro_derive(Schema, attributes(serde))]
pub fn derive_schema(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    schema::derive(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

// The example of the README is compiled, and run if it needs no server.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
