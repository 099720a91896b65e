//! The tables of a database, by its own catalog: what the schema has is copied, so that no table can be forgotten.

use std::collections::BTreeMap;

use anyhow::ensure;

use crate::model::string_enum;
use crate::store::StoreResult;
use crate::store::sql::Connection;

/// Tables about the processes that run on a database: those on the copy are others.
pub(super) const NOT_COPIED: &[&str] = &["leaders", "replicas"];

/// What is an engine's own: how it is asked about its schema, and about the numbers that it gives to new rows.
pub(in crate::store) struct Catalog {
    /// Table, column, kind, and place in the primary key, 0 outside of it; without the engine's own tables, the record of
    /// migrations, and the progress of a copy.
    pub(in crate::store) columns: &'static str,
    /// Table, and a table that it refers to.
    pub(in crate::store) references: &'static str,
    /// Each table that numbers its rows, and the last number that it gave; 0 for none.
    pub(in crate::store) numbers: &'static str,
    /// Makes a table go on after this number.
    pub(in crate::store) set_number: fn(&dyn Connection, &str, i64) -> StoreResult<()>,
    /// Begins a transaction that writes, however long it takes.
    pub(in crate::store) begin: &'static str,
    /// The same, whose commit is on disk when it returns, with all before it.
    pub(in crate::store) begin_last: &'static str,
    /// Done at the end, outside of a transaction; of the tables it has the names, with commas between them.
    pub(in crate::store) finish: fn(&dyn Connection, &str) -> StoreResult<()>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Real,
    Text,
    Bytes,
}

string_enum!(Kind, "kind of column", {
    Integer: "integer",
    Real: "real",
    Text: "text",
    Bytes: "bytes",
});

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// A table, with its columns by name: an engine may have them in another order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// Places in `columns` of the primary key. Empty for a table of one row.
    pub(super) key: Vec<usize>,
}

impl Table {
    /// The columns as a statement lists them.
    pub(super) fn column_list(&self) -> String {
        list(self.columns.iter())
    }

    /// The columns of the key.
    pub(super) fn key_list(&self) -> String {
        list(self.key.iter().map(|place| &self.columns[*place]))
    }
}

fn list<'a>(columns: impl Iterator<Item = &'a Column>) -> String {
    let names: Vec<_> = columns
        .map(|column| format!("\"{}\"", column.name))
        .collect();
    names.join(", ")
}

/// All tables that are copied, each after those that it refers to.
pub(super) fn tables(db: &dyn Connection, catalog: &Catalog) -> anyhow::Result<Vec<Table>> {
    let mut tables = BTreeMap::<String, (Vec<Column>, BTreeMap<u32, usize>)>::new();
    let lines = db.rows(catalog.columns, &[], |row| {
        let mut columns = row.from(0);
        let table: String = columns.next()?;
        let name: String = columns.next()?;
        let kind = columns.word()?;
        Ok((table, Column { name, kind }, columns.next::<u32>()?))
    })?;
    for (table, column, place) in lines {
        if NOT_COPIED.contains(&&*table) {
            continue;
        }
        let (columns, key) = tables.entry(table).or_default();
        if place > 0 {
            key.insert(place, columns.len());
        }
        columns.push(column);
    }
    let tables = tables.into_iter().map(|(name, (columns, key))| Table {
        name,
        columns,
        key: key.into_values().collect(),
    });
    in_order(tables.collect(), references(db, catalog)?)
}

fn references(db: &dyn Connection, catalog: &Catalog) -> StoreResult<Vec<(String, String)>> {
    db.rows(catalog.references, &[], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
}

fn in_order(mut left: Vec<Table>, references: Vec<(String, String)>) -> anyhow::Result<Vec<Table>> {
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let waits = |table: &Table| {
            references.iter().any(|(from, to)| {
                *from == table.name && from != to && left.iter().any(|other| other.name == *to)
            })
        };
        let (waiting, ready): (Vec<_>, Vec<_>) =
            left.iter().cloned().partition(|table| waits(table));
        ensure!(
            !ready.is_empty(),
            "tables of the schema refer to each other in a circle"
        );
        ordered.extend(ready);
        left = waiting;
    }
    Ok(ordered)
}
