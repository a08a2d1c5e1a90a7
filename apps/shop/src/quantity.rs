//! Quantities of pieces.
//!
//! Invariant: a quantity is between 1 and [`Quantity::MAX`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number of pieces, from 1 to [`Quantity::MAX`].
///
/// ```
/// use shop::quantity::Quantity;
///
/// assert_eq!(Quantity::new(6)?.number(), 6);
/// assert!(Quantity::new(0).is_err());
/// # Ok::<(), shop::quantity::InvalidQuantity>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Quantity(u32);

/// The error for a number out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quantity must be between 1 and {}; got {number}", Quantity::MAX)]
pub struct InvalidQuantity {
    number: u64,
}

impl Quantity {
    /// Maximum quantity.
    pub const MAX: u32 = 1_000_000;
    /// One piece.
    pub const ONE: Self = Self(1);

    /// Creates a quantity.
    ///
    /// # Errors
    /// [`InvalidQuantity`] when it is zero or greater than [`MAX`](Self::MAX).
    pub fn new(number: u64) -> Result<Self, InvalidQuantity> {
        match u32::try_from(number) {
            Ok(pieces @ 1..=Self::MAX) => Ok(Self(pieces)),
            Ok(_) | Err(_) => Err(InvalidQuantity { number }),
        }
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl TryFrom<u64> for Quantity {
    type Error = InvalidQuantity;

    fn try_from(number: u64) -> Result<Self, InvalidQuantity> {
        Self::new(number)
    }
}

impl From<Quantity> for u64 {
    fn from(quantity: Quantity) -> Self {
        Self::from(quantity.0)
    }
}

impl From<Quantity> for i64 {
    fn from(quantity: Quantity) -> Self {
        Self::from(quantity.0)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
