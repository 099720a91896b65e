//! Rows that a statement answers, and what Rust makes of their columns.

use std::str::FromStr;

use crate::model::Timestamp;
use crate::store::{StoreError, StoreResult};

/// The value of a column of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::store) enum Cell<'r> {
    Null,
    /// Also the answer of a condition: 0 or 1.
    Integer(i64),
    Real(f64),
    Text(&'r str),
    Bytes(&'r [u8]),
}

/// A row, while the statement stands on it. Columns are counted from 0.
pub(in crate::store) trait Row {
    fn cell(&self, column: usize) -> StoreResult<Cell<'_>>;
}

impl dyn Row + '_ {
    pub(in crate::store) fn get<'r, T: FromCell<'r>>(&'r self, column: usize) -> StoreResult<T> {
        let cell = self.cell(column)?;
        T::from_cell(cell).ok_or_else(|| {
            let text = format!("column {column} is {cell:.20?}");
            StoreError::Unreadable(text)
        })
    }

    /// One of a few words.
    pub(in crate::store) fn word<T: FromStr>(&self, column: usize) -> StoreResult<T> {
        let word: &str = self.get(column)?;
        let unknown = |_| StoreError::Unreadable(format!("column {column} is \"{word}\""));
        word.parse().map_err(unknown)
    }

    /// The columns from this one on, one after the other.
    pub(in crate::store) fn from(&self, column: usize) -> Columns<'_> {
        Columns {
            row: self,
            next: column,
        }
    }
}

/// Reads a row from left to right: the fields of a struct stand in the order of the statement's columns.
pub(in crate::store) struct Columns<'r> {
    row: &'r dyn Row,
    next: usize,
}

impl<'r> Columns<'r> {
    pub(in crate::store) fn next<T: FromCell<'r>>(&mut self) -> StoreResult<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    pub(in crate::store) fn word<T: FromStr>(&mut self) -> StoreResult<T> {
        self.next += 1;
        self.row.word(self.next - 1)
    }
}

/// What a cell can be read as; `None` when it holds something else.
pub(in crate::store) trait FromCell<'r>: Sized {
    fn from_cell(cell: Cell<'r>) -> Option<Self>;
}

impl<'r, T: FromCell<'r>> FromCell<'r> for Option<T> {
    fn from_cell(cell: Cell<'r>) -> Option<Self> {
        match cell {
            Cell::Null => Some(None),
            cell => T::from_cell(cell).map(Some),
        }
    }
}

macro_rules! from_cell {
    ($($type:ty = $($cell:pat => $read:expr),+;)+) => {$(
        impl<'r> FromCell<'r> for $type {
            fn from_cell(cell: Cell<'r>) -> Option<Self> {
                match cell {
                    $($cell => $read,)+
                    _ => None,
                }
            }
        }
    )+};
}

from_cell! {
    i64 = Cell::Integer(number) => Some(number);
    u64 = Cell::Integer(number) => number.try_into().ok();
    u32 = Cell::Integer(number) => number.try_into().ok();
    u16 = Cell::Integer(number) => number.try_into().ok();
    bool = Cell::Integer(number) => Some(number != 0);
    Timestamp = Cell::Integer(millis) => Some(Timestamp::from_millis(millis));
    f64 = Cell::Real(number) => Some(number), Cell::Integer(number) => i32::try_from(number).ok().map(f64::from);
    &'r str = Cell::Text(text) => Some(text);
    String = Cell::Text(text) => Some(text.to_owned());
    &'r [u8] = Cell::Bytes(bytes) => Some(bytes);
    Vec<u8> = Cell::Bytes(bytes) => Some(bytes.to_vec());
}
