//! The part of the traces that is exported.

use std::{fmt, str::FromStr};

/// The part of the traces that is exported, from 0 to 1.
///
/// Decides on traces that begin in this program. A trace that a caller has begun, or that an event
/// carries, follows the decision that was made where it began.
///
/// ```
/// use gesta_telemetry::SampleRatio;
///
/// let tenth: SampleRatio = "0.1".parse()?;
/// assert_eq!(tenth.to_string(), "0.1");
/// assert!("2".parse::<SampleRatio>().is_err());
/// # Ok::<(), gesta_telemetry::InvalidSampleRatio>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleRatio(f64);

/// A number that is no part of all traces.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a number between 0 and 1; got {0}")]
pub struct InvalidSampleRatio(String);

impl SampleRatio {
    /// All traces.
    pub const ALL: Self = Self(1.0);

    /// Creates a ratio.
    ///
    /// # Errors
    /// [`InvalidSampleRatio`] if it is not between 0 and 1: correct the number.
    pub fn new(ratio: f64) -> Result<Self, InvalidSampleRatio> {
        match (0.0..=1.0).contains(&ratio) {
            true => Ok(Self(ratio)),
            false => Err(InvalidSampleRatio(ratio.to_string())),
        }
    }

    /// Returns the ratio as a number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for SampleRatio {
    type Err = InvalidSampleRatio;

    fn from_str(text: &str) -> Result<Self, InvalidSampleRatio> {
        let ratio = text.parse().map_err(|_| InvalidSampleRatio(text.to_owned()))?;
        Self::new(ratio)
    }
}

impl fmt::Display for SampleRatio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
