//! The role of a node: the parts of an application that it serves.
//!
//! Owns: [`Role`], and [`OtherRole`], the refusal of the rest.
//!
//! Invariant: a refused command was not executed. Not here: the sharing of one part among several
//! nodes ([`nodes`](crate::nodes)).

use std::{fmt, str::FromStr};

/// The parts of an application that a node serves. Nodes of different roles share one event store
/// and one set of read models, so that the parts scale apart.
///
/// | role | commands | queries | projections, process managers, reactors |
/// | --- | --- | --- | --- |
/// | `all` | yes | yes | yes |
/// | `commands` | yes | | |
/// | `queries` | | yes | |
/// | `projections` | those of its process managers | | yes |
///
/// Every role loads aggregates, and shows status and health.
///
/// ```
/// use gesta::Role;
///
/// let role: Role = "queries".parse()?;
/// assert_eq!((role, role.to_string().as_str()), (Role::Queries, "queries"));
/// assert!("readers".parse::<Role>().is_err());
/// # Ok::<(), gesta::ParseRoleError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Everything.
    #[default]
    All,
    /// Commands.
    Commands,
    /// Queries.
    Queries,
    /// Projections, process managers and reactors.
    Projections,
}

impl Role {
    const ALL: [Self; 4] = [Self::All, Self::Commands, Self::Queries, Self::Projections];

    /// Returns the role as a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Commands => "commands",
            Self::Queries => "queries",
            Self::Projections => "projections",
        }
    }

    /// Checks that a node of this role executes commands.
    pub(crate) fn check_commands(self) -> Result<(), OtherRole> {
        self.check("commands", Self::Commands)
    }

    /// Checks that a node of this role answers queries.
    pub(crate) fn check_queries(self) -> Result<(), OtherRole> {
        self.check("queries", Self::Queries)
    }

    /// Returns whether a node of this role runs projections, process managers and reactors.
    pub(crate) fn runs_tasks(self) -> bool {
        matches!(self, Self::All | Self::Projections)
    }

    fn check(self, what: &'static str, needed: Self) -> Result<(), OtherRole> {
        match self == needed || self == Self::All {
            true => Ok(()),
            false => Err(OtherRole { role: self, what }),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An unknown role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a role; expected `all`, `commands`, `queries` or `projections`")]
#[non_exhaustive]
pub struct ParseRoleError {
    /// The rejected text.
    pub text: String,
}

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| ParseRoleError { text: text.to_owned() })
    }
}

/// The refusal of a command or query by a node of another role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node takes no {what}: its role is `{role}`; send them to a node with the role \
         `{what}` or `all`"
)]
#[non_exhaustive]
pub struct OtherRole {
    /// The role of this node.
    pub role: Role,
    /// `commands` or `queries`.
    pub what: &'static str,
}
