//! An order that was sold.

use serde::{Deserialize, Serialize};

use super::sums::{Buyer, Sums};
use crate::{money::Money, orders::OrderPlaced};

/// Amounts that a cancellation or a refund subtracts again, and whose they are.
#[derive(Serialize, Deserialize, Clone, Debug)]
pub(super) struct SoldOrder {
    pub(super) buyer: Buyer,
    pub(super) lines: i64,
    pub(super) units: i64,
    pub(super) total: Money,
    pub(super) paid: bool,
}

impl SoldOrder {
    pub(super) fn of(placed: &OrderPlaced) -> Self {
        let address = placed.shipping_address.as_ref();
        Self {
            buyer: Buyer {
                customer: placed.customer_id.as_ref().map(ToString::to_string),
                country: address.and_then(|address| address.country.clone()),
            },
            lines: placed.lines.len().try_into().unwrap_or(i64::MAX),
            units: placed.lines.iter().map(|line| i64::from(line.quantity)).sum(),
            total: placed.amounts.total,
            paid: false,
        }
    }

    pub(super) fn sums(&self) -> Sums {
        Sums {
            orders: 1,
            guest_orders: i64::from(self.buyer.customer.is_none()),
            order_lines: self.lines,
            units_sold: self.units,
            gross_revenue: self.total,
            ..Sums::default()
        }
    }
}
