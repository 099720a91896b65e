//! Copies a store into an empty database of any engine, table by table in batches, so that a copy that was cut short goes on
//! where it stopped; and reads both from end to end before it says that they are equal.

mod progress;
mod rows;
mod schema;
#[cfg(test)]
mod tests;

use anyhow::{Context, bail, ensure};
use tokio_util::sync::CancellationToken;

use self::rows::{Content, Pace, insert, key_of, read_page, replace};
pub(in crate::store) use self::schema::Catalog;
use self::schema::{Table, tables};
use super::{Connection, Row};
use crate::store::{CopiedTable, CopyStep};

/// One end of a copy: a database that nobody else writes to meanwhile.
pub(in crate::store) struct End {
    pub(in crate::store) db: Box<dyn Connection>,
    pub(in crate::store) catalog: &'static Catalog,
    /// The database without what may be secret.
    pub(in crate::store) name: String,
    /// Whether a copy into it has begun and not ended.
    pub(in crate::store) is_begun: bool,
}

/// Copies everything from one end to the other.
///
/// # Errors
/// With advice: a target that has something of its own, a source that has changed since the copy began, `stop`. What is copied by
/// then stays, and the next run goes on from there.
pub(in crate::store) fn copy(
    from: &End,
    to: &End,
    watch: &mut dyn FnMut(CopyStep<'_>),
    stop: &CancellationToken,
) -> anyhow::Result<Vec<CopiedTable>> {
    let tables = tables(&*from.db, from.catalog)?;
    ensure!(
        tables == schema::tables(&*to.db, to.catalog)?,
        "the schemas of {} and {} differ: something else than athos-backend has changed one of them",
        from.name,
        to.name
    );
    if to.is_begun {
        progress::check(&*to.db, &from.name, &tables).context(to.name.clone())?;
    } else {
        check_empty(to, &tables)?;
        in_transaction(to, to.catalog.begin, |db| {
            Ok(progress::begin(db, &from.name, &tables)?)
        })?;
    }
    let mut run = Run {
        from,
        to,
        watch,
        stop,
    };
    for table in &tables {
        let copied = run.copy_table(table);
        copied.with_context(|| format!("failed to copy the table {}", table.name))?;
    }
    let mut copied = Vec::new();
    for table in &tables {
        copied.push(run.verify(table)?);
    }
    set_numbers(from, to)?;
    in_transaction(to, to.catalog.begin_last, |db| Ok(progress::end(db)?))?;
    let names: Vec<_> = tables.iter().map(|table| &*table.name).collect();
    (to.catalog.finish)(&*to.db, &names.join(", "))?;
    Ok(copied)
}

/// Refuses a target that has rows of its own. Tables of one row have theirs from the migrations.
fn check_empty(to: &End, tables: &[Table]) -> anyhow::Result<()> {
    for Table { name, key, .. } in tables {
        let any = format!("SELECT 1 FROM {name} LIMIT 1");
        if !key.is_empty() && to.db.exists(&any, &[])? {
            bail!(
                "{} is not empty (there are rows in its table {name}): a store is copied into an empty database only; name a \
                 new one",
                to.name
            );
        }
    }
    Ok(())
}

fn in_transaction<T>(
    end: &End,
    begin: &str,
    work: impl FnOnce(&dyn Connection) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let db = &*end.db;
    db.batch(begin)?;
    let done = work(db);
    let ended = db.batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" });
    let done = done?;
    ended?;
    Ok(done)
}

/// Rows of the target go on after the numbers that the source has given, also where the last rows are gone.
fn set_numbers(from: &End, to: &End) -> anyhow::Result<()> {
    let read = |row: &dyn Row| Ok((row.get(0)?, row.get(1)?));
    let numbers: Vec<(String, i64)> = from.db.rows(from.catalog.numbers, &[], read)?;
    in_transaction(to, to.catalog.begin, |db| {
        for (table, last) in &numbers {
            (to.catalog.set_number)(db, table, *last)?;
        }
        Ok(())
    })
}

/// A copy that goes on.
struct Run<'a> {
    from: &'a End,
    to: &'a End,
    watch: &'a mut dyn FnMut(CopyStep<'_>),
    stop: &'a CancellationToken,
}

impl Run<'_> {
    fn check_stop(&self) -> anyhow::Result<()> {
        ensure!(
            !self.stop.is_cancelled(),
            "interrupted: the same command goes on where this one stopped"
        );
        Ok(())
    }

    /// Copies what is left of a table.
    fn copy_table(&mut self, table: &Table) -> anyhow::Result<()> {
        let mut progress = progress::read(&*self.to.db, table)?;
        if progress.is_complete {
            return Ok(());
        }
        let of = count(&*self.from.db, table)?;
        let mut pace = Pace::new();
        while !progress.is_complete {
            self.check_stop()?;
            let rows = read_page(&*self.from.db, table, progress.after.as_ref(), &mut pace)?;
            let has_key = !table.key.is_empty();
            let is_last = rows.is_empty() || !has_key;
            let after = rows
                .last()
                .filter(|_| has_key)
                .map(|row| key_of(table, row));
            let after = after.or(progress.after.take());
            let more = rows.len() as u64;
            in_transaction(self.to, self.to.catalog.begin, |db| {
                let was = progress.copied;
                ensure!(
                    progress::advance(db, table, was, more, after.as_ref(), is_last)?,
                    "another process copies to {} at the same time: let it finish, and see what it says",
                    self.to.name
                );
                let write = if has_key { insert } else { replace };
                Ok(write(db, table, &rows)?)
            })?;
            progress.copied += more;
            progress.after = after;
            progress.is_complete = is_last;
            (self.watch)(CopyStep::Copying {
                table: &table.name,
                rows: progress.copied,
                of,
            });
        }
        Ok(())
    }

    /// Compares a table in both databases.
    fn verify(&mut self, table: &Table) -> anyhow::Result<CopiedTable> {
        let (from, to) = (self.from, self.to);
        let of = progress::read(&*to.db, table)?.copied;
        let ours = self.content(from, table, of)?;
        let theirs = self.content(to, table, of)?;
        ensure!(
            ours == theirs,
            "the table {} is not the same in both databases ({} rows in {}, {} in {}): one of them has changed since the copy \
             began; copy again, into a new database",
            table.name,
            ours.rows,
            from.name,
            theirs.rows,
            to.name
        );
        Ok(CopiedTable {
            table: table.name.clone(),
            rows: ours.rows,
            hash: ours.hash,
        })
    }

    /// Reads a table from end to end.
    fn content(&mut self, end: &End, table: &Table, of: u64) -> anyhow::Result<Content> {
        let mut content = Content::default();
        let (mut pace, mut after) = (Pace::new(), None);
        loop {
            self.check_stop()?;
            let rows =
                read_page(&*end.db, table, after.as_ref(), &mut pace).with_context(|| {
                    format!("failed to read the table {} of {}", table.name, end.name)
                })?;
            rows.iter().for_each(|row| content.add(row));
            (self.watch)(CopyStep::Verifying {
                table: &table.name,
                database: &end.name,
                rows: content.rows,
                of,
            });
            match rows.last() {
                Some(last) if !table.key.is_empty() => after = Some(key_of(table, last)),
                _ => return Ok(content),
            }
        }
    }
}

fn count(db: &dyn Connection, table: &Table) -> anyhow::Result<u64> {
    Ok(db.scalar(&format!("SELECT count(*) FROM {}", table.name), &[])?)
}
