//! Kinds of refusals of a command.
//!
//! Invariant: a code of the business is never taken for an outcome of the framework, neither in
//! Rust nor in text, whatever the code is. Not here: refusals with their reasons, as stored.

use std::fmt;

/// The prefix of the framework's outcomes in text.
const OF_GESTA: &str = "gesta:";
/// The prefix of a rejection's code that would be ambiguous in text.
const OF_BUSINESS: &str = "rejected:";

/// The kind of a command's refusal.
///
/// In text the code of a rejection stands as it is, and an outcome of the framework has a prefix:
/// `gesta:not-found`. A rejection's code that could be taken for one is written as
/// `rejected:not-found`.
///
/// ```
/// use gesta::RefusalKind;
///
/// let rejected = |code: &str| RefusalKind::Rejected { code: code.to_owned() };
/// assert_ne!(rejected("not-found"), RefusalKind::NotFound);
/// assert_eq!(rejected("not-paid").to_string(), "not-paid");
/// assert_eq!(rejected("not-found").to_string(), "rejected:not-found");
/// assert_eq!(RefusalKind::NotFound.to_string(), "gesta:not-found");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalKind {
    /// The business rejected the command.
    Rejected {
        /// Code of the [`Rejection`](crate::Rejection).
        code: String,
    },
    /// Validation failed.
    Invalid,
    /// The actor may not execute the command.
    Unauthorized,
    /// The command requires an aggregate that does not exist.
    NotFound,
    /// The command creates an aggregate that exists.
    AlreadyExists,
    /// The aggregate is not at the expected revision.
    RevisionMismatch,
    /// An event of the decision has no form that can be decoded.
    Unencodable,
    /// The store refused the append for good.
    Store,
}

impl RefusalKind {
    /// Returns the code of the rejection, or `None` if the business did not refuse the command.
    #[must_use]
    pub fn rejection_code(&self) -> Option<&str> {
        match self {
            Self::Rejected { code } => Some(code),
            _ => None,
        }
    }

    /// Reads the text of a refusal. Earlier versions wrote outcomes of the framework without their
    /// prefix.
    pub(crate) fn read(text: &str) -> Self {
        if let Some(code) = text.strip_prefix(OF_BUSINESS) {
            return Self::Rejected { code: code.to_owned() };
        }
        if let Some(word) = text.strip_prefix(OF_GESTA) {
            // A later version may know more; none of them is a rejection.
            return Self::outcome(word).unwrap_or(Self::Store);
        }
        Self::outcome(text).unwrap_or_else(|| Self::Rejected { code: text.to_owned() })
    }

    /// Returns the outcome of the framework with this name.
    pub(crate) fn outcome(word: &str) -> Option<Self> {
        Some(match word {
            "invalid" => Self::Invalid,
            "unauthorized" => Self::Unauthorized,
            "not-found" => Self::NotFound,
            "already-exists" => Self::AlreadyExists,
            "revision-mismatch" => Self::RevisionMismatch,
            "unencodable" => Self::Unencodable,
            "store" => Self::Store,
            _ => return None,
        })
    }
}

impl fmt::Display for RefusalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Rejected { code } => {
                let ambiguous = Self::outcome(code).is_some()
                    || code.starts_with(OF_GESTA)
                    || code.starts_with(OF_BUSINESS);
                return if ambiguous {
                    write!(f, "{OF_BUSINESS}{code}")
                } else {
                    f.write_str(code)
                };
            }
            Self::Invalid => "invalid",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::RevisionMismatch => "revision-mismatch",
            Self::Unencodable => "unencodable",
            Self::Store => "store",
        };
        write!(f, "{OF_GESTA}{word}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_comes_back_from_its_text_whatever_its_code_is() {
        let codes = ["not-paid", "not-found", "store", "gesta:store", "rejected:x", ""];
        let rejections = codes.map(|code| RefusalKind::Rejected { code: code.to_owned() });
        let outcomes = [RefusalKind::Invalid, RefusalKind::NotFound, RefusalKind::Store];
        for kind in rejections.into_iter().chain(outcomes) {
            assert_eq!(RefusalKind::read(&kind.to_string()), kind);
        }
    }

    #[test]
    fn an_outcome_of_an_earlier_version_is_none_of_the_business() {
        assert_eq!(RefusalKind::read("not-found"), RefusalKind::NotFound);
        assert_eq!(RefusalKind::read("gesta:of-a-later-version"), RefusalKind::Store);
    }
}
