//! Constructs of regular expressions that .NET reads in another way than the crate `fancy-regex`.
//!
//! Clients of KurrentDB write patterns for .NET. Owns: [`foreign`], which finds such a construct
//! before the pattern is compiled, because a filter that selects other events than its writer meant
//! is worse than none. Invariant: a pattern that passes means the same in both dialects, or is none
//! of .NET's. Names have no line breaks, so `$` and `\Z` are the end in both. Not here: constructs
//! that only `fancy-regex` knows, and the compiling ([`RegexFilter`](crate::RegexFilter)).

/// Returns the reason for which a pattern is refused, if there is one.
pub(crate) fn foreign(pattern: &str) -> Option<String> {
    PatternScan { rest: pattern, groups: Groups::default(), is_extended: false }.run().err()
}

/// The rest of a pattern that is read.
struct PatternScan<'p> {
    rest: &'p str,
    groups: Groups<'p>,
    /// White space and comments are left out: the flag `x`.
    is_extended: bool,
}

/// The capturing groups so far, and whether one is named by its number.
#[derive(Default)]
struct Groups<'p> {
    names: Vec<&'p str>,
    has_unnamed: bool,
    has_number: bool,
}

impl<'p> PatternScan<'p> {
    fn run(mut self) -> Result<(), String> {
        while let Some(first) = self.rest.chars().next() {
            match first {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '{' if self.rest.starts_with("{,") => {
                    return Err("`{,` is text in .NET; write `{0,`, or `\\{,` for text".to_owned());
                }
                '#' if self.is_extended => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.skip(end);
                }
                other => self.skip(other.len_utf8()),
            }
        }
        let Groups { names, has_unnamed, has_number } = self.groups;
        if !names.is_empty() && has_unnamed && has_number {
            let reason = ".NET counts named groups after all others; refer to groups by names, \
                          and not by numbers";
            return Err(reason.to_owned());
        }
        Ok(())
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// Reads an escape outside of a class.
    fn escape(&mut self) -> Result<(), String> {
        let after = self.rest.get(1..).unwrap_or_default();
        let Some(escaped) = after.chars().next() else {
            self.skip(1);
            return Ok(());
        };
        match escaped {
            '<' | '>' => {
                return Err(format!("`\\{escaped}` is text in .NET; write `{escaped}`"));
            }
            '0' => return Err("`\\0` is an octal number in .NET; write `\\x00`".to_owned()),
            'b' | 'B' if after.get(1..).is_some_and(|rest| rest.starts_with('{')) => {
                return Err(format!("`\\{escaped}{{` is text after a boundary in .NET"));
            }
            '1'..='9' => self.groups.has_number = true,
            'k' => {
                let name = after.get(2..).and_then(|name| name.chars().next());
                self.groups.has_number |= name.is_some_and(|first| first.is_ascii_digit());
            }
            _ => {}
        }
        check_property(after)?;
        self.skip(1 + escaped.len_utf8());
        Ok(())
    }

    /// Reads a class. Sets in it have other signs in .NET.
    fn class(&mut self) -> Result<(), String> {
        self.skip(1);
        self.skip(usize::from(self.rest.starts_with('^')));
        self.skip(usize::from(self.rest.starts_with(']')));
        while let Some(first) = self.rest.chars().next() {
            match first {
                ']' => {
                    self.skip(1);
                    return Ok(());
                }
                '\\' => {
                    let after = self.rest.get(1..).unwrap_or_default();
                    check_property(after)?;
                    self.skip(1 + after.chars().next().map_or(0, char::len_utf8));
                }
                '-' if self.rest.starts_with("-[") => {
                    return Err("`-[` takes a class away in .NET, which is not supported; use a \
                                look-ahead, such as `(?![aeiou])[a-z]`"
                        .to_owned());
                }
                '[' => {
                    return Err("`[` in a class is text in .NET; write `\\[`".to_owned());
                }
                '&' | '~' | '-'
                    if self.rest.get(1..).is_some_and(|rest| rest.starts_with(first)) =>
                {
                    return Err(format!(
                        "`{first}{first}` in a class is text in .NET; write `\\{first}` once"
                    ));
                }
                other => self.skip(other.len_utf8()),
            }
        }
        // The compiler refuses a class without an end.
        Ok(())
    }

