//! Values of query strings that several lists share.

use std::str::FromStr;

use super::error::ApiError;
use crate::model::{Drift, DriftKind, Source, TimeBound, Timestamp, UnknownVariant};
use crate::store::SharedStore;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 100;

pub(super) fn parse_limit(limit: Option<&str>) -> Result<u32, ApiError> {
    let Some(limit) = limit else {
        return Ok(DEFAULT_LIMIT);
    };
    match limit.parse() {
        Ok(limit @ 1..=MAX_LIMIT) => Ok(limit),
        _ => Err(ApiError::InvalidRequest(format!(
            "limit must be a whole number from 1 to {MAX_LIMIT}"
        ))),
    }
}

/// A range of time, either end of which may be open. Both ends belong to it.
pub(super) fn parse_range(
    from: Option<&str>,
    to: Option<&str>,
    now: Timestamp,
) -> Result<(Option<Timestamp>, Option<Timestamp>), ApiError> {
    let from = from.map(|text| parse_bound("from", text)).transpose()?;
    let to = to.map(|text| parse_bound("to", text)).transpose()?;
    Ok((
        from.map(|bound| bound.first(now)),
        to.map(|bound| bound.last(now)),
    ))
}

fn parse_bound(name: &str, text: &str) -> Result<TimeBound, ApiError> {
    // A `+` that nobody has escaped, as in `T20:09:14+02:00`, arrives as a space.
    let is_moment = text.contains('T');
    let restored = is_moment.then(|| text.trim().replace(' ', "+"));
    let bound = restored.as_deref().unwrap_or(text).parse();
    bound.map_err(|why| ApiError::InvalidRequest(format!("{name} is {why}")))
}

/// A word of a closed set.
pub(super) fn parse_word<T>(name: &str, word: Option<&str>) -> Result<Option<T>, ApiError>
where
    T: FromStr<Err = UnknownVariant>,
{
    let word = word.map(str::parse).transpose();
    word.map_err(|why| ApiError::InvalidRequest(format!("{name}: {why}")))
}

/// A source of calls: one that we know, or one of those that Athos has sent all the same.
pub(super) async fn parse_source(
    store: &SharedStore,
    word: Option<String>,
) -> Result<Option<String>, ApiError> {
    let Err(unknown) = parse_word::<Source>("source", word.as_deref()) else {
        return Ok(word);
    };
    let seen = store.list_drift().await?;
    let is_word = |drift: &Drift| {
        drift.kind == DriftKind::Source && Some(drift.name.as_str()) == word.as_deref()
    };
    if seen.iter().any(|seen| is_word(&seen.drift)) {
        return Ok(word);
    }
    Err(unknown)
}
