//! `derive(EventSet)`.
//!
//! Owns: decoding by name, encoding by variant, conversions from each event.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Ident, Result, Type, Variant};

use crate::attributes::for_each_entry;

/// A variant and the event that it holds.
struct Member<'i> {
    variant: &'i Ident,
    event: &'i Type,
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new(input.ident.span(), "an event set is an enum of events"));
    };
    if data.variants.is_empty() {
        return Err(Error::new(input.ident.span(), "an event set has at least one event"));
    }
    if !input.generics.params.is_empty() {
        return Err(Error::new(input.ident.span(), "an event set has no parameters"));
    }
    let members: Vec<Member<'_>> = data.variants.iter().map(member).collect::<Result<_>>()?;
    let set = &input.ident;
    let implementation = implementation(set, &members);
    let conversions = members.iter().map(|member| conversion(set, member));
    let decisions = (!is_read_only(input)?).then(|| decisions(set, &members));
    Ok(quote! { #implementation #(#conversions)* #decisions })
}

fn member(variant: &Variant) -> Result<Member<'_>> {
    let event = match &variant.fields {
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => fields.unnamed.first(),
        Fields::Unnamed(_) | Fields::Named(_) | Fields::Unit => None,
    };
    let Some(event) = event else {
        return Err(Error::new_spanned(
            variant,
            "a variant holds one event, as in `Placed(OrderPlaced)`",
        ));
    };
    Ok(Member { variant: &variant.ident, event: &event.ty })
}

fn is_read_only(input: &DeriveInput) -> Result<bool> {
    let mut read_only = false;
    for_each_entry(&input.attrs, "events", |meta| {
        if !meta.path.is_ident("read_only") {
            return Err(meta.error("expected `read_only`"));
        }
        read_only = true;
        Ok(())
    })?;
    Ok(read_only)
}

fn implementation(set: &Ident, members: &[Member<'_>]) -> TokenStream {
    let variants: Vec<_> = members.iter().map(|member| member.variant).collect();
    let events: Vec<_> = members.iter().map(|member| member.event).collect();
    quote! {
        #[automatically_derived]
        impl ::gesta::EventSet for #set {
            const NAMES: &'static [&'static str] = &[#(<#events as ::gesta::Event>::NAME),*];

            fn decode(
                event_type: &str,
                version: u16,
                data: &[u8],
            ) -> ::core::result::Result<Self, ::gesta::DecodeError> {
                #(if event_type == <#events as ::gesta::Event>::NAME {
                    return <#events as ::gesta::Event>::upcast(version, data).map(Self::#variants);
                })*
                ::core::result::Result::Err(::gesta::DecodeError::unknown_event(event_type))
            }

            fn encode(
                &self,
            ) -> ::core::result::Result<::gesta::EncodedEvent, ::gesta::EncodeError> {
                match self {
                    #(Self::#variants(event) => ::gesta::EncodedEvent::of(event),)*
                }
            }

            fn register(registry: &mut ::gesta::Registry) {
                #(registry.add::<#events>();)*
            }
        }

        const _: () = ::gesta::__derive::assert_distinct(<#set as ::gesta::EventSet>::NAMES);
    }
}

fn conversion(set: &Ident, member: &Member<'_>) -> TokenStream {
    let Member { variant, event } = member;
    quote! {
        #[automatically_derived]
        impl ::core::convert::From<#event> for #set {
            fn from(event: #event) -> Self {
                Self::#variant(event)
            }
        }
    }
}

/// What lets `decide` answer with one event and `.into()`.
fn decisions(set: &Ident, members: &[Member<'_>]) -> TokenStream {
    let events = members.iter().map(|member| member.event);
    quote! {
        #[automatically_derived]
        impl ::core::convert::From<#set> for ::gesta::Events<#set> {
            fn from(event: #set) -> Self {
                Self::none().and(event)
            }
        }

        #(
            #[automatically_derived]
            impl ::core::convert::From<#events> for ::gesta::Events<#set> {
                fn from(event: #events) -> Self {
                    Self::none().and(event)
                }
            }
        )*
    }
}
