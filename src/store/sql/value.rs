//! The values of a statement's parameters. Each has its type even when it is NULL: not every engine guesses it.

use crate::model::Timestamp;

/// A value for a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::store) enum Value<'a> {
    /// Numbers, times in milliseconds, and flags: 0 or 1.
    Integer(Option<i64>),
    Real(Option<f64>),
    Text(Option<&'a str>),
    Bytes(Option<&'a [u8]>),
    /// Values of one type, at least one, for `unnest`; not on SQLite, which has no such type.
    List(&'a [Value<'a>]),
}

/// What can be the value of a parameter.
pub(in crate::store) trait Bind {
    /// NULL, of its type.
    const NULL: Value<'static>;

    fn value(&self) -> Value<'_>;
}

impl<'a, T: Bind + ?Sized> From<&'a T> for Value<'a> {
    fn from(value: &'a T) -> Self {
        value.value()
    }
}

impl<T: Bind> Bind for Option<T> {
    const NULL: Value<'static> = T::NULL;

    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(T::NULL, T::value)
    }
}

impl<T: Bind + ?Sized> Bind for &T {
    const NULL: Value<'static> = T::NULL;

    fn value(&self) -> Value<'_> {
        T::value(self)
    }
}

macro_rules! bind {
    ($kind:ident: $($type:ty = |$value:ident| $read:expr),+ $(,)?) => {$(
        impl Bind for $type {
            const NULL: Value<'static> = Value::$kind(None);

            fn value(&self) -> Value<'_> {
                let $value = self;
                Value::$kind(Some($read))
            }
        }
    )+};
}

bind!(Integer:
    i64 = |value| *value,
    u32 = |value| i64::from(*value),
    u16 = |value| i64::from(*value),
    bool = |value| i64::from(*value),
    Timestamp = |value| value.as_millis(),
);
bind!(Real: f64 = |value| *value);
bind!(Text: str = |value| value, String = |value| value);
bind!(Bytes: [u8] = |value| value, Vec<u8> = |value| value);

impl<const N: usize> Bind for [u8; N] {
    const NULL: Value<'static> = Value::Bytes(None);

    fn value(&self) -> Value<'_> {
        Value::Bytes(Some(self))
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(Some(value))
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        i64::from(value).into()
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(value: Timestamp) -> Self {
        value.as_millis().into()
    }
}

/// Rows for a statement that reads them by `unnest`, a parameter for each column: it has one text, however many they are.
pub(in crate::store) struct GivenRows<'a, const COLUMNS: usize>([Vec<Value<'a>>; COLUMNS]);

impl<'a, const COLUMNS: usize> FromIterator<[Value<'a>; COLUMNS]> for GivenRows<'a, COLUMNS> {
    fn from_iter<R: IntoIterator<Item = [Value<'a>; COLUMNS]>>(rows: R) -> Self {
        let mut columns = [const { Vec::new() }; COLUMNS];
        for row in rows {
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(value);
            }
        }
        Self(columns)
    }
}

impl<const COLUMNS: usize> GivenRows<'_, COLUMNS> {
    /// The values of the statement's parameters.
    pub(in crate::store) fn values(&self) -> [Value<'_>; COLUMNS] {
        self.0.each_ref().map(|column| Value::List(column))
    }
}

/// The values of a statement, in the order of its parameters.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::store::sql::Value::from(&$value)),*]
    };
}
pub(in crate::store) use values;
