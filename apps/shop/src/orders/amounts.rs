//! Amounts of an order.
//!
//! Owns: [`Line`], [`Discount`], [`Amounts`]. Invariants: every percentage is of the sum of the
//! lines, so the order of discounts does not matter; discounts never exceed that sum. Lines and
//! their sum are exact. Discounts are added up exactly and rounded once, half to even, so that the
//! total of an order with discounts has whole hundredths.

use gesta::InvalidField;
use gesta_http::Schema;
use serde::{Deserialize, Serialize};

use crate::{checks, id::ProductId, money::Money, quantity::Quantity};

/// A number of pieces of one product, with the unit price.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Schema)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Code of the product.
    pub product_id: ProductId,
    /// Price of a piece. Negative in corrections of imported orders.
    pub unit_price: Money,
    /// Number of pieces.
    pub quantity: Quantity,
}

impl Line {
    /// The line's amount: unit price times quantity.
    #[must_use]
    pub fn amount(&self) -> Money {
        self.unit_price.times(self.quantity)
    }
}

/// A discount on the sum of an order's lines.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Schema)]
pub struct Discount {
    /// Meaning of the value.
    #[serde(rename = "type")]
    pub discount_type: DiscountType,
    /// Percentage, or amount of money.
    pub value: Money,
}

/// Meaning of a discount's value.
#[derive(Serialize, Deserialize, Schema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum DiscountType {
    /// A percentage of the sum of the lines.
    Percentage,
    /// An amount of money.
    Fixed,
}

const PERCENTAGE_DECIMALS_MAX: u32 = 2;

impl Discount {
    pub(super) fn check(self, field: &str) -> Result<(), InvalidField> {
        checks::positive(field, self.value)?;
        match self.discount_type {
            DiscountType::Fixed => Ok(()),
            DiscountType::Percentage if self.value > Money::whole(100) => Err(InvalidField::new(
                field,
                format!("must be at most 100 percent; got {}", self.value),
            )),
            DiscountType::Percentage if self.value.decimals() > PERCENTAGE_DECIMALS_MAX => {
                // More decimal places could make a discount that no decimal number holds exactly.
                let reason = format!(
                    "must have at most {PERCENTAGE_DECIMALS_MAX} decimal places; got {}",
                    self.value
                );
                Err(InvalidField::new(field, reason))
            }
            DiscountType::Percentage => Ok(()),
        }
    }

    fn of(self, subtotal: Money) -> Money {
        match self.discount_type {
            DiscountType::Percentage => subtotal.percent(self.value),
            DiscountType::Fixed => self.value,
        }
    }
}

/// Subtotal, discount and total of an order.
///
/// ```
/// use shop::{money::Money, orders::{Amounts, Discount, DiscountType, Line}, quantity::Quantity};
/// use shop::id::ProductId;
///
/// let line = Line {
///     product_id: ProductId::new("71053")?,
///     unit_price: "3.39".parse()?,
///     quantity: Quantity::new(6)?,
/// };
/// let tenth = Discount { discount_type: DiscountType::Percentage, value: Money::whole(10) };
/// let amounts = Amounts::of(&[line], &[tenth]);
/// assert_eq!((amounts.discount, amounts.total), ("2.03".parse()?, "18.31".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Amounts {
    /// Sum of the lines.
    pub subtotal: Money,
    /// Sum of the discounts.
    pub discount: Money,
    /// Amount to pay.
    pub total: Money,
}

impl Amounts {
    /// Calculates the amounts of an order.
    #[must_use]
    pub fn of(lines: &[Line], discounts: &[Discount]) -> Self {
        // Exact up to here: rounding each line would make the sum depend on how lines are split.
        let subtotal: Money = lines.iter().map(Line::amount).sum();
        let sum: Money = discounts.iter().map(|discount| discount.of(subtotal)).sum();
        // A correction may make the subtotal negative; a discount is never negative.
        let exact = sum.min(subtotal).max(Money::ZERO);
        // Without discounts the total is exact too, as imported orders require.
        let discount = if discounts.is_empty() { exact } else { rounded(subtotal, exact) };
        Self { subtotal, discount, total: subtotal - discount }
    }
}

