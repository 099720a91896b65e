//! Query strings: read into a type of the route's, whose fields are read by themselves, so that a handler sees values and
//! no texts. What cannot be read is told by its name.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::ApiError;
use crate::model::{Drift, DriftKind, Source, TimeBound};
use crate::store::SharedStore;

/// A request's query string.
pub(super) struct Query<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(why) => Err(refuse(std::error::Error::source(&why).unwrap_or(&why))),
        }
    }
}

fn refuse(why: &(impl fmt::Display + ?Sized)) -> ApiError {
    ApiError::InvalidRequest(format!("the query string: {why}"))
}

/// A value that is read from its text: a word of a closed set, a bound of time.
#[derive(Clone, Copy)]
pub(super) struct Parsed<T>(pub(super) T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// Where a range of time begins or ends. Both ends belong to it, and either may be open.
pub(super) struct Bound(TimeBound);

impl Deref for Bound {
    type Target = TimeBound;

    fn deref(&self) -> &TimeBound {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        // A `+` that nobody has escaped, as in `T20:09:14+02:00`, arrives as a space.
        let restored = text.contains('T').then(|| text.trim().replace(' ', "+"));
        let bound = restored.as_deref().unwrap_or(&text).parse();
        bound.map(Self).map_err(D::Error::custom)
    }
}

/// A whole number within bounds, both of which belong to it.
#[derive(Clone, Copy)]
pub(super) struct Count<const MIN: u32, const MAX: u32, const DEFAULT: u32>(pub(super) u32);

/// How many rows a page has.
pub(super) type PageLimit = Count<1, 100, 50>;

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> Default for Count<MIN, MAX, DEFAULT> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<'de, const MIN: u32, const MAX: u32, const DEFAULT: u32> Deserialize<'de>
    for Count<MIN, MAX, DEFAULT>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Cow::<str>::deserialize(deserializer)?.parse() {
            Ok(count) if (MIN..=MAX).contains(&count) => Ok(Self(count)),
            _ => Err(D::Error::custom(format!(
                "must be a whole number from {MIN} to {MAX}"
            ))),
        }
    }
}

/// Where a list goes on: the key of the last row of the page before. Opaque to callers: what is in it may change.
pub(super) struct Cursor<K>(pub(super) K);

impl<K: Serialize> Serialize for Cursor<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let key = serde_json::to_vec(&self.0).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(key))
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Cursor<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(&*text).ok();
        let key = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        key.map(Self)
            .ok_or_else(|| D::Error::custom("not a cursor of this list"))
    }
}

/// A source of calls: one that we know, or one of those that Athos has sent all the same.
pub(super) async fn known_source(
    store: &SharedStore,
    word: Option<String>,
) -> Result<Option<String>, ApiError> {
    let Some(Err(unknown)) = word.as_deref().map(str::parse::<Source>) else {
        return Ok(word);
    };
    let seen = store.list_drift().await?;
    let is_word = |drift: &Drift| {
        drift.kind == DriftKind::Source && Some(drift.name.as_str()) == word.as_deref()
    };
    if seen.iter().any(|seen| is_word(&seen.drift)) {
        return Ok(word);
    }
    Err(refuse(&format_args!("source: {unknown}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_and_garbage_is_refused(key: (i64, i64), garbage in "\\PC{0,40}") {
            let text = serde_json::to_value(Cursor(key)).unwrap();
            let read = |text| serde_json::from_value::<Cursor<(i64, i64)>>(text);
            prop_assert_eq!(read(text).unwrap().0, key);
            let _ = read(garbage.into());
        }
    }
}
