//! Regular expressions over names of streams and event types.
//!
//! Owns: [`RegexFilter`], a compiled pattern. The work on one name is bounded: a pattern that needs
//! more steps ends the read with an error, and is never taken for a mismatch. Compiling needs the
//! feature `regex` of this crate; without it the type exists and no value of it does. Not here: how
//! a store finds the events ([`Filter::Regex`](crate::Filter::Regex)).

use std::fmt;

use crate::{EventType, StoreError, StreamName};

/// The name that a [`RegexFilter`] tests.
///
/// ```
/// # #[cfg(feature = "regex")] {
/// use gesta_store::{RegexFilter, RegexTarget};
///
/// let orders = RegexFilter::on_stream_name("^order-")?;
/// assert_eq!(orders.target(), RegexTarget::StreamName);
/// # }
/// # Ok::<(), gesta_store::StoreError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegexTarget {
    /// The name of the event's stream.
    StreamName,
    /// The event's type.
    EventType,
}

/// A regular expression that the name of an event's stream, or its type, has to match.
///
/// The pattern matches anywhere in the name unless it is anchored. Look-ahead, look-behind and
/// back-references are supported, as the stock helpers of KurrentDB's clients send them: `^[^\$].*`
/// and `^(?!\$).+` both exclude system events. A construct that .NET, for which those clients
/// write, reads in another way is refused: balancing groups, sets of classes, blocks, conditions.
///
/// ```
/// # #[cfg(feature = "regex")] {
/// use gesta_store::{EventType, RegexFilter, StreamName};
///
/// let no_system = RegexFilter::on_event_type(r"^(?!\$)")?;
/// let order = StreamName::new("order-1")?;
/// assert!(no_system.matches(&order, &EventType::new("order-placed")?)?);
/// assert!(!no_system.matches(&order, &EventType::new("$metadata")?)?);
/// # }
/// # Ok::<(), gesta_store::StoreError>(())
/// ```
#[derive(Clone)]
pub struct RegexFilter {
    target: RegexTarget,
    pattern: compiled::Pattern,
}

impl RegexFilter {
    /// Maximum number of steps back that a pattern may take on one name.
    pub const BACKTRACKS_MAX: usize = 100_000;

    /// Compiles a pattern for names of streams.
    ///
    /// # Errors
    ///
    /// [`Invalid::Pattern`](crate::Invalid::Pattern) if the pattern cannot be compiled.
    #[cfg(feature = "regex")]
    pub fn on_stream_name(pattern: &str) -> Result<Self, StoreError> {
        let pattern = compiled::Pattern::compile(pattern)?;
        Ok(Self { target: RegexTarget::StreamName, pattern })
    }

    /// Compiles a pattern for event types.
    ///
    /// # Errors
    ///
    /// [`Invalid::Pattern`](crate::Invalid::Pattern) if the pattern cannot be compiled.
    #[cfg(feature = "regex")]
    pub fn on_event_type(pattern: &str) -> Result<Self, StoreError> {
        let pattern = compiled::Pattern::compile(pattern)?;
        Ok(Self { target: RegexTarget::EventType, pattern })
    }

    /// Returns the name that the pattern tests.
    #[must_use]
    pub const fn target(&self) -> RegexTarget {
        self.target
    }

    /// Returns the pattern as it was given.
    #[must_use]
    pub fn pattern(&self) -> &str {
        self.pattern.text()
    }

    /// Returns `true` if the pattern matches the name that it tests.
    ///
    /// # Errors
    ///
    /// [`Invalid::Pattern`](crate::Invalid::Pattern) if the pattern takes more than
    /// [`BACKTRACKS_MAX`](Self::BACKTRACKS_MAX) steps back on this name. Use a simpler pattern.
    pub fn matches(&self, stream: &StreamName, event_type: &EventType) -> Result<bool, StoreError> {
        self.pattern.is_match(match self.target {
            RegexTarget::StreamName => stream.as_str(),
            RegexTarget::EventType => event_type.as_str(),
        })
    }
}

impl PartialEq for RegexFilter {
    fn eq(&self, other: &Self) -> bool {
        self.target == other.target && self.pattern() == other.pattern()
    }
}

impl Eq for RegexFilter {}

impl fmt::Debug for RegexFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegexFilter")
            .field("target", &self.target)
            .field("pattern", &self.pattern())
            .finish()
    }
}

#[cfg(feature = "regex")]
mod compiled {
    use std::sync::Arc;

    use fancy_regex::{Regex, RegexBuilder};

    use super::RegexFilter;
    use crate::{Invalid, StoreError, regex_dialect::foreign};

    #[derive(Clone)]
    pub(super) struct Pattern(Arc<Regex>);

    impl Pattern {
        pub(super) fn compile(pattern: &str) -> Result<Self, StoreError> {
            if let Some(reason) = foreign(pattern) {
                return Err(invalid(pattern, reason));
            }
            let compiled =
                RegexBuilder::new(pattern).backtrack_limit(RegexFilter::BACKTRACKS_MAX).build();
            match compiled {
                Ok(regex) => Ok(Self(Arc::new(regex))),
                Err(error) => Err(invalid(pattern, error.to_string())),
            }
        }

        pub(super) fn text(&self) -> &str {
            self.0.as_str()
        }

        pub(super) fn is_match(&self, name: &str) -> Result<bool, StoreError> {
            self.0.is_match(name).map_err(|error| invalid(self.text(), format!("{name}: {error}")))
        }
    }

    fn invalid(pattern: &str, reason: String) -> StoreError {
        Invalid::Pattern { pattern: pattern.to_owned(), reason }.into()
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::{EventType, StreamName};

        #[test]
        fn a_pattern_that_takes_too_many_steps_is_an_error_and_no_mismatch() {
            // The look-ahead keeps the pattern out of the linear engine.
            let slow = RegexFilter::on_stream_name(r"^(?=a)(a|a)*(?=b)c$").unwrap();
            let name = StreamName::new("a".repeat(40)).unwrap();
            let event_type = EventType::new("happened").unwrap();
            let error = slow.matches(&name, &event_type).unwrap_err().to_string();
            assert!(error.contains(slow.pattern()), "{error}");
        }

        #[test]
        fn an_invalid_pattern_is_refused_with_the_reason() {
            let error = RegexFilter::on_event_type("(").unwrap_err().to_string();
            assert!(error.contains("invalid regular expression `(`"), "{error}");
        }
    }
}

#[cfg(not(feature = "regex"))]
mod compiled {
    use std::convert::Infallible;

    use crate::StoreError;

    /// Has no value: patterns are compiled by the feature `regex` only.
    #[derive(Clone)]
    pub(super) struct NoPattern(Infallible);

    pub(super) use self::NoPattern as Pattern;

    impl NoPattern {
        pub(super) fn text(&self) -> &str {
            match self.0 {}
        }

        pub(super) fn is_match(&self, _: &str) -> Result<bool, StoreError> {
            match self.0 {}
        }
    }
}