/// Rounds a discount to hundredths, half to even, so that the total has whole hundredths.
///
/// Unit prices may have more than two decimal places. The part of the sum below a hundredth is
/// added to the discount.
fn rounded(subtotal: Money, discount: Money) -> Money {
    let beyond = subtotal - subtotal.truncate_to_hundredths();
    (discount - beyond).round_to_hundredths() + beyond
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(price: &str, quantity: u64) -> Line {
        Line {
            product_id: ProductId::new("mug").unwrap(),
            unit_price: price.parse().unwrap(),
            quantity: Quantity::new(quantity).unwrap(),
        }
    }

    fn percentage(value: &str) -> Discount {
        Discount { discount_type: DiscountType::Percentage, value: value.parse().unwrap() }
    }

    fn fixed(value: &str) -> Discount {
        Discount { discount_type: DiscountType::Fixed, value: value.parse().unwrap() }
    }

    fn total(lines: &[Line], discounts: &[Discount]) -> String {
        Amounts::of(lines, discounts).total.to_string()
    }

    #[test]
    fn a_percentage_is_taken_of_the_sum_and_not_as_an_amount() {
        assert_eq!(total(&[line("50", 4)], &[percentage("10")]), "180");
    }

    #[test]
    fn a_fixed_discount_is_taken_as_an_amount() {
        assert_eq!(total(&[line("50", 4)], &[fixed("10")]), "190");
    }

    #[test]
    fn an_order_without_discounts_is_not_rounded() {
        assert_eq!(total(&[line("0.001", 3)], &[]), "0.003");
    }

    #[test]
    fn discounts_are_rounded_once_half_to_even_so_that_the_total_can_be_paid() {
        assert_eq!(total(&[line("3.39", 6)], &[percentage("10")]), "18.31");
        assert_eq!(total(&[line("36.02", 1)], &[percentage("8.99")]), "32.78");
        // A discount of 0.025 is 0.02, one of 0.075 is 0.08; two of 0.0125 are 0.02 together.
        assert_eq!(total(&[line("0.20", 1)], &[percentage("12.5")]), "0.18");
        assert_eq!(total(&[line("0.60", 1)], &[percentage("12.5")]), "0.52");
        let half = || percentage("6.25");
        assert_eq!(total(&[line("0.20", 1)], &[half(), half()]), "0.18");
    }

    #[test]
    fn a_price_beyond_hundredths_leaves_a_total_of_whole_hundredths_once_there_is_a_discount() {
        let amounts = Amounts::of(&[line("1.2345", 1)], &[percentage("10")]);
        assert_eq!(amounts.total.to_string(), "1.11");
        assert_eq!(amounts.subtotal - amounts.discount, amounts.total);
    }

    #[test]
    fn discounts_never_make_a_total_negative() {
        assert_eq!(total(&[line("5", 1)], &[fixed("3"), fixed("3")]), "0");
        assert_eq!(total(&[line("5", 1)], &[percentage("60"), percentage("60")]), "0");
        assert_eq!(total(&[line("-5", 1)], &[fixed("3")]), "-5");
    }

    #[test]
    fn an_order_of_the_greatest_amounts_is_still_exact() {
        let most = line("999999999.9999", 1_000_000);
        let lines = vec![most; 5_000];
        assert_eq!(total(&lines, &[percentage("99.99")]), "499999999999950");
    }

    proptest! {
        #[test]
        fn the_order_of_discounts_does_not_matter(
            cents in 1_i64..10_000_000, tenth in 1_i64..1_000, off in 1_i64..10_000
        ) {
            let lines = [line(&format!("{cents}e-2"), 3)];
            let (one, other) = (percentage(&format!("{tenth}e-1")), fixed(&format!("{off}e-2")));
            prop_assert_eq!(Amounts::of(&lines, &[one, other]), Amounts::of(&lines, &[other, one]));
        }
    }
}
