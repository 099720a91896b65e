//! Rows on their way from one database to another: read in pages, written in groups, and hashed.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::schema::{Kind, Table};
use crate::store::StoreResult;
use crate::store::sql::{Cell, Connection, Statement, Value};

/// A page ends once it is this large. With the first row beyond, this is what a copy needs of memory.
const PAGE_MAX_BYTES: usize = 4 << 20;
const PAGE_MAX_ROWS: usize = 2_000;
const FIRST_PAGE_ROWS: usize = 200;
/// Parameters of one statement that writes: its text stays short enough to be prepared once.
const INSERT_MAX_PARAMETERS: usize = 500;

/// A value on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Held {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Held {
    fn of(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Integer(number) => Self::Integer(number),
            Cell::Real(number) => Self::Real(number),
            Cell::Text(text) => Self::Text(text.to_owned()),
            Cell::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
        }
    }

    /// As the value of a parameter, which has a type also when it is NULL.
    fn value(&self, kind: Kind) -> Value<'_> {
        match self {
            Self::Null => match kind {
                Kind::Integer => Value::Integer(None),
                Kind::Real => Value::Real(None),
                Kind::Text => Value::Text(None),
                Kind::Bytes => Value::Bytes(None),
            },
            Self::Integer(number) => Value::Integer(Some(*number)),
            Self::Real(number) => Value::Real(Some(*number)),
            Self::Text(text) => Value::Text(Some(text)),
            Self::Bytes(bytes) => Value::Bytes(Some(bytes)),
        }
    }

    fn size_bytes(&self) -> usize {
        let outside = match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Null | Self::Integer(_) | Self::Real(_) => 0,
        };
        size_of::<Self>() + outside
    }
}

/// A row: a value for each column of its table, in the same order.
pub(super) type HeldRow = Vec<Held>;

/// The key of a row.
pub(super) fn key_of(table: &Table, row: &HeldRow) -> HeldRow {
    table.key.iter().map(|place| row[*place].clone()).collect()
}

/// How many rows to ask for: as many as the last page had room for.
pub(super) struct Pace(usize);

impl Pace {
    pub(super) fn new() -> Self {
        Self(FIRST_PAGE_ROWS)
    }
}

/// The next rows after this key, in the order of keys; none at the end. A table without a key has one page.
pub(super) fn read_page(
    db: &dyn Connection,
    table: &Table,
    after: Option<&HeldRow>,
    pace: &mut Pace,
) -> StoreResult<Vec<HeldRow>> {
    let mut sql = Statement::new(format!(
        "SELECT {} FROM {}",
        table.column_list(),
        table.name
    ));
    let key = table.key_list();
    if let Some(after) = after {
        let kinds = table.key.iter().map(|place| table.columns[*place].kind);
        let values = after.iter().zip(kinds).map(|(held, kind)| held.value(kind));
        sql.push(&format!(" WHERE ({key}) > ")).push_list(values);
    }
    if !table.key.is_empty() {
        sql.push(&format!(" ORDER BY {key} LIMIT "));
        sql.push_bind(i64::try_from(pace.0).unwrap_or(i64::MAX));
    }
    let (mut rows, mut size, mut is_full) = (Vec::new(), 0, false);
    sql.query(db, &mut |row| {
        let cells = (0..table.columns.len()).map(|column| row.cell(column).map(Held::of));
        let held = cells.collect::<StoreResult<HeldRow>>()?;
        size += held.iter().map(Held::size_bytes).sum::<usize>();
        rows.push(held);
        is_full = size >= PAGE_MAX_BYTES && !table.key.is_empty();
        Ok(match is_full {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    })?;
    pace.0 = match is_full {
        true => rows.len(),
        false => (pace.0 * 2).min(PAGE_MAX_ROWS),
    };
    Ok(rows)
}

/// Writes rows into a table.
pub(super) fn insert(db: &dyn Connection, table: &Table, rows: &[HeldRow]) -> StoreResult<()> {
    let at_once = (INSERT_MAX_PARAMETERS / table.columns.len()).max(1);
    let into = format!("INSERT INTO {} ({})", table.name, table.column_list());
    for rows in rows.chunks(at_once) {
        let mut sql = Statement::new(into.clone());
        let mut separator = " VALUES ";
        for row in rows {
            let columns = table.columns.iter();
            let values = row
                .iter()
                .zip(columns)
                .map(|(held, column)| held.value(column.kind));
            sql.push(separator).push_list(values);
            separator = ", ";
        }
        sql.execute(db)?;
    }
    Ok(())
}

/// Gives a table of one row, which the migrations have made, what it is to have.
pub(super) fn replace(db: &dyn Connection, table: &Table, rows: &[HeldRow]) -> StoreResult<()> {
    for row in rows {
        let mut sql = Statement::new(format!("UPDATE {}", table.name));
        let mut separator = " SET ";
        for (column, held) in table.columns.iter().zip(row) {
            sql.push(&format!("{separator}\"{}\" = ", column.name));
            sql.push_bind(held.value(column.kind));
            separator = ", ";
        }
        sql.execute(db)?;
    }
    Ok(())
}

/// How many rows a table has, and what they hold: the SHA-256 of each row, all combined by XOR, so that their order means nothing.
/// No two rows of a table are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) rows: u64,
    pub(super) hash: [u8; 32],
}

impl Content {
    pub(super) fn add(&mut self, row: &HeldRow) {
        let mut hasher = Sha256::new();
        for held in row {
            hash_value(&mut hasher, held);
        }
        self.rows += 1;
        for (sum, byte) in self.hash.iter_mut().zip(hasher.finalize()) {
            *sum ^= byte;
        }
    }
}

/// A value's type, length and bytes. Two differences between engines are none here: PostgreSQL keeps no NUL in a text and has
/// U+FFFD instead, as everywhere in the store; and SQLite does not keep the sign of zero.
fn hash_value(hasher: &mut Sha256, held: &Held) {
    let mut add = |kind: u8, bytes: &[u8]| {
        hasher.update([kind]);
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match held {
        Held::Null => add(0, &[]),
        Held::Integer(number) => add(1, &number.to_le_bytes()),
        Held::Real(number) if *number == 0.0 => add(2, &0.0_f64.to_le_bytes()),
        Held::Real(number) => add(2, &number.to_le_bytes()),
        Held::Text(text) if text.contains('\0') => {
            add(3, text.replace('\0', "\u{FFFD}").as_bytes())
        }
        Held::Text(text) => add(3, text.as_bytes()),
        Held::Bytes(bytes) => add(4, bytes),
    }
}
