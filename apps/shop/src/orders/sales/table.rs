//! Plain-text form of the sales report.

use std::fmt;

use super::{CountrySales, CustomerSales, Report};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_totals(f)?;
        writeln!(
            f,
            "\n{:<24}{:>10}{:>16}{:>14}",
            "country", "orders", "gross revenue", "refunded"
        )?;
        for CountrySales { country, orders, gross_revenue, refunded } in &self.by_country {
            // As text first, so that the width applies to the whole amount.
            let (gross, refunded) = (gross_revenue.to_string(), refunded.to_string());
            writeln!(f, "{country:<24}{orders:>10}{gross:>16}{refunded:>14}")?;
        }
        writeln!(f, "\n{:<24}{:>10}{:>16}", "top customers", "orders", "gross revenue")?;
        for CustomerSales { customer, orders, gross_revenue } in &self.top_customers {
            let gross = gross_revenue.to_string();
            writeln!(f, "{customer:<24}{orders:>10}{gross:>16}")?;
        }
        Ok(())
    }
}

impl Report {
    fn fmt_totals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = [
            ("orders", self.orders.to_string()),
            ("  by guests", self.guest_orders.to_string()),
            ("  lines", self.order_lines.to_string()),
            ("  pieces", self.units_sold.to_string()),
            ("gross revenue", self.gross_revenue.to_string()),
            ("credit notes", self.credit_notes.to_string()),
            ("refunded", self.refunded.to_string()),
            ("net revenue", self.net_revenue.to_string()),
            ("stock adjustments", self.stock_adjustments.to_string()),
            ("customers", self.customers.to_string()),
            ("products", self.products.to_string()),
        ];
        totals.iter().try_for_each(|(name, value)| writeln!(f, "{name:<24}{value:>14}"))
    }
}
