//! The rule for names of schemas.
//!
//! Owns: the one check of a name that a user chooses, in a URL or for an archive. Invariant: a name
//! that passes stands as it is in every statement, within quotes of any kind and within the body of
//! a function. Not here: the quotes ([`schema`](crate::schema)).

/// Maximum length of the name of a schema, in bytes: the server cuts longer names.
const SCHEMA_BYTES_MAX: usize = 63;

/// Parts of a name that would end a literal or the body of a function, or be taken for a place in a
/// statement.
const FORBIDDEN: [&str; 5] = ["\0", "'", "{", "}", "$$"];

/// The reason why a text does not name a schema. The text is not repeated.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`schema` must have 1 to 63 bytes, must not begin with pg_ or be information_schema, and must \
     not contain ', {{, }}, $$ or a zero byte; got {bytes} bytes"
)]
pub struct InvalidSchemaName {
    /// Length of the given name, in bytes.
    pub bytes: usize,
}

/// Checks the name of a schema for a store or an archive.
pub(crate) fn check_schema_name(name: &str) -> Result<(), InvalidSchemaName> {
    let is_name = (1..=SCHEMA_BYTES_MAX).contains(&name.len())
        && !name.starts_with("pg_")
        && name != "information_schema"
        && !FORBIDDEN.iter().any(|part| name.contains(part));
    if is_name { Ok(()) } else { Err(InvalidSchemaName { bytes: name.len() }) }
}

/// Quotes a name for a statement.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_change_a_statement_is_refused() {
        let longest = "ä".repeat(31) + "b";
        for name in ["gesta", "Order events", "a\"b", "a.b", "a$b", "päckchen", &longest] {
            assert_eq!(check_schema_name(name), Ok(()), "{name}");
        }
        let too_long = "ä".repeat(32);
        let refused = ["", &too_long, "pg_old", "information_schema", "a\0b"];
        for name in refused.into_iter().chain(["a'b", "a{lock}b", "a}b", "{schema}", "a$$b"]) {
            let refusal = check_schema_name(name).unwrap_err();
            assert!(refusal.to_string().starts_with("`schema` must have 1 to 63 bytes"), "{name}");
        }
    }

    #[test]
    fn a_quoted_name_may_contain_quotes() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