    /// Reads the begin of a group.
    fn group(&mut self) -> Result<(), String> {
        self.skip(1);
        let Some(after) = self.rest.strip_prefix('?') else {
            self.groups.has_unnamed |= !self.rest.starts_with('*');
            return Ok(());
        };
        if after.starts_with('#') {
            let end = after.find(')').unwrap_or(after.len());
            self.skip(1 + end);
            return Ok(());
        }
        if after.starts_with('(') {
            return Err("conditions, `(?(`, are read in another way by .NET".to_owned());
        }
        let is_look_behind = after.starts_with("<=") || after.starts_with("<!");
        let named = after.strip_prefix("P<").or_else(|| after.strip_prefix('<'));
        let named = named.map(|name| (name, '>'));
        let named = named.or_else(|| after.strip_prefix('\'').map(|name| (name, '\'')));
        match named {
            Some((name, end)) if !is_look_behind => self.named(name, end)?,
            _ => {
                let flags = after.chars().take_while(char::is_ascii_alphabetic);
                self.is_extended |= flags.into_iter().any(|flag| flag == 'x');
            }
        }
        self.skip(1);
        Ok(())
    }

    fn named(&mut self, after: &'p str, end: char) -> Result<(), String> {
        let Some((name, _)) = after.split_once(end) else { return Ok(()) };
        if name.contains('-') {
            return Err(format!("`{name}` is a balancing group of .NET, which is not supported"));
        }
        let is_word = name.chars().all(|one| one.is_alphanumeric() || one == '_');
        if !is_word || name.starts_with(|one: char| one.is_ascii_digit()) {
            let reason = "must have letters, digits and `_`, and begin with no digit";
            return Err(format!("the name `{name}` of a group {reason}"));
        }
        if self.groups.names.contains(&name) {
            return Err(format!("the name `{name}` of a group is not unique"));
        }
        self.groups.names.push(name);
        Ok(())
    }
}

/// Checks a property after its backslash.
fn check_property(after: &str) -> Result<(), String> {
    let name = after.strip_prefix("p{").or_else(|| after.strip_prefix("P{"));
    match name.and_then(|name| name.strip_prefix("Is")).and_then(|name| name.split_once('}')) {
        Some((block, _)) => Err(format!(
            "`\\p{{Is{block}}}` is a block of .NET, and blocks are not supported; write a range, \
             such as `[\\u0370-\\u03FF]`"
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::{EventType, RegexFilter, StreamName};

    #[test]
    fn constructs_that_dotnet_reads_in_another_way_are_refused_with_the_reason() {
        for (pattern, reason) in [
            ("(?<a-b>x)", "balancing group"),
            ("(?'a-b'x)", "balancing group"),
            ("(?<-b>x)", "balancing group"),
            ("(?<a b>x)", "the name `a b` of a group must have letters"),
            ("(?<1>x)", "begin with no digit"),
            ("(?<a>x)(?<a>y)", "is not unique"),
            ("[a-z-[aeiou]]", "takes a class away"),
            ("[[:alpha:]]", "`[` in a class is text"),
            ("[a[b]", "`[` in a class is text"),
            ("[a&&b]", "`&&` in a class is text"),
            ("[a--b]", "`--` in a class is text"),
            ("[a~~b]", "`~~` in a class is text"),
            (r"\p{IsGreek}", "is a block of .NET"),
            (r"[\P{IsGreek}]", "is a block of .NET"),
            (r"\<order\>", "is text in .NET; write `<`"),
            (r"\b{start}", "text after a boundary"),
            (r"\0", "octal"),
            ("a{,2}", "write `{0,`"),
            ("(?(1)a|b)", "conditions"),
            (r"(?<n>a)(b)\1", "refer to groups by names"),
            (r"(?<n>a)(b)\k<1>", "refer to groups by names"),
            ("(?n)(a)", "invalid regular expression"),
        ] {
            let error = RegexFilter::on_stream_name(pattern).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(pattern), "{pattern}: {error}");
        }
    }

    #[test]
    fn constructs_of_both_dialects_match_alike() {
        let happened = EventType::new("happened").unwrap();
        for (pattern, name, expected) in [
            ("(?'name'order)-", "order-1", true),
            (r"(?<a>o)rder-(?<b>1)\k<a>?$", "order-1", true),
            (r"(o)rder-(1)\1?", "order-1", true),
            (r"^(?!\$).+", "$settings", false),
            (r"^(?<=^)order-\d+\z", "order-12", true),
            (r"(?<!x)der", "order-1", true),
            (r"^[\[\]a]", "a-1", true),
            ("^[]a]", "a-1", true),
            (r"^[^\$].*", "$settings", false),
            (r"\p{Lu}", "order-1", false),
            ("(?i)ORDER", "order-1", true),
            (r"-1\Z", "order-1", true),
            ("(?x) or der # [", "order-1", true),
            ("or(?#[)der", "order-1", true),
            (r"\(\[\{,", "([{,-1", true),
            (r"order\b-", "order-1", true),
            (r"[\u0370-\u03FF]", "λ-1", true),
        ] {
            let filter = RegexFilter::on_stream_name(pattern).unwrap();
            let name = StreamName::new(name).unwrap();
            assert_eq!(filter.matches(&name, &happened).unwrap(), expected, "{pattern}");
        }
    }
}
