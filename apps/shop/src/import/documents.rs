//! Conversion of rows to documents, and of documents to commands.
//!
//! Invariants: documents and products keep the order of the file; a document always yields the same
//! commands with the same ids.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt, io,
};

use jiff::Timestamp;

use super::{
    InvalidRow, ReadError,
    rows::{InvoiceLine, RowReader, SignedQuantity},
};
use crate::{
    catalogue::{AddProduct, AdjustStock, StockKeeping},
    id::{CreditNoteId, CustomerId, OrderId, ProductId},
    money::Money,
    orders::{
        Address, Line, OrderItem, PayOrder, PlaceOrder, Prices, ShipOrder,
        credit_notes::IssueCreditNote,
    },
};

/// A document or product that was rejected, wholly or in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedDocument {
    /// First line of the document in the file.
    pub line: u64,
    /// Kind and number of the document, or code of the product.
    pub document: String,
    /// Text of the rejection.
    pub reason: String,
}

impl fmt::Display for RejectedDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {}", self.line, self.document, self.reason)
    }
}

/// All products and documents of a file.
#[derive(Debug, Default)]
pub struct Documents {
    products: Vec<ProductDraft>,
    documents: Vec<Document>,
    invalid_rows: Vec<InvalidRow>,
    products_by_code: HashMap<ProductId, usize>,
    documents_by_invoice: HashMap<OrderId, usize>,
}

impl Documents {
    /// Reads a CSV table.
    ///
    /// # Errors
    /// [`ReadError`] when the file lacks a column, or cannot be read to its end.
    pub fn read(file: impl io::Read) -> Result<Self, ReadError> {
        let mut read = Self::default();
        let mut rows = RowReader::new(file)?;
        while let Some(row) = rows.next()? {
            match row {
                Ok(row) => read.take(row),
                Err(bad) => read.invalid_rows.push(bad),
            }
        }
        Ok(read)
    }

    /// Rows that could not be read and belong to no document.
    #[must_use]
    pub fn invalid_rows(&self) -> &[InvalidRow] {
        &self.invalid_rows
    }

    /// Number of products and documents to import.
    #[must_use]
    pub fn len(&self) -> usize {
        self.products.len() + self.documents.len()
    }

    /// Returns whether there is nothing to import.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn into_parts(self) -> (Vec<ProductDraft>, Vec<Document>) {
        (self.products, self.documents)
    }

    fn take(&mut self, row: InvoiceLine) {
        // Every row describes its product and its document; both may have been seen before.
        match self.products_by_code.entry(row.product.clone()) {
            Entry::Occupied(known) => {
                if let Some(product) = self.products.get_mut(*known.get()) {
                    product.take(&row);
                }
            }
            Entry::Vacant(new) => {
                new.insert(self.products.len());
                self.products.push(ProductDraft::first_seen_in(&row));
            }
        }
        // By invoice number and not by neighbouring rows: the rows of one invoice may be apart.
        match self.documents_by_invoice.entry(row.invoice.clone()) {
            Entry::Occupied(known) => {
                if let Some(document) = self.documents.get_mut(*known.get()) {
                    document.rows.push(DocumentRow::of(row));
                }
            }
            Entry::Vacant(new) => {
                new.insert(self.documents.len());
                self.documents.push(Document::beginning_with(row));
            }
        }
    }
}

/// A product as described by the rows of the file.
#[derive(Debug)]
pub(super) struct ProductDraft {
    pub(super) line: u64,
    code: ProductId,
    /// First description of a sale.
    name: Option<String>,
    /// First description of any row; often a note on stock, such as `damaged`.
    note: Option<String>,
    /// First price above zero; gifts and corrections have other prices.
    price: Option<Money>,
    first_at: Timestamp,
}

impl ProductDraft {
    fn first_seen_in(row: &InvoiceLine) -> Self {
        let mut product = Self {
            line: row.line,
            code: row.product.clone(),
            name: None,
            note: None,
            price: None,
            first_at: row.occurred_at,
        };
        product.take(row);
        product
    }

    fn take(&mut self, row: &InvoiceLine) {
        let has_price = row.unit_price > Money::ZERO;
        if !row.description.is_empty() {
            // A row without a price is often a note on stock, so its text is the second choice.
            let known = if has_price { &mut self.name } else { &mut self.note };
            known.get_or_insert_with(|| row.description.clone());
        }
        if self.price.is_none() && has_price {
            self.price = Some(row.unit_price);
        }
    }

    pub(super) fn command_id(&self) -> String {
        format!("import-product/{}", self.code)
    }

    /// Converts to a command. A product without a description is named by its code; its stock is
    /// not tracked.
    pub(super) fn into_command(self) -> AddProduct {
        AddProduct {
            name: self.name.or(self.note).unwrap_or_else(|| self.code.to_string()),
            product_id: self.code,
            price: self.price.unwrap_or(Money::ZERO),
            // The file does not say what was in stock at its beginning, so nothing can be counted.
            stock_keeping: StockKeeping::Untracked,
            occurred_at: self.first_at,
        }
    }
}

