//! What an order costs.
//!
//! Owns: [`Line`], [`Discount`], [`Amounts`]. Invariants: every percentage is of the lines' sum, so
//! the order of discounts does not matter; discounts never take away more than there is. Lines and
//! their sum are exact. Discounts are added up exactly and rounded once, half to even, so that an
//! order with discounts costs whole hundredths.

use gesta::InvalidField;
use serde::{Deserialize, Serialize};

use crate::{checks, id::ProductId, money::Money, quantity::Quantity};

/// So many pieces of a product, at this price each.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Which product.
    pub product_id: ProductId,
    /// What a piece costs. Below zero in corrections that older books have.
    pub unit_price: Money,
    /// How many.
    pub quantity: Quantity,
}

impl Line {
    /// What the line costs.
    #[must_use]
    pub fn amount(&self) -> Money {
        self.unit_price.times(self.quantity)
    }
}

/// Less to pay.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq)]
pub struct Discount {
    /// What the value means.
    #[serde(rename = "type")]
    pub discount_type: DiscountType,
    /// Per cent, or an amount of money.
    pub value: Money,
}

/// What a discount's value means.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum DiscountType {
    /// Per cent of the lines' sum.
    Percentage,
    /// An amount of money.
    Fixed,
}

/// Digits after the point of a percentage.
const PERCENTAGE_DECIMALS_MAX: u32 = 2;

impl Discount {
    /// Whether the value makes sense.
    pub(super) fn check(self, field: &str) -> Result<(), InvalidField> {
        checks::positive(field, self.value)?;
        match self.discount_type {
            DiscountType::Fixed => Ok(()),
            DiscountType::Percentage if self.value > Money::whole(100) => {
                Err(InvalidField::new(field, "is more than 100 per cent"))
            }
            DiscountType::Percentage if self.value.decimals() > PERCENTAGE_DECIMALS_MAX => {
                let reason = format!("has more than {PERCENTAGE_DECIMALS_MAX} decimals");
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

/// What an order costs, and how that came about.
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
    /// The lines' sum.
    pub subtotal: Money,
    /// What the discounts take away.
    pub discount: Money,
    /// What is to be paid.
    pub total: Money,
}

impl Amounts {
    /// Adds up lines and takes discounts away.
    #[must_use]
    pub fn of(lines: &[Line], discounts: &[Discount]) -> Self {
        let subtotal: Money = lines.iter().map(Line::amount).sum();
        let wanted: Money = discounts.iter().map(|discount| discount.of(subtotal)).sum();
        let exact = wanted.min(subtotal).max(Money::ZERO);
        let discount = if discounts.is_empty() { exact } else { rounded(subtotal, exact) };
        Self { subtotal, discount, total: subtotal - discount }
    }
}

/// Rounds a discount half to even, to hundredths of what remains to be paid.
///
/// Prices may have more than two decimals. What the sum has beyond the hundredth goes with the
/// discount, so that the total is an amount that can be paid.
fn rounded(subtotal: Money, discount: Money) -> Money {
    let beyond = subtotal - subtotal.cut_to_hundredths();
    (discount - beyond).to_hundredths() + beyond
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
    fn discounts_never_make_an_order_cost_less_than_nothing() {
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
