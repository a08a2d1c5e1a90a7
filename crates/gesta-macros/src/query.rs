//! `derive(Query)`.
//!
//! Owns: the projection that a query reads, the type of its answer, and its opt-in to the cache.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Path, Result, Type};

use crate::attributes::{attribute_span, for_each_entry, required, set_once};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let (mut reads, mut answer, mut caching) = (None, None, None);
    for_each_entry(&input.attrs, "query", |meta| {
        if meta.path.is_ident("caching") {
            let function: Path = meta.value()?.parse()?;
            return set_once(&mut caching, &meta, function);
        }
        let slot = if meta.path.is_ident("reads") {
            &mut reads
        } else if meta.path.is_ident("answer") {
            &mut answer
        } else {
            return Err(meta.error(
                "unknown attribute of a query; expected `reads = Projection`, `answer = Type` or \
                 `caching = function`",
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
    let caching = caching.map(|function| {
        quote! {
            fn caching(&self) -> ::core::option::Option<::gesta::Caching<Self::Answer>> {
                ::core::option::Option::Some((#function)(self))
            }
        }
    });
    let ident = &input.ident;
    let (impls, types, clause) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impls ::gesta::Query for #ident #types #clause {
            type Reads = #reads;
            type Answer = #answer;
            #caching
        }
    })
}
