//! Rows of the table, one at a time.
//!
//! Always holds: a row that comes out of here fits into commands; every other one is named by its
//! line, with the reason.

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

/// The columns, in the order that they are read in here; a file may have them in any order.
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

/// Why a table cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system or the form of the file is in the way. Rows before it were read in vain.
    #[error("the file cannot be read")]
    Csv(#[from] csv::Error),
    /// A column is missing. The file is of another form.
    #[error("the file has no column {column}")]
    NoColumn {
        /// Which one.
        column: &'static str,
    },
}

/// A row that was not imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// Its line in the file.
    pub line: u64,
    /// What is wrong with it.
    pub reason: InvalidField,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// A line of an invoice.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) line: u64,
    /// An id of a credit note is made by the same rule.
    pub(super) invoice: OrderId,
    pub(super) product: ProductId,
    pub(super) description: String,
    pub(super) pieces: Pieces,
    pub(super) unit_price: Money,
    pub(super) occurred_at: Timestamp,
    pub(super) customer: Option<CustomerId>,
    pub(super) country: Option<String>,
}

/// A quantity with its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    Out(Quantity),
    Back(Quantity),
}

/// Reads rows until the file ends.
pub(super) struct Rows<R> {
    reader: csv::Reader<R>,
    columns: [usize; COLUMNS.len()],
    record: ByteRecord,
}

impl<R: io::Read> Rows<R> {
    pub(super) fn new(file: R) -> Result<Self, ReadError> {
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
        let header = reader.byte_headers()?.clone();
        let mut columns = [0; COLUMNS.len()];
        for (place, column) in columns.iter_mut().zip(COLUMNS) {
            let found = header.iter().position(|name| name.trim_ascii() == column.as_bytes());
            *place = found.ok_or(ReadError::NoColumn { column })?;
        }
        Ok(Self { reader, columns, record: ByteRecord::new() })
    }

    /// The next row, or why it is none; nothing at the end.
    pub(super) fn next(&mut self) -> Result<Option<Result<Row, BadRow>>, ReadError> {
        if !self.reader.read_byte_record(&mut self.record)? {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        Ok(Some(self.row(line).map_err(|reason| BadRow { line, reason })))
    }

    fn row(&self, line: u64) -> Result<Row, InvalidField> {
        let [invoice, product, description, quantity, date, price, customer, country] =
            self.fields()?;
        let customer = Some(customer).filter(|text| !text.is_empty());
        checks::optional_text("Country", Some(country).filter(|text| !text.is_empty()))?;
        checks::optional_text("Description", Some(description).filter(|text| !text.is_empty()))?;
        let unit_price = parsed("UnitPrice", price.parse::<Money>())?;
        checks::amount("UnitPrice", unit_price)?;
        Ok(Row {
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

fn pieces(text: &str) -> Result<Pieces, InvalidField> {
    let number: i64 = parsed("Quantity", text.parse())?;
    let quantity = parsed("Quantity", Quantity::new(number.unsigned_abs()))?;
    Ok(if number < 0 { Pieces::Back(quantity) } else { Pieces::Out(quantity) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn read(rows: &str) -> Result<Row, BadRow> {
        let file = format!("{HEADER}{rows}");
        Rows::new(file.as_bytes()).unwrap().next().unwrap().unwrap()
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
        assert_eq!(row.pieces, Pieces::Out(Quantity::new(6).unwrap()));
        assert_eq!(row.unit_price.to_string(), "3.39");
        assert_eq!(row.occurred_at.to_string(), "2010-12-01T08:26:00Z");
        assert_eq!(row.customer.unwrap().as_str(), "17850");
    }

    #[test]
    fn an_empty_customer_is_a_guest() {
        let row = read("C1,M,,-1,2010-12-01T08:26:00Z,3.395,,France\n").unwrap();
        assert_eq!(row.customer, None);
        assert_eq!(row.pieces, Pieces::Back(Quantity::ONE));
    }

    #[test]
    fn what_is_wrong_is_said_with_line_and_column() {
        let date = "2010-12-01T08:26:00Z";
        assert_eq!(reason("1,M,D\n"), "line 2: Quantity: is missing");
        assert!(
            reason(&format!("1,M,D,0,{date},1,,F\n")).starts_with("line 2: Quantity: 0 is not")
        );
        assert!(reason(&format!("1,M,D,x,{date},1,,F\n")).starts_with("line 2: Quantity: "));
        assert!(reason(&format!("1,M,D,1,{date},1;5,,F\n")).starts_with("line 2: UnitPrice: "));
        assert!(reason(&format!(",M,D,1,{date},1,,F\n")).starts_with("line 2: InvoiceNo: "));
        assert!(reason(&format!("1,,D,1,{date},1,,F\n")).starts_with("line 2: StockCode: "));
        assert!(reason("1,M,D,1,yesterday,1,,F\n").starts_with("line 2: InvoiceDate: "));
    }

    #[test]
    fn bytes_that_are_no_text_spoil_one_row_only() {
        let mut file = HEADER.as_bytes().to_vec();
        file.extend(b"1,M,\xff\xfe,1,2010-12-01T08:26:00Z,1,,F\n");
        file.extend(b"2,M,D,1,2010-12-01T08:26:00Z,1,,F\n");
        let mut rows = Rows::new(file.as_slice()).unwrap();
        assert_eq!(rows.next().unwrap().unwrap().unwrap_err().line, 2);
        assert_eq!(rows.next().unwrap().unwrap().unwrap().line, 3);
        assert!(rows.next().unwrap().is_none());
    }

    #[test]
    fn a_file_without_a_column_is_of_another_form() {
        let error = Rows::new("InvoiceNo,Quantity\n".as_bytes()).err().unwrap();
        assert_eq!(error.to_string(), "the file has no column StockCode");
    }
}
