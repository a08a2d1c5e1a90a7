//! Rows of the table, read one at a time.
//!
//! Invariants: a row is valid input of the commands; an invalid row is reported with line, column
//! and error.

use std::{fmt, io};

use csv::ByteRecord;
use gesta::InvalidField;
use jiff::Timestamp;

use crate::{
    checks,
    id::{CustomerId, OrderId, ProductId},
    money::Money,
    quantity::Quantity,
};

/// Columns in the order of [`RowReader::row`]; a file may have them in any order.
const COLUMNS: [&str; 8] = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
];

/// Errors that stop the reading of a file.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read, or is not CSV.
    #[error("the file cannot be read as CSV")]
    Csv(#[from] csv::Error),
    /// A required column is missing.
    #[error("the file has no column {column}; its first line must name the columns {}", COLUMNS.join(", "))]
    MissingColumn {
        /// Name of the column.
        column: &'static str,
    },
}

/// A row that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRow {
    /// Line in the file.
    pub line: u64,
    /// The column and its error.
    pub reason: InvalidField,
}

impl fmt::Display for InvalidRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// An invoice line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct InvoiceLine {
    pub(super) line: u64,
    /// Also the id of a credit note: both kinds of ids have the same rules.
    pub(super) invoice: OrderId,
    pub(super) product: ProductId,
    pub(super) description: String,
    pub(super) pieces: SignedQuantity,
    pub(super) unit_price: Money,
    pub(super) occurred_at: Timestamp,
    pub(super) customer: Option<CustomerId>,
    pub(super) country: Option<String>,
}

/// A quantity with its direction: sold, or returned to the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignedQuantity {
    Sold(Quantity),
    Returned(Quantity),
}

pub(super) struct RowReader<R> {
    reader: csv::Reader<R>,
    columns: [usize; COLUMNS.len()],
    record: ByteRecord,
}

impl<R: io::Read> RowReader<R> {
    pub(super) fn new(file: R) -> Result<Self, ReadError> {
        // Flexible: a row with too few fields is one invalid row and does not end the import.
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
        let header = reader.byte_headers()?.clone();
        let mut columns = [0; COLUMNS.len()];
        for (place, column) in columns.iter_mut().zip(COLUMNS) {
            // Columns are found by name, so files may order them freely and have more.
            let found = header.iter().position(|name| name.trim_ascii() == column.as_bytes());
            *place = found.ok_or(ReadError::MissingColumn { column })?;
        }
        Ok(Self { reader, columns, record: ByteRecord::new() })
    }

    /// Returns the next row or its error, or `None` at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Result<InvoiceLine, InvalidRow>>, ReadError> {
        // Bytes and not text: only the row with invalid UTF-8 is lost, not the rest of the file.
        if !self.reader.read_byte_record(&mut self.record)? {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        Ok(Some(self.row(line).map_err(|reason| InvalidRow { line, reason })))
    }

    fn row(&self, line: u64) -> Result<InvoiceLine, InvalidField> {
        let [invoice, product, description, quantity, date, price, customer, country] =
            self.fields()?;
        // Empty columns mean absent.
        let customer = Some(customer).filter(|text| !text.is_empty());
        checks::optional_text("Country", Some(country).filter(|text| !text.is_empty()))?;
        checks::optional_text("Description", Some(description).filter(|text| !text.is_empty()))?;
        // The same limits as in commands, so that a bad price fails one row and not its document.
        let unit_price = parsed("UnitPrice", price.parse::<Money>())?;
        checks::amount("UnitPrice", unit_price)?;
        Ok(InvoiceLine {
            line,
            invoice: parsed("InvoiceNo", OrderId::new(invoice))?,
            product: parsed("StockCode", ProductId::new(product))?,
            description: description.to_owned(),
            pieces: pieces(quantity)?,
            unit_price,
            occurred_at: parsed("InvoiceDate", date.parse())?,
            customer: parsed("CustomerID", customer.map(CustomerId::new).transpose())?,
            country: Some(country.to_owned()).filter(|text| !text.is_empty()),
        })
    }