/// The rows of one invoice number.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) line: u64,
    pub(super) invoice: OrderId,
    customer: Option<CustomerId>,
    country: Option<String>,
    occurred_at: Timestamp,
    rows: Vec<DocumentRow>,
}

#[derive(Debug)]
struct DocumentRow {
    product: ProductId,
    pieces: SignedQuantity,
    unit_price: Money,
}

impl DocumentRow {
    fn of(row: InvoiceLine) -> Self {
        Self { product: row.product, pieces: row.pieces, unit_price: row.unit_price }
    }
}

/// A command of a document.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Place(PlaceOrder),
    Pay(PayOrder),
    Ship(ShipOrder),
    Issue(IssueCreditNote),
    Adjust(AdjustStock),
}

impl Document {
    /// Starts a document; customer, country and time are those of its first row.
    fn beginning_with(mut row: InvoiceLine) -> Self {
        Self {
            line: row.line,
            invoice: row.invoice.clone(),
            customer: row.customer.take(),
            country: row.country.take(),
            occurred_at: row.occurred_at,
            rows: vec![DocumentRow::of(row)],
        }
    }

    /// Returns the document's commands in order, with their command ids.
    pub(super) fn steps(&self) -> Vec<(String, Step)> {
        // The source marks credit notes with a C before the number.
        if self.invoice.as_str().starts_with('C') {
            return self.credit_note();
        }
        // An invoice may have both kinds of rows: sold pieces are an order, negative ones correct
        // the stock.
        let mut steps = self.order();
        steps.extend(self.adjustments());
        steps
    }

    fn credit_note(&self) -> Vec<(String, Step)> {
        let credit_note_id =
            CreditNoteId::new(self.invoice.as_str()).expect("all ids have the same rules");
        let line = |row: &DocumentRow| match row.pieces {
            SignedQuantity::Returned(quantity) => row.line(row.unit_price, quantity),
            // A sale on a credit note reduces the refund.
            SignedQuantity::Sold(quantity) => row.line(-row.unit_price, quantity),
        };
        let issue = IssueCreditNote {
            credit_note_id,
            customer_id: self.customer.clone(),
            country: self.country.clone(),
            lines: self.rows.iter().map(line).collect(),
            occurred_at: self.occurred_at,
        };
        vec![(self.command_id("issue"), Step::Issue(issue))]
    }

    fn order(&self) -> Vec<(String, Step)> {
        let items: Vec<_> = self.rows.iter().filter_map(DocumentRow::item).collect();
        // An order must have an item; such a document only corrects stock.
        if items.is_empty() {
            return Vec::new();
        }
        let (order_id, occurred_at) = (self.invoice.clone(), self.occurred_at);
        let place = PlaceOrder {
            order_id: order_id.clone(),
            customer_id: self.customer.clone(),
            shipping_address: self.address(),
            order_items: items,
            discounts: Vec::new(),
            payment_account_id: None,
            // Prices at the time of sale; the catalogue has the current ones.
            prices: Prices::AsGiven,
            occurred_at,
        };
        // The source has no dates of payment and shipment, so all steps have the invoice's date.
        let method = "invoice".to_owned();
        let pay = PayOrder { order_id: order_id.clone(), method, reference: None, occurred_at };
        let ship = ShipOrder { order_id, tracking: None, occurred_at };
        vec![
            (self.command_id("place"), Step::Place(place)),
            (self.command_id("pay"), Step::Pay(pay)),
            (self.command_id("ship"), Step::Ship(ship)),
        ]
    }

    fn address(&self) -> Option<Address> {
        let country = self.country.clone()?;
        Some(Address { country: Some(country), ..Address::default() })
    }

    fn adjustments(&self) -> Vec<(String, Step)> {
        // The n-th adjustment of a product in a document has a stable command id.
        let mut of_product: HashMap<&ProductId, u32> = HashMap::new();
        let adjusted = self.rows.iter().filter_map(|row| match row.pieces {
            SignedQuantity::Sold(_) => None,
            SignedQuantity::Returned(quantity) => Some((row, quantity)),
        });
        adjusted
            .map(|(row, quantity)| {
                let number = of_product.entry(&row.product).or_default();
                *number += 1;
                let id = self.command_id(&format!("adjust/{}/{number}", row.product));
                let adjust = AdjustStock {
                    product_id: row.product.clone(),
                    quantity: -i64::from(quantity),
                    reason: Some(format!("document {}", self.invoice)),
                    occurred_at: self.occurred_at,
                };
                (id, Step::Adjust(adjust))
            })
            .collect()
    }

    fn command_id(&self, step: &str) -> String {
        // From the document alone, so that a second import sends the same ids and the pipeline
        // recognizes the commands as repeats.
        format!("import/{}/{step}", self.invoice)
    }
}

