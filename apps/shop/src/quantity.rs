//! How many: a number of pieces of one product.
//!
//! Always holds: at least one, at most [`Quantity::MAX`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number of pieces, at least one.
///
/// ```
/// use shop::quantity::Quantity;
///
/// assert_eq!(Quantity::new(6)?.number(), 6);
/// assert!(Quantity::new(0).is_err());
/// # Ok::<(), shop::quantity::NotAQuantity>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Quantity(u32);

/// A number that is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{number} is not a quantity, which is from 1 to {}", Quantity::MAX)]
pub struct NotAQuantity {
    number: u64,
}

impl Quantity {
    /// The greatest quantity.
    pub const MAX: u32 = 1_000_000;
    /// One piece.
    pub const ONE: Self = Self(1);

    /// Checks the number and makes it a quantity.
    ///
    /// # Errors
    /// [`NotAQuantity`] when it is zero or greater than [`MAX`](Self::MAX).
    pub fn new(number: u64) -> Result<Self, NotAQuantity> {
        match u32::try_from(number) {
            Ok(pieces @ 1..=Self::MAX) => Ok(Self(pieces)),
            Ok(_) | Err(_) => Err(NotAQuantity { number }),
        }
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl TryFrom<u64> for Quantity {
    type Error = NotAQuantity;

    fn try_from(number: u64) -> Result<Self, NotAQuantity> {
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