    fn fields(&self) -> Result<[&str; COLUMNS.len()], InvalidField> {
        let mut fields = [""; COLUMNS.len()];
        for ((field, place), column) in fields.iter_mut().zip(self.columns).zip(COLUMNS) {
            let bytes = self.record.get(place);
            let bytes = bytes.ok_or_else(|| InvalidField::new(column, "is missing"))?;
            *field = parsed(column, std::str::from_utf8(bytes))?.trim();
        }
        Ok(fields)
    }
}

fn parsed<T, E: fmt::Display>(column: &str, value: Result<T, E>) -> Result<T, InvalidField> {
    value.map_err(|error| InvalidField::new(column, error.to_string()))
}

fn pieces(text: &str) -> Result<SignedQuantity, InvalidField> {
    let number: i64 = parsed("Quantity", text.parse())?;
    // A negative number means pieces that came back, and a quantity has no sign.
    let quantity = parsed("Quantity", Quantity::new(number.unsigned_abs()))?;
    Ok(if number < 0 { SignedQuantity::Returned(quantity) } else { SignedQuantity::Sold(quantity) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn read(rows: &str) -> Result<InvoiceLine, InvalidRow> {
        let file = format!("{HEADER}{rows}");
        RowReader::new(file.as_bytes()).unwrap().next().unwrap().unwrap()
    }

    fn reason(row: &str) -> String {
        read(row).unwrap_err().to_string()
    }

    #[test]
    fn a_row_is_read() {
        let row = "536365,71053,\"LANTERN, WHITE\",6,2010-12-01T08:26:00Z,3.39,17850,France\n";
        let row = read(row).unwrap();
        assert_eq!((row.line, row.invoice.as_str()), (2, "536365"));
        assert_eq!(row.description, "LANTERN, WHITE");
        assert_eq!(row.pieces, SignedQuantity::Sold(Quantity::new(6).unwrap()));
        assert_eq!(row.unit_price.to_string(), "3.39");
        assert_eq!(row.occurred_at.to_string(), "2010-12-01T08:26:00Z");
        assert_eq!(row.customer.unwrap().as_str(), "17850");
    }

    #[test]
    fn an_empty_customer_is_a_guest() {
        let row = read("C1,M,,-1,2010-12-01T08:26:00Z,3.395,,France\n").unwrap();
        assert_eq!(row.customer, None);
        assert_eq!(row.pieces, SignedQuantity::Returned(Quantity::ONE));
    }

    #[test]
    fn an_invalid_row_is_reported_with_line_and_column() {
        let date = "2010-12-01T08:26:00Z";
        assert_eq!(reason("1,M,D\n"), "line 2: Quantity: is missing");
        assert!(
            reason(&format!("1,M,D,0,{date},1,,F\n"))
                .starts_with("line 2: Quantity: a quantity must be")
        );
        assert!(reason(&format!("1,M,D,x,{date},1,,F\n")).starts_with("line 2: Quantity: "));
        assert!(reason(&format!("1,M,D,1,{date},1;5,,F\n")).starts_with("line 2: UnitPrice: "));
        assert!(reason(&format!(",M,D,1,{date},1,,F\n")).starts_with("line 2: InvoiceNo: "));
        assert!(reason(&format!("1,,D,1,{date},1,,F\n")).starts_with("line 2: StockCode: "));
        assert!(reason("1,M,D,1,yesterday,1,,F\n").starts_with("line 2: InvoiceDate: "));
    }

    #[test]
    fn bytes_that_are_not_text_invalidate_one_row_only() {
        let mut file = HEADER.as_bytes().to_vec();
        file.extend(b"1,M,\xff\xfe,1,2010-12-01T08:26:00Z,1,,F\n");
        file.extend(b"2,M,D,1,2010-12-01T08:26:00Z,1,,F\n");
        let mut rows = RowReader::new(file.as_slice()).unwrap();
        assert_eq!(rows.next().unwrap().unwrap().unwrap_err().line, 2);
        assert_eq!(rows.next().unwrap().unwrap().unwrap().line, 3);
        assert!(rows.next().unwrap().is_none());
    }

    #[test]
    fn a_file_without_a_column_is_refused() {
        let error = RowReader::new("InvoiceNo,Quantity\n".as_bytes()).err().unwrap();
        assert!(error.to_string().starts_with("the file has no column StockCode; "), "{error}");
    }
}
