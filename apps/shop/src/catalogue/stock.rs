//! Commands that receive and correct stock.

use std::convert::Infallible;

use gesta::prelude::*;
use jiff::Timestamp;

use super::{Product, StockAdjusted, StockReceived, StockRejection};
use crate::{checks, id::ProductId, quantity::Quantity};

/// Receives pieces into stock.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "receive-stock", on = Product, validate = ReceiveStock::check)]
#[serde(rename_all = "camelCase")]
pub struct ReceiveStock {
    /// Code of the product.
    #[command(id)]
    pub product_id: ProductId,
    /// Number of pieces.
    pub quantity: Quantity,
    /// Reason, as free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

impl ReceiveStock {
    fn check(&self) -> Result<(), InvalidField> {
        checks::optional_text("reason", self.reason.as_deref())
    }
}

impl Decide for ReceiveStock {
    type Rejection = Infallible;

    fn decide(&self, _: &Product) -> Decision<Self> {
        Ok(StockReceived {
            product_id: self.product_id.clone(),
            quantity: self.quantity,
            reason: self.reason.clone(),
            occurred_at: self.occurred_at,
        }
        .into())
    }
}

/// Corrects the number of pieces in stock.
#[derive(Command, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[command(name = "adjust-stock", on = Product, validate = AdjustStock::check)]
#[serde(rename_all = "camelCase")]
pub struct AdjustStock {
    /// Code of the product.
    #[command(id)]
    pub product_id: ProductId,
    /// Difference in pieces; negative for fewer.
    pub quantity: i64,
    /// Reason, as free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Business time of the change.
    #[command(edge)]
    pub occurred_at: Timestamp,
}

impl AdjustStock {
    fn check(&self) -> Result<(), InvalidField> {
        let pieces = self.quantity.unsigned_abs();
        if pieces == 0 || pieces > u64::from(Quantity::MAX) {
            let (max, got) = (Quantity::MAX, self.quantity);
            let reason = format!("must be between -{max} and {max} and not zero; got {got}");
            return Err(InvalidField::new("quantity", reason));
        }
        checks::optional_text("reason", self.reason.as_deref())
    }
}

impl Decide for AdjustStock {
    type Rejection = StockRejection;

    fn decide(&self, product: &Product) -> Decision<Self> {
        // Only a reduction can be refused.
        if self.quantity < 0 {
            product.check_available(&self.product_id, -self.quantity)?;
        }
        Ok(StockAdjusted {
            product_id: self.product_id.clone(),
            quantity: self.quantity,
            reason: self.reason.clone(),
            occurred_at: self.occurred_at,
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use gesta::testing::given;

    use super::*;
    use crate::catalogue::{ProductAdded, ProductEvent, StockKeeping};

    const THEN: Timestamp = Timestamp::UNIX_EPOCH;

    fn mug() -> ProductId {
        ProductId::new("mug").unwrap()
    }

    fn added(stock_keeping: StockKeeping) -> ProductEvent {
        let price = "1".parse().unwrap();
        let name = "Mug".to_owned();
        ProductAdded { product_id: mug(), name, price, stock_keeping, occurred_at: THEN }.into()
    }

    fn received(pieces: u64) -> StockReceived {
        let quantity = Quantity::new(pieces).unwrap();
        StockReceived { product_id: mug(), quantity, reason: None, occurred_at: THEN }
    }

    fn adjusted(quantity: i64) -> StockAdjusted {
        StockAdjusted { product_id: mug(), quantity, reason: None, occurred_at: THEN }
    }

    fn adjust(quantity: i64) -> AdjustStock {
        AdjustStock { product_id: mug(), quantity, reason: None, occurred_at: THEN }
    }

    #[test]
    fn stock_comes_in() {
        let quantity = Quantity::new(6).unwrap();
        given::<Product>([added(StockKeeping::Tracked)])
            .when(ReceiveStock { product_id: mug(), quantity, reason: None, occurred_at: THEN })
            .then(received(6));
    }

    #[test]
    fn tracked_stock_is_adjusted_down_to_zero_and_no_further() {
        let history = || [added(StockKeeping::Tracked), received(6).into()];
        given::<Product>(history()).when(adjust(-6)).then(adjusted(-6));
        given::<Product>(history()).when(adjust(-7)).then_rejected(StockRejection::Insufficient {
            product: mug(),
            requested: 7,
            available: 6,
        });
    }

    #[test]
    fn stock_that_is_not_tracked_is_adjusted_without_a_limit() {
        given::<Product>([added(StockKeeping::Untracked)]).when(adjust(-7)).then(adjusted(-7));
    }

    #[test]
    fn an_adjustment_by_nothing_or_by_too_much_is_invalid() {
        let tracked = || [added(StockKeeping::Tracked)];
        given::<Product>(tracked()).when(adjust(0)).then_invalid("quantity");
        given::<Product>(tracked()).when(adjust(i64::MIN)).then_invalid("quantity");
    }
}
