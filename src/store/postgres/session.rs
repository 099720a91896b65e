//! One connection to PostgreSQL, as the store's statements see connections: each call returns when the statement has ended.
//! The connection is driven by whoever waits for it, on that thread, so that a statement wakes no other.

use std::borrow::Cow;
use std::cell::{Cell as Flag, RefCell};
use std::collections::HashMap;
use std::error::Error as StdError;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Error, Row as PgRow, Statement};

use super::backend::told_backend;
use super::error::{CONNECTION_LOST, ends_connection, error_of};
use super::tls::Tls;
use super::url::Address;
use crate::model::Engine;
use crate::store::sql::{Cell, Connection, EachRow, Reader, Row, Value, Watch};
use crate::store::{StoreError, StoreResult};

/// Longest that connecting may take, with every address of the host, encryption and the password.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Longest that a statement may go on after it was asked to end.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
/// How soon a statement is asked again to end.
const CANCEL_AGAIN: Duration = Duration::from_millis(100);
/// Statements that have a name on the server, each. More than the store has fixed ones.
const NAMED_MAX: usize = 300;
/// A longer text has a list in it, and hardly comes again.
const NAMED_MAX_BYTES: usize = 8192;

/// A connection. To be made and waited for only on threads that may block; it can be dropped anywhere.
pub(super) struct Session {
    /// None once it is dropped.
    runtime: Option<Runtime>,
    client: Client,
    tls: Tls,
    /// Statements that have a name on the server.
    named: RefCell<HashMap<String, Statement>>,
    /// Whether statements may have one. Not behind a pooler: what was prepared in one session may be asked for in another, where
    /// another process has given the same name to another statement.
    has_names: bool,
    /// Longest that a statement may take before the server is given up. In a transaction the server ends it sooner: this is
    /// for a server that answers nothing.
    patience: Duration,
    /// When the read that goes on must end.
    watch: Option<Watch>,
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
            let (client, connection) = address.config.connect(tls.clone()).await?;
            tokio::spawn(async move {
                // What goes wrong is told to whoever waits for a statement.
                let _ = connection.await;
            });
            let with = client.query_typed_one("SELECT pg_backend_pid()", &[]);
            let with: i32 = with.await?.try_get(0)?;
            let has_names = told_backend(&client).await? == Some(with);
            Ok::<_, Error>((client, has_names))
        };
        let connected = runtime.block_on(async { timeout(CONNECT_WITHIN, connecting).await });
        let (client, has_names) = connected
            .map_err(|_| StoreError::Io("the server did not let us connect in time".to_owned()))?
            .map_err(|error| error_of(&error))?;
        Ok(Self {
            runtime: Some(runtime),
            client,
            tls: tls.clone(),
            named: RefCell::default(),
            has_names,
            patience,
            watch: None,
            is_broken: Flag::new(false),
        })
    }

    /// Gives up a server that does not answer a statement within this time, from now on.
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Whether it can be used again: it is connected, and no statement of it is under way.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_broken.get() && !self.client.is_closed()
    }

    /// Waits for something of the client's, on this thread.
    fn wait<T>(&self, statement: impl Future<Output = Result<T, Error>>) -> StoreResult<T> {
        let runtime = self.runtime.as_ref().ok_or(StoreError::Closed)?;
        let answered = runtime.block_on(async {
            let mut statement = pin!(statement);
            if let Some(answer) = self.until_over(statement.as_mut()).await {
                return Some(answer);
            }
            // It is asked to end, and answers in any case. Otherwise nobody knows what the connection is at.
            let cancel = self.client.cancel_token();
            let ended = async {
                loop {
                    // Asked before the statement has begun, the server ends nothing.
                    let _ = cancel.cancel_query(self.tls.clone()).await;
                    if let Ok(answer) = timeout(CANCEL_AGAIN, statement.as_mut()).await {
                        return answer;
                    }
                }
            };
            timeout(ENDS_WITHIN, ended).await.ok()
        });
        let Some(answer) = answered else {
            self.is_broken.set(true);
            return Err(StoreError::Io(format!(
                "{CONNECTION_LOST}: the server does not answer"
            )));
        };
        answer.map_err(|error| {
            if ends_connection(&error) {
                self.is_broken.set(true);
            }
            error_of(&error)
        })
    }

    /// The answer of a statement, unless it takes longer than it may.
    async fn until_over<T>(&self, statement: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let limit = match &self.watch {
            Some(Watch {
                deadline: Some(deadline),
                ..
            }) => deadline.saturating_duration_since(Instant::now()),
            _ => self.patience,
        };
        let abandoned = self
            .watch
            .as_ref()
            .map(|watch| watch.abandoned.clone())
            .unwrap_or_default();
        tokio::select! {
            biased;
            answer = statement => Some(answer),
            () = abandoned.cancelled() => None,
            () = sleep(limit) => None,
        }
    }

    /// The statement under its name; none where it can have none.
    fn named(&self, sql: &str, values: &[Value<'_>]) -> StoreResult<Option<Statement>> {
        if sql.len() > NAMED_MAX_BYTES || !self.has_names {
            return Ok(None);
        }
        let types: Vec<_> = values.iter().map(type_of).collect();
        if let Some(known) = self.named.borrow().get(sql) {
            return Ok((known.params() == types).then(|| known.clone()));
        }
        if self.named.borrow().len() >= NAMED_MAX {
            return Ok(None);
        }
        let statement = self.wait(self.client.prepare_typed(&dollars(sql), &types))?;
        self.named
            .borrow_mut()
            .insert(sql.to_owned(), statement.clone());
        Ok(Some(statement))
    }

    fn rows(&self, sql: &str, values: &[Value<'_>]) -> StoreResult<Vec<PgRow>> {
        match self.named(sql, values)? {
            Some(named) => self.wait(self.client.query(&named, &parameters(values))),
            None => self.wait(self.client.query_typed(&dollars(sql), &typed(values))),
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
        match self.named(sql, values)? {
            Some(named) => self.wait(self.client.execute(&named, &parameters(values))),
            None => self.wait(self.client.execute_typed(&dollars(sql), &typed(values))),
        }
    }

    fn query(&self, sql: &str, values: &[Value<'_>], each: &mut EachRow<'_>) -> StoreResult<()> {
        // All rows first: `each` may run statements of its own.
        for row in &self.rows(sql, values)? {
            if each(row)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn insert(&self, sql: &str, values: &[Value<'_>]) -> StoreResult<Option<i64>> {
        let inserted = self.rows(&format!("{sql} RETURNING id"), values)?;
        inserted
            .first()
            .map(|row| (row as &dyn Row).get(0))
            .transpose()
    }

    fn batch(&self, sql: &str) -> StoreResult<()> {
        self.wait(self.client.batch_execute(sql))
    }
}

impl Reader for Session {
    fn begin(&mut self, watch: Watch) -> StoreResult<()> {
        self.watch = Some(watch);
        Ok(())
    }

    fn is_reusable(&self) -> bool {
        self.is_usable()
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

fn parameters<'a>(values: &'a [Value<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values.iter().map(|value| value as _).collect()
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
        Value::List(values) => match values.first() {
            Some(Value::Integer(_)) => Type::INT8_ARRAY,
            Some(Value::Real(_)) => Type::FLOAT8_ARRAY,
            Some(Value::Bytes(_)) => Type::BYTEA_ARRAY,
            Some(Value::Text(_) | Value::List(_)) | None => Type::TEXT_ARRAY,
        },
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match *self {
            Self::Integer(number) => number.to_sql(of, out),
            Self::Real(number) => number.to_sql(of, out),
            // PostgreSQL has no text with a NUL in it. What it stands for, elsewhere too, says that something was there.
            Self::Text(Some(text)) if text.contains('\0') => {
                text.replace('\0', "\u{FFFD}").to_sql(of, out)
            }
            Self::Text(text) => text.to_sql(of, out),
            Self::Bytes(bytes) => bytes.to_sql(of, out),
            Self::List(values) => values.to_sql(of, out),
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
    fn from_sql(of: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
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

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn StdError + Sync + Send>> {
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
