//! Names in GraphQL, made from those of the HTTP interface.
//!
//! Invariant: a name matches the grammar of GraphQL (`[_A-Za-z][_0-9A-Za-z]*`) and does not begin
//! with `__`, which GraphQL keeps for itself.

/// Prefixes of operation ids that a query's field leaves out: `findUser` is the field `user`.
const OF_READS: [&str; 3] = ["find", "list", "show"];

/// Returns the field of a query: `user` for `findUser`, `users` for `listUsers`.
pub(crate) fn query_field(operation_id: &str) -> String {
    for prefix in OF_READS {
        let rest = operation_id.strip_prefix(prefix).unwrap_or_default();
        if rest.starts_with(|first: char| first.is_ascii_uppercase()) {
            return with_first(rest, |first| first.to_ascii_lowercase());
        }
    }
    plain(operation_id)
}

/// Returns the name of a type: `EmailTaken` for `email-taken`, `CreateUser` for `createUser`.
pub(crate) fn type_name(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let words = words.map(|word| with_first(word, |first| first.to_ascii_uppercase()));
    plain(&words.collect::<String>())
}

/// Returns a text as a name; characters that a name cannot have become `_`.
pub(crate) fn plain(text: &str) -> String {
    let letters = text.trim_start_matches('_').chars();
    let name: String = letters.map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let needs_start = name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit());
    if needs_start { format!("_{name}") } else { name }
}

fn with_first(word: &str, change: impl Fn(char) -> char) -> String {
    let mut letters = word.chars();
    letters.next().map(change).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_named_by_its_answer() {
        for (id, field) in [
            ("findUser", "user"),
            ("listUsers", "users"),
            ("showReactor", "reactor"),
            ("isLive", "isLive"),
            ("finder", "finder"),
            ("list", "list"),
        ] {
            assert_eq!(query_field(id), field);
        }
    }

    #[test]
    fn any_text_becomes_a_name() {
        assert_eq!(type_name("email-taken"), "EmailTaken");
        assert_eq!(type_name("createUser"), "CreateUser");
        for (text, name) in
            [("french-door", "french_door"), ("3d", "_3d"), ("", "_"), ("__type", "type")]
        {
            assert_eq!(plain(text), name);
        }
    }
}
