//! Lists that the store gives in pages, on standard output: a table, or JSON with one object a line.

use std::io::{self, Write};

use serde::Serialize;

use crate::store::{Page, StoreResult};

/// Rows read at a time.
const PAGE_SIZE: u32 = 500;

/// How to print a list.
pub(super) struct Listing<R, J> {
    /// Most rows to print.
    pub(super) limit: u32,
    /// Print JSON, not a table.
    pub(super) json: bool,
    /// Prints the head of the table, or that it is empty.
    pub(super) head: fn(&mut dyn Write, is_empty: bool) -> io::Result<()>,
    /// Prints a row of the table.
    pub(super) row: fn(&mut dyn Write, &R) -> io::Result<()>,
    /// The row as our routes have it.
    pub(super) wire: fn(R) -> J,
}

impl<R, J: Serialize> Listing<R, J> {
    /// Prints the pages that `fetch` reads, given how many rows to read and after which key.
    pub(super) async fn print<K: Copy>(
        &self,
        out: &mut impl Write,
        fetch: impl AsyncFn(u32, Option<K>) -> StoreResult<Page<R, K>>,
    ) -> anyhow::Result<()> {
        let (mut left, mut after) = (self.limit, None);
        while left > 0 {
            let page = fetch(left.min(PAGE_SIZE), after).await?;
            if !self.json && after.is_none() {
                (self.head)(out, page.rows.is_empty())?;
            }
            left -= u32::try_from(page.rows.len()).unwrap_or(left).min(left);
            for row in page.rows {
                if self.json {
                    writeln!(out, "{}", serde_json::to_string(&(self.wire)(row))?)?;
                } else {
                    (self.row)(out, &row)?;
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
        if !self.json {
            writeln!(
                out,
                "and older ones: --limit takes more than {}",
                self.limit
            )?;
        }
        Ok(())
    }
}
