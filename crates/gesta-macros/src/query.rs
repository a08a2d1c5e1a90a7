//! `derive(Query)`.
//!
//! Owns: the projection that a query reads, and the type of its answer.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Result, Type};

use crate::attributes::{attribute_span, for_each_entry, required, set_once};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let (mut reads, mut answer) = (None, None);
    for_each_entry(&input.attrs, "query", |meta| {
        let slot = if meta.path.is_ident("reads") {
            &mut reads
        } else if meta.path.is_ident("answer") {
            &mut answer
        } else {
            return Err(meta.error(
                "unknown attribute of a query; expected `reads = Projection` or `answer = Type`",
            ));
        };
        let ty: Type = meta.value()?.parse()?;
        set_once(slot, &meta, ty)
    })?;
    let span = attribute_span(&input.attrs, "query", input.ident.span());
    let missing = "the projection of the query: `#[query(reads = Orders, …)]`";
    let reads = required(reads, span, missing)?;
    let missing = "the type of the answer: `#[query(…, answer = Option<Order>)]`";
    let answer = required(answer, span, missing)?;
    let ident = &input.ident;
    let (impls, types, clause) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impls ::gesta::Query for #ident #types #clause {
            type Reads = #reads;
            type Answer = #answer;
        }
    })
}
