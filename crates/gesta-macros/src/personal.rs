//! `#[event(personal)]`: the names in JSON of the fields with personal data.
//!
//! Invariants: a field is recorded under every name that serde writes or reads it by; a struct or
//! field whose names cannot be told from its source is refused. Not here: the masking, which is
//! that of answers.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{
    Attribute, DeriveInput, Error, Field, Fields, Ident, LitStr, Result, Token, Type,
    meta::ParseNestedMeta, token,
};

use crate::{attributes::for_each_entry, fields::skip_value};

/// The mark of a personal field.
pub(crate) struct PersonalMark {
    pub(crate) span: Span,
    /// Code of the key of its tag.
    pub(crate) tag: Option<TokenStream>,
}

/// Returns the method with the personal fields of an event and of its older versions, or `None` if
/// it has neither.
pub(crate) fn method(
    input: &DeriveInput,
    fields: &Fields,
    marks: &[Option<PersonalMark>],
    old: Option<&Type>,
) -> Result<Option<TokenStream>> {
    let marked: Vec<_> = fields
        .iter()
        .zip(marks)
        .filter_map(|(field, mark)| Some((field, mark.as_ref()?)))
        .collect();
    if marked.is_empty() && old.is_none() {
        return Ok(None);
    }
    let mut listed = Vec::new();
    if let Some((_, first)) = marked.first() {
        let rules = StructNames::of(&input.attrs, first.span)?;
        for (field, mark) in &marked {
            let names = names(field, &rules, mark.span)?;
            let tag = match &mark.tag {
                Some(key) => quote!(::core::option::Option::Some(#key)),
                None => quote!(::core::option::Option::None),
            };
            listed.extend(
                names.into_iter().map(|name| quote!(::gesta::PersonalField::new(#name, #tag))),
            );
        }
    }
    let older = match old {
        Some(old) => quote!(<#old as ::gesta::Event>::personal_fields()),
        None => quote!(::std::vec::Vec::new()),
    };
    Ok(Some(quote! {
        fn personal_fields() -> ::std::vec::Vec<::gesta::PersonalField> {
            ::gesta::__derive::personal_with(#older, &[#(#listed),*])
        }
    }))
}

/// The rules by which serde names the fields of a struct.
#[derive(Default)]
struct StructNames {
    rules: Vec<LitStr>,
    /// One direction has no rule, so it uses the name in Rust.
    has_plain: bool,
}

impl StructNames {
    fn of(attributes: &[Attribute], personal: Span) -> Result<Self> {
        let mut renamed = Renamed::default();
        for_each_entry(attributes, "serde", |meta| {
            for foreign in ["transparent", "from", "try_from", "into", "remote"] {
                if meta.path.is_ident(foreign) {
                    let message = format!(
                        "`personal` cannot follow `#[serde({foreign})]`, which stores the struct \
                         in another form; remove one of them"
                    );
                    return Err(Error::new(personal, message));
                }
            }
            match meta.path.is_ident("rename_all") {
                true => renamed.read(&meta),
                false => skip_value(&meta),
            }
        })?;
        Ok(Self { has_plain: renamed.lacks_one(), rules: renamed.into_texts() })
    }
}

/// The names that one attribute gives for writing and for reading.
#[derive(Default)]
struct Renamed {
    written: Option<LitStr>,
    read: Option<LitStr>,
}

impl Renamed {
    /// Reads `= "…"` or `(serialize = "…", deserialize = "…")`.
    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.input.peek(Token![=]) {
            let name: LitStr = meta.value()?.parse()?;
            (self.written, self.read) = (Some(name.clone()), Some(name));
            return Ok(());
        }
        if !meta.input.peek(token::Paren) {
            return Ok(());
        }
        meta.parse_nested_meta(|inner| {
            let name: LitStr = inner.value()?.parse()?;
            match inner.path.is_ident("serialize") {
                true => self.written = Some(name),
                false => self.read = Some(name),
            }
            Ok(())
        })
    }

    fn lacks_one(&self) -> bool {
        self.written.is_none() || self.read.is_none()
    }

    fn into_texts(self) -> Vec<LitStr> {
        self.written.into_iter().chain(self.read).collect()
    }
}

/// Returns every name in JSON of a field, sorted.
fn names(field: &Field, rules: &StructNames, personal: Span) -> Result<Vec<String>> {
    let Some(ident) = &field.ident else {
        let message = "`personal` needs a field with a name; an unnamed one has none in JSON";
        return Err(Error::new(personal, message));
    };
    let (mut renamed, mut names) = (Renamed::default(), Vec::new());
    for_each_entry(&field.attrs, "serde", |meta| {
        if meta.path.is_ident("flatten") {
            let message = "`personal` cannot follow `#[serde(flatten)]`, which gives the field no \
                           name of its own; write its fields out";
            return Err(Error::new(personal, message));
        }
        if meta.path.is_ident("alias") {
            let alias: LitStr = meta.value()?.parse()?;
            names.push(alias.value());
            return Ok(());
        }
        match meta.path.is_ident("rename") {
            true => renamed.read(&meta),
            false => skip_value(&meta),
        }
    })?;
    if renamed.lacks_one() {
        for rule in &rules.rules {
            names.push(by_rule(ident, rule)?);
        }
        if rules.has_plain {
            names.push(plain(ident));
        }
    }
    names.extend(renamed.into_texts().iter().map(LitStr::value));
    names.sort();
    names.dedup();
    Ok(names)
}

fn plain(ident: &Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

/// Returns the name of a field by one of serde's rules.
fn by_rule(ident: &Ident, rule: &LitStr) -> Result<String> {
    let name = plain(ident);
    let capitalized = || {
        let words = name.split('_').map(|word| {
            let mut letters = word.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        });
        words.collect::<String>()
    };
    Ok(match rule.value().as_str() {
        "lowercase" | "snake_case" => name,
        "UPPERCASE" | "SCREAMING_SNAKE_CASE" => name.to_ascii_uppercase(),
        "PascalCase" => capitalized(),
        "camelCase" => {
            let capitalized = capitalized();
            let mut letters = capitalized.chars();
            let first = letters.next().map(|first| first.to_ascii_lowercase());
            first.into_iter().chain(letters).collect()
        }
        "kebab-case" => name.replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => name.to_ascii_uppercase().replace('_', "-"),
        other => {
            let message = format!("`personal` does not know serde's rule `{other}`");
            return Err(Error::new(rule.span(), message));
        }
    })
}
