//! A statement that is put together from parts.

use super::{Connection, EachRow, Row, Value};
use crate::store::StoreResult;

/// The text of a statement so far, and the values of its parameters.
pub(in crate::store) struct Statement<'a> {
    text: String,
    values: Vec<Value<'a>>,
}

impl<'a> Statement<'a> {
    pub(in crate::store) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            values: Vec::new(),
        }
    }

    /// Adds text, which is never a caller's.
    pub(in crate::store) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds a parameter with its value.
    pub(in crate::store) fn push_bind(&mut self, value: impl Into<Value<'a>>) -> &mut Self {
        self.values.push(value.into());
        self.text.push('?');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    /// Adds a list of parameters with their values, or a row. An empty list has NULL, which equals nothing.
    pub(in crate::store) fn push_list<V: Into<Value<'a>>>(
        &mut self,
        values: impl IntoIterator<Item = V>,
    ) -> &mut Self {
        let mut separator = "(";
        for value in values {
            self.push(separator).push_bind(value);
            separator = ", ";
        }
        if separator == "(" {
            self.push("(NULL");
        }
        self.push(")")
    }

    /// Runs it; how many rows it changed.
    pub(in crate::store) fn execute(&self, db: &dyn Connection) -> StoreResult<u64> {
        db.execute(&self.text, &self.values)
    }

    /// Runs it, and hands over its rows one by one.
    pub(in crate::store) fn query(
        &self,
        db: &dyn Connection,
        each: &mut EachRow<'_>,
    ) -> StoreResult<()> {
        db.query(&self.text, &self.values, each)
    }

    /// All rows, each as `read` reads it.
    pub(in crate::store) fn rows<T>(
        &self,
        db: &dyn Connection,
        read: impl FnMut(&dyn Row) -> StoreResult<T>,
    ) -> StoreResult<Vec<T>> {
        db.rows(&self.text, &self.values, read)
    }

    /// The first row, if there is one.
    pub(in crate::store) fn first<T>(
        &self,
        db: &dyn Connection,
        read: impl FnOnce(&dyn Row) -> StoreResult<T>,
    ) -> StoreResult<Option<T>> {
        db.first(&self.text, &self.values, read)
    }

    /// The one row that there always is.
    pub(in crate::store) fn one<T>(
        &self,
        db: &dyn Connection,
        read: impl FnOnce(&dyn Row) -> StoreResult<T>,
    ) -> StoreResult<T> {
        db.one(&self.text, &self.values, read)
    }
}
