//! Runs the store's statements on a connection to SQLite, in the caller's thread.

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Error, Statement};

use crate::model::Engine;
use crate::store::sql::{Cell, Connection, EachRow, Row, Value};
use crate::store::{StoreError, StoreResult};

/// A longer text has a list of numbers in it, and hardly comes again: it is not kept prepared.
const KEPT_STATEMENT_MAX_BYTES: usize = 4096;

impl Connection for rusqlite::Connection {
    fn engine(&self) -> Engine {
        Engine::Sqlite
    }

    fn execute(&self, sql: &str, values: &[Value<'_>]) -> StoreResult<u64> {
        let changed = with_prepared(self, sql, |statement| {
            bind(statement, values)?;
            Ok(statement.raw_execute()?)
        })?;
        Ok(changed as u64)
    }

    fn query(&self, sql: &str, values: &[Value<'_>], each: &mut EachRow<'_>) -> StoreResult<()> {
        with_prepared(self, sql, |statement| {
            bind(statement, values)?;
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next()? {
                if each(row)?.is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Not by `RETURNING`, for which SQLite makes a temporary table, and copies every page before it changes it.
    fn insert(&self, sql: &str, values: &[Value<'_>]) -> StoreResult<Option<i64>> {
        let inserted = Connection::execute(self, sql, values)? > 0;
        Ok(inserted.then(|| self.last_insert_rowid()))
    }

    fn batch(&self, sql: &str) -> StoreResult<()> {
        Ok(self.execute_batch(sql)?)
    }
}

/// Has a statement planned once, whatever its values are. Otherwise SQLite plans anew for every value of a `LIMIT ?`, which
/// costs as much as reading a page.
pub(super) fn keep_plans(connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map(drop)
}

fn with_prepared<T>(
    connection: &rusqlite::Connection,
    sql: &str,
    run: impl FnOnce(&mut Statement<'_>) -> StoreResult<T>,
) -> StoreResult<T> {
    if sql.len() > KEPT_STATEMENT_MAX_BYTES {
        return run(&mut connection.prepare(sql)?);
    }
    let mut statement = connection.prepare_cached(sql)?;
    run(&mut statement)
}

/// SQLite takes parameters without a value for NULL.
fn bind(statement: &mut Statement<'_>, values: &[Value<'_>]) -> StoreResult<()> {
    let expected = statement.parameter_count();
    if expected != values.len() {
        return Err(Error::InvalidParameterCount(values.len(), expected).into());
    }
    for (index, value) in (1..).zip(values) {
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(())
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match *self {
            Value::Integer(number) => number.map(ValueRef::Integer),
            Value::Real(number) => number.map(ValueRef::Real),
            Value::Text(text) => text.map(|text| ValueRef::Text(text.as_bytes())),
            Value::Bytes(bytes) => bytes.map(ValueRef::Blob),
            Value::List(_) => {
                return Err(Error::ToSqlConversionFailure("SQLite has no lists".into()));
            }
        };
        Ok(ToSqlOutput::Borrowed(value.unwrap_or(ValueRef::Null)))
    }
}

impl Row for rusqlite::Row<'_> {
    fn cell(&self, column: usize) -> StoreResult<Cell<'_>> {
        Ok(match self.get_ref(column)? {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(number) => Cell::Integer(number),
            ValueRef::Real(number) => Cell::Real(number),
            ValueRef::Blob(bytes) => Cell::Bytes(bytes),
            ValueRef::Text(bytes) => {
                let text = std::str::from_utf8(bytes);
                Cell::Text(text.map_err(|error| StoreError::Unreadable(error.to_string()))?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::model::Timestamp;
    use crate::store::sql::{self, values};

    fn with<T>(work: impl FnOnce(&dyn Connection) -> T) -> T {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        work(&connection)
    }

    #[test]
    fn what_is_bound_is_what_is_read() {
        let at = Timestamp::from_millis(5);
        let (text, bytes) = ("ü".to_owned(), b"\0\xff".to_vec());
        let nothing: Option<String> = None;
        let values = values![7_i64, true, at, 1.5, text, bytes, nothing];
        with(|db| {
            let sql = "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7";
            db.one(sql, values, |row| {
                let mut columns = row.from(0);
                assert_eq!(columns.next::<i64>()?, 7);
                assert!(columns.next::<bool>()?);
                assert_eq!(columns.next::<Timestamp>()?, at);
                assert_eq!(columns.next::<f64>()?.to_bits(), 1.5_f64.to_bits());
                assert_eq!(columns.next::<String>()?, text);
                assert_eq!(columns.next::<&[u8]>()?, bytes);
                assert_eq!(columns.next::<Option<String>>()?, nothing);
                Ok(())
            })
        })
        .unwrap();
    }

    #[test]
    fn a_column_of_another_type_or_word_is_an_error_and_no_panic() {
        with(|db| {
            let text = db.scalar::<i64>("SELECT 'seven'", &[]);
            assert!(matches!(text, Err(StoreError::Unreadable(_))), "{text:?}");
            let null = db.scalar::<String>("SELECT NULL", &[]);
            assert!(matches!(null, Err(StoreError::Unreadable(_))), "{null:?}");
            let row = db.one("SELECT 'maybe'", &[], |row| row.word::<bool>(0));
            let said = row.unwrap_err().to_string();
            assert!(said.contains("\"maybe\""), "{said}");
        });
    }

    #[test]
    fn a_statement_is_planned_once_for_all_its_values() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE t (x, y); CREATE INDEX five ON t (x) WHERE y = 5")
            .unwrap();
        keep_plans(&connection).unwrap();
        let sql = "SELECT x FROM t WHERE y = ?1 ORDER BY x LIMIT ?2";
        for limit in 1..4_i64 {
            let db: &dyn Connection = &connection;
            db.rows(sql, values![5_i64, limit], |_| Ok(())).unwrap();
        }
        let statement = connection.prepare_cached(sql).unwrap();
        assert_eq!(statement.get_status(StatementStatus::Run), 3);
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }

    #[test]
    fn a_statement_with_too_few_values_is_refused() {
        with(|db| {
            let one = db.scalar::<Option<i64>>("SELECT ?1 + ?2", values![1_i64]);
            assert!(matches!(one, Err(StoreError::Refused(_))), "{one:?}");
        });
    }

    #[test]
    fn a_statement_of_parts_numbers_its_parameters() {
        let mut sql = sql::Statement::new("SELECT ");
        sql.push_bind(1_i64).push(" IN ").push_list([2_i64, 1]);
        sql.push(", 1 IN ").push_list::<i64>([]);
        let read = |row: &dyn Row| Ok((row.get(0)?, row.get(1)?));
        let found: (bool, Option<bool>) = with(|db| sql.one(db, read)).unwrap();
        assert_eq!(found, (true, None));
    }

    #[test]
    fn a_writing_statement_has_written_all_rows_when_only_the_first_is_read() {
        with(|db| {
            db.batch("CREATE TABLE t (x)").unwrap();
            let sql = "INSERT INTO t VALUES (1), (2), (3) RETURNING x";
            let first = db.first(sql, &[], |row| row.get::<i64>(0)).unwrap();
            assert_eq!(first, Some(1));
            assert_eq!(db.scalar::<i64>("SELECT count(*) FROM t", &[]).unwrap(), 3);
        });
    }
}