impl DocumentRow {
    fn line(&self, unit_price: Money, quantity: crate::quantity::Quantity) -> Line {
        Line { product_id: self.product.clone(), unit_price, quantity }
    }

    fn item(&self) -> Option<OrderItem> {
        let (product_id, unit_price) = (self.product.clone(), Some(self.unit_price));
        match self.pieces {
            SignedQuantity::Sold(quantity) => Some(OrderItem { product_id, unit_price, quantity }),
            SignedQuantity::Returned(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn read(rows: &[&str]) -> Documents {
        let file = format!("{HEADER}{}\n", rows.join("\n"));
        Documents::read(file.as_bytes()).unwrap()
    }

    fn ids(documents: &Documents) -> Vec<String> {
        let steps = documents.documents.iter().flat_map(Document::steps);
        steps.map(|(id, _)| id).collect()
    }

    #[test]
    fn rows_of_one_invoice_are_one_order_wherever_they_stand() {
        let documents = read(&[
            "1,mug,Mug,2,2010-12-01T08:26:00Z,3.39,17850,France",
            "2,mug,Mug,1,2010-12-01T08:27:00Z,3.39,,France",
            "1,jug,Jug,1,2010-12-01T08:26:00Z,5,17850,France",
        ]);
        let expected = ["1/place", "1/pay", "1/ship", "2/place", "2/pay", "2/ship"];
        assert_eq!(ids(&documents), expected.map(|id| format!("import/{id}")));
        let (_, first) = documents.documents[0].steps().remove(0);
        let Step::Place(place) = first else { panic!("an order is placed first") };
        assert_eq!(place.order_items.len(), 2);
        assert_eq!(place.shipping_address.unwrap().country.as_deref(), Some("France"));
    }

    #[test]
    fn rows_that_take_away_adjust_stock_and_belong_to_no_order() {
        let documents = read(&[
            "1,mug,,-2,2010-12-01T08:26:00Z,0,,United Kingdom",
            "1,mug,,-2,2010-12-01T08:26:00Z,0,,United Kingdom",
        ]);
        assert_eq!(ids(&documents), ["import/1/adjust/mug/1", "import/1/adjust/mug/2"]);
        let (_, step) = documents.documents[0].steps().remove(0);
        let Step::Adjust(adjust) = step else { panic!("stock is adjusted") };
        assert_eq!(adjust.quantity, -2);
    }

    #[test]
    fn an_invoice_with_a_c_is_a_credit_note() {
        let documents = read(&["C1,mug,Mug,-2,2010-12-01T08:26:00Z,3.39,17850,France"]);
        assert_eq!(ids(&documents), ["import/C1/issue"]);
        let (_, step) = documents.documents[0].steps().remove(0);
        let Step::Issue(issue) = step else { panic!("a credit note is issued") };
        assert_eq!(issue.lines[0].amount().to_string(), "6.78");
    }

    #[test]
    fn a_product_has_the_first_description_that_is_not_empty_and_the_first_price() {
        let mut documents = read(&[
            "1,mug,,-2,2010-12-01T08:26:00Z,0.5,,France",
            "2,mug,Mug,1,2010-12-02T08:26:00Z,3.39,,France",
            "3,mug,Red mug,1,2010-12-02T08:26:00Z,3.39,,France",
        ]);
        let product = documents.products.remove(0).into_command();
        assert_eq!((product.name.as_str(), product.price.to_string().as_str()), ("Mug", "0.5"));
        assert_eq!(product.stock_keeping, StockKeeping::Untracked);
    }

    #[test]
    fn a_note_on_stock_or_a_gift_names_and_prices_a_product_only_where_no_sale_does() {
        let mut documents = read(&[
            "1,mug,check,-2,2010-12-01T08:26:00Z,0,,France",
            "2,mug,,1,2010-12-02T08:26:00Z,0,,France",
            "3,mug,Mug,1,2010-12-02T08:26:00Z,3.39,,France",
            "4,jug,thrown away,-1,2010-12-02T08:26:00Z,0,,France",
            "5,hat,,-1,2010-12-02T08:26:00Z,0,,France",
        ]);
        let products = documents.products.drain(..).map(ProductDraft::into_command);
        let named: Vec<_> = products.map(|it| (it.name, it.price.to_string())).collect();
        let expected = [("Mug", "3.39"), ("thrown away", "0"), ("hat", "0")];
        assert_eq!(named, expected.map(|(name, price)| (name.to_owned(), price.to_owned())));
    }

    #[test]
    fn an_invalid_row_does_not_affect_other_rows_of_its_invoice() {
        let documents = read(&[
            "1,mug,Mug,x,2010-12-01T08:26:00Z,3.39,,France",
            "1,jug,Jug,1,2010-12-01T08:26:00Z,5,,France",
        ]);
        assert_eq!((documents.invalid_rows().len(), documents.len()), (1, 2));
    }
}
