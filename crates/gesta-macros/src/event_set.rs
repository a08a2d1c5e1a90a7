//! `derive(EventSet)`.
//!
//! Owns: decoding by event name, encoding by variant, and conversions from each event. A struct is
//! the set of the one event that it is.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Data, DeriveInput, Error, Fields, Ident, LitStr, Result, Token, Type, Variant, parenthesized,
    parse::Parse, parse_quote, punctuated::Punctuated,
};

use crate::attributes::{check_name, compact, for_each_entry};

/// A variant and the event that it holds.
struct Member<'i> {
    variant: &'i Ident,
    event: &'i Type,
}

/// An event of a set, and the form in which the set holds it.
struct Held<'i> {
    event: &'i Type,
    /// Both the expression that makes a value of the set from `event`, and the pattern that takes
    /// it apart.
    form: TokenStream,
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let set = &input.ident;
    if !input.generics.params.is_empty() {
        return Err(Error::new(set.span(), "an event set must not have generic parameters"));
    }
    let header = header(input)?;
    let members: Vec<Member<'_>> = match &input.data {
        Data::Struct(_) => return Ok(single(set, &header)),
        Data::Enum(data) => data.variants.iter().map(member).collect::<Result<_>>()?,
        Data::Union(_) => {
            let message = "`EventSet` can be derived for an enum with one event per variant, or \
                           for the struct of a single event";
            return Err(Error::new(set.span(), message));
        }
    };
    if members.is_empty() {
        return Err(Error::new(set.span(), "an event set must have at least one event"));
    }
    check_distinct(&members)?;
    let held: Vec<Held<'_>> = members.iter().map(Member::held).collect();
    let implementation = implementation(set, &held, &header);
    let conversions = members.iter().map(|member| conversion(set, member));
    let decisions = (!header.read_only).then(|| decisions(set, &members));
    Ok(quote! { #implementation #(#conversions)* #decisions })
}

/// Returns the set of a single event: the event itself.
fn single(event: &Ident, header: &SetHeader) -> TokenStream {
    let held = Held { event: &parse_quote!(#event), form: quote!(event) };
    let implementation = implementation(event, &[held], header);
    // It converts into `Events` as every event of a set does.
    let decisions = (!header.read_only).then(|| {
        quote! {
            #[automatically_derived]
            impl ::gesta::HasEvent<#event> for #event {}
        }
    });
    quote! { #implementation #decisions }
}

impl<'i> Member<'i> {
    fn held(&self) -> Held<'i> {
        let Self { variant, event } = self;
        Held { event, form: quote!(Self::#variant(event)) }
    }
}

fn member(variant: &Variant) -> Result<Member<'_>> {
    let event = match &variant.fields {
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => fields.unnamed.first(),
        Fields::Unnamed(_) | Fields::Named(_) | Fields::Unit => None,
    };
    let Some(event) = event else {
        return Err(Error::new_spanned(
            variant,
            "a variant must hold exactly one event, as in `Placed(OrderPlaced)`",
        ));
    };
    Ok(Member { variant: &variant.ident, event: &event.ty })
}

/// Checks that no two variants hold the same type: their conversions into the set would collide.
fn check_distinct(members: &[Member<'_>]) -> Result<()> {
    let mut seen: Vec<(String, &Ident)> = Vec::with_capacity(members.len());
    for Member { variant, event } in members {
        let event_name = compact(event);
        if let Some((_, first)) = seen.iter().find(|(name, _)| *name == event_name) {
            let message = format!(
                "`{event_name}` is in this set twice, as `{first}` and `{variant}`; remove one"
            );
            return Err(Error::new_spanned(event, message));
        }
        seen.push((event_name, variant));
    }
    Ok(())
}

/// The entries of `#[events(…)]` on the enum.
#[derive(Default)]
struct SetHeader {
    read_only: bool,
    ignored: Vec<LitStr>,
    categories: Vec<LitStr>,
    replaced: Vec<Type>,
}

fn header(input: &DeriveInput) -> Result<SetHeader> {
    let mut header = SetHeader::default();
    for_each_entry(&input.attrs, "events", |meta| {
        if meta.path.is_ident("read_only") {
            header.read_only = true;
            return Ok(());
        }
        if meta.path.is_ident("ignore") {
            header.ignored.extend(listed::<LitStr>(meta.input)?);
            return header.ignored.iter().try_for_each(check_name);
        }
        if meta.path.is_ident("categories") {
            header.categories.extend(listed::<LitStr>(meta.input)?);
            return header.categories.iter().try_for_each(check_category);
        }
        if meta.path.is_ident("replaced") {
            header.replaced.extend(listed::<Type>(meta.input)?);
            return Ok(());
        }
        Err(meta.error(
            "unknown attribute of an event set; expected `read_only`, `ignore(\"…\")`, \
             `replaced(OldEvent)` or `categories(\"…\")`",
        ))
    })?;
    Ok(header)
}

/// Parses a list in parentheses with at least one entry.
fn listed<T: Parse>(input: syn::parse::ParseStream<'_>) -> Result<Vec<T>> {
    let content;
    let parentheses = parenthesized!(content in input);
    let entries = Punctuated::<T, Token![,]>::parse_terminated_with(&content, T::parse)?;
    if entries.is_empty() {
        return Err(Error::new(parentheses.span.join(), "the list must have at least one entry"));
    }
    Ok(entries.into_iter().collect())
}

fn check_category(category: &LitStr) -> Result<()> {
    check_name(category)?;
    if category.value().contains(['-', '$']) {
        return Err(Error::new(category.span(), "a category must contain neither `-` nor `$`"));
    }
    Ok(())
}

fn implementation(set: &Ident, held: &[Held<'_>], header: &SetHeader) -> TokenStream {
    let events: Vec<_> = held.iter().map(|each| each.event).collect();
    let forms: Vec<_> = held.iter().map(|each| &each.form).collect();
    let SetHeader { ignored, categories, replaced, .. } = header;
    let decoding = decoding(&forms, &events, replaced);
    quote! {
        #[automatically_derived]
        impl ::gesta::EventSet for #set {
            const NAMES: &'static [&'static str] = &[
                #(<#events as ::gesta::Event>::NAME,)*
                #(<#replaced as ::gesta::Event>::NAME,)*
            ];
            const IGNORED: &'static [&'static str] = &[#(#ignored),*];
            const CATEGORIES: &'static [&'static str] = &[#(#categories),*];

            #decoding

            fn encode(
                &self,
            ) -> ::core::result::Result<::gesta::EncodedEvent, ::gesta::EncodeError> {
                match self {
                    #(#forms => ::gesta::EncodedEvent::of(event),)*
                }
            }

            fn register(registry: &mut ::gesta::Registry) {
                #(registry.add::<#events>();)*
                #(registry.add_replaced::<#replaced>();)*
            }
        }

        const _: () = {
            ::gesta::__derive::assert_distinct(&[#(<#events as ::gesta::Event>::NAME),*]);
            #(::gesta::__derive::assert_not_ignored(
                <#set as ::gesta::EventSet>::NAMES,
                #ignored,
            );)*
        };
    }
}

fn decoding(forms: &[&TokenStream], events: &[&Type], replaced: &[Type]) -> TokenStream {
    quote! {
        fn decode(
            event_type: &str,
            version: u16,
            data: ::gesta::EventData<'_>,
        ) -> ::core::result::Result<Self, ::gesta::DecodeError> {
            ::gesta::__derive::one(event_type, version, |each| {
                <Self as ::gesta::EventSet>::decode_each(event_type, version, data, each)
            })
        }

        fn decode_each(
            event_type: &str,
            version: u16,
            data: ::gesta::EventData<'_>,
            each: &mut dyn ::core::ops::FnMut(Self),
        ) -> ::core::result::Result<(), ::gesta::DecodeError> {
            const MEMBERS: &[&str] = &[#(<#events as ::gesta::Event>::NAME),*];
            #(if ::gesta::__derive::is_replaced::<#replaced>(event_type, version, MEMBERS) {
                return ::gesta::__derive::replaced_each::<#replaced, Self>(version, data, each);
            })*
            #(if event_type == <#events as ::gesta::Event>::NAME {
                return <#events as ::gesta::Event>::upcast_each(version, data, &mut |event| {
                    each(#forms);
                });
            })*
            ::core::result::Result::Err(::gesta::DecodeError::unknown_event(event_type))
        }
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

/// Returns the code by which `decide` returns a single event or a value of the set with `.into()`.
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
            impl ::gesta::HasEvent<#events> for #set {}
        )*
    }
}
