//! One connection to PostgreSQL, as the store's statements see connections: each call returns when the statement has ended.
//! The connection is driven by whoever waits for it, on that thread, so that a statement wakes no other.

use std::borrow::Cow;
use std::cell::Cell as Flag;
use std::error::Error;
use std::time::Duration;

use bytes::BytesMut;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Row as PgRow};

use super::error::{CONNECTION_LOST, ends_connection, error_of};
use super::tls::Tls;
use super::url::Address;
use crate::model::Engine;
use crate::store::sql::{Cell, Connection, EachRow, Row, Value};
use crate::store::{StoreError, StoreResult};

/// Longest that connecting may take, with every address of the host, encryption and the password.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A connection. To be used and dropped anywhere, but to be waited for only on threads that may block.
pub(super) struct Session {
    /// None once it is dropped.
    runtime: Option<Runtime>,
    client: Client,
    /// Longest that a statement may take before the server is given up. The server ends statements sooner, by the limits of
    /// their transactions: this one is for a server that answers nothing.
    patience: Duration,
    is_broken: Flag<bool>,
}

impl Session {
    /// Connects. Behind a pooler this may be to nothing yet: no setting of the session is relied upon, each transaction says
    /// what it needs.
    pub(super) fn connect(address: &Address, tls: &Tls, patience: Duration) -> StoreResult<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| StoreError::Io(error.to_string()))?;
        let connecting = async {
            let connect = address.config.connect(tls.clone());
            let (client, connection) = timeout(CONNECT_WITHIN, connect)
                .await
                .map_err(|_| {
                    StoreError::Io("the server did not let us connect in time".to_owned())
                })?
                .map_err(|error| error_of(&error))?;
            tokio::spawn(async move {
                // What goes wrong is told to whoever waits for a statement.
                let _ = connection.await;
            });
            Ok::<_, StoreError>(client)
        };
        let client = runtime.block_on(connecting)?;
        Ok(Self {
            runtime: Some(runtime),
            client,
            patience,
            is_broken: Flag::new(false),
        })
    }

    /// Whether it can be used again: it is connected, and no statement of it is under way.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_broken.get() && !self.client.is_closed()
    }

    /// Waits for something of the client's, on this thread.
    fn wait<T>(
        &self,
        statement: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> StoreResult<T> {
        let runtime = self.runtime.as_ref().ok_or(StoreError::Closed)?;
        match runtime.block_on(async { timeout(self.patience, statement).await }) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.is_broken
                    .set(ends_connection(&error) || self.is_broken.get());
                Err(error_of(&error))
            }
            Err(_) => {
                self.is_broken.set(true);
                Err(StoreError::Io(format!(
                    "{CONNECTION_LOST}: no answer within {} s",
                    self.patience.as_secs()
                )))
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Waits for nothing: this may be a thread that must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Connection for Session {
    fn engine(&self) -> Engine {
        Engine::Postgres
    }

    fn execute(&self, sql: &str, values: &[Value<'_>]) -> StoreResult<u64> {
        self.wait(self.client.execute_typed(&dollars(sql), &typed(values)))
    }

    fn query(&self, sql: &str, values: &[Value<'_>], each: &mut EachRow<'_>) -> StoreResult<()> {
        // All rows first: `each` may run statements of its own.
        let rows = self.wait(self.client.query_typed(&dollars(sql), &typed(values)))?;
        for row in &rows {
            if each(row)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn batch(&self, sql: &str) -> StoreResult<()> {
        self.wait(self.client.batch_execute(sql))
    }
}

/// Statements number their parameters `?1`; PostgreSQL calls them `$1`. A question mark without a number stays.
fn dollars(sql: &str) -> Cow<'_, str> {
    if !sql.contains('?') {
        return Cow::Borrowed(sql);
    }
    let mut translated = String::with_capacity(sql.len());
    let mut characters = sql.chars().peekable();
    while let Some(character) = characters.next() {
        let is_parameter = character == '?' && characters.peek().is_some_and(char::is_ascii_digit);
        translated.push(if is_parameter { '$' } else { character });
    }
    Cow::Owned(translated)
}

fn typed<'a>(values: &'a [Value<'a>]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    values
        .iter()
        .map(|value| (value as &(dyn ToSql + Sync), type_of(value)))
        .collect()
}

fn type_of(value: &Value<'_>) -> Type {
    match value {
        Value::Integer(_) => Type::INT8,
        Value::Real(_) => Type::FLOAT8,
        Value::Text(_) => Type::TEXT,
        Value::Bytes(_) => Type::BYTEA,
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match *self {
            Self::Integer(number) => number.to_sql(of, out),
            Self::Real(number) => number.to_sql(of, out),
            // PostgreSQL has no text with a NUL in it. What it stands for, elsewhere too, says that something was there.
            Self::Text(Some(text)) if text.contains('\0') => {
                text.replace('\0', "\u{FFFD}").to_sql(of, out)
            }
            Self::Text(text) => text.to_sql(of, out),
            Self::Bytes(bytes) => bytes.to_sql(of, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Row for PgRow {
    fn cell(&self, column: usize) -> StoreResult<Cell<'_>> {
        let cell = self.try_get::<_, Cell<'_>>(column);
        cell.map_err(|error| StoreError::Unreadable(error.to_string()))
    }
}

impl<'r> FromSql<'r> for Cell<'r> {
    fn from_sql(of: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(match *of {
            Type::INT8 => Self::Integer(i64::from_sql(of, raw)?),
            Type::INT4 => Self::Integer(i32::from_sql(of, raw)?.into()),
            Type::BOOL => Self::Integer(bool::from_sql(of, raw)?.into()),
            Type::FLOAT8 => Self::Real(f64::from_sql(of, raw)?),
            Type::NUMERIC => numeric(raw).ok_or("a number that is none, or too large")?,
            Type::TEXT | Type::VARCHAR | Type::NAME => Self::Text(<&str>::from_sql(of, raw)?),
            Type::BYTEA => Self::Bytes(raw),
            _ => return Err(format!("a column of the type {of}").into()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// What sums and averages of integers are: digits to the base of 10,000, the weight of the first, the sign. A whole number
/// stays one, as SQLite has it.
fn numeric(raw: &[u8]) -> Option<Cell<'static>> {
    let mut words = raw
        .chunks_exact(2)
        .map(|word| i16::from_be_bytes([word[0], word[1]]));
    let (_, weight, sign, scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let digits: Vec<i64> = words.map(i64::from).collect();
    let negative = match sign {
        0 => false,
        0x4000 => true,
        _ => return None,
    };
    let whole = (0..=i32::from(weight)).try_fold(0_i64, |number, place| {
        let digit = usize::try_from(place)
            .ok()
            .and_then(|place| digits.get(place))
            .copied()
            .unwrap_or_default();
        number.checked_mul(10_000)?.checked_add(digit)
    });
    if scale == 0 {
        return Some(Cell::Integer(if negative { -whole? } else { whole? }));
    }
    let first = i32::from(weight);
    let sum: f64 = (0..)
        .zip(&digits)
        .map(|(place, digit)| {
            #[expect(clippy::cast_precision_loss, reason = "below 10,000")]
            let digit = *digit as f64;
            digit * 10_000_f64.powi(first - place)
        })
        .sum();
    Some(Cell::Real(if negative { -sum } else { sum }))
}
