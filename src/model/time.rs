//! Moments: milliseconds in the database, ISO 8601 on the wire. And the bounds of a range of time as people write them, on
//! the command line and in query strings alike.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A moment, in milliseconds since 1970 UTC. On the wire it is ISO 8601 with milliseconds, as Athos writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970 UTC.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970 UTC.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970 UTC, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment and then some.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This moment less some.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            // Beyond the year 9999 there is no ISO 8601 to write.
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// The text is not an ISO 8601 moment with an offset.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("not an ISO 8601 time such as 2026-06-05T18:09:14.000Z")]
pub struct NotATime;

impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let time: jiff::Timestamp = text.parse().map_err(|_| NotATime)?;
        Ok(Self(time.as_millisecond()))
    }
}

/// Where a range of time begins or ends, as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeBound {
    /// At a moment.
    At(Timestamp),
    /// On a whole day, UTC; this is its first moment.
    On(Timestamp),
    /// So long ago.
    Ago(Duration),
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl TimeBound {
    /// The first moment of a range that begins here.
    #[must_use]
    pub fn first(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) | Self::On(time) => time,
            // Before 1970 nothing happened.
            Self::Ago(ago) => now.minus(ago).max(Timestamp(0)),
        }
    }

    /// The last moment of a range that ends here: of a day, its last millisecond.
    #[must_use]
    pub fn last(self, now: Timestamp) -> Timestamp {
        match self {
            Self::On(day) => day.plus(DAY).minus(Duration::from_millis(1)),
            _ => self.first(now),
        }
    }
}

/// The text is no bound of a range of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a time: write a moment with its zone (2026-06-05T18:09:14Z), a day in UTC (2026-06-05), or how long ago (90s, 2h, 7d)"
)]
pub struct NotATimeBound;

impl FromStr for TimeBound {
    type Err = NotATimeBound;

    fn from_str(text: &str) -> Result<Self, NotATimeBound> {
        let text = text.trim();
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        day(text)
            .map(Self::On)
            .or_else(|| ago(text).map(Self::Ago))
            .ok_or(NotATimeBound)
    }
}

/// A date alone, `2026-06-05`.
fn day(text: &str) -> Option<Timestamp> {
    let is_date = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    is_date.then(|| format!("{text}T00:00:00Z").parse().ok())?
}

fn ago(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.parse().ok()?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours());
    // `-2h` and `2h ago` say the same as `2h`; `+2h` would be ahead.
    let is_ahead = text.starts_with('+');
    length
        .ok()
        .filter(|_| !is_ahead)
        .map(|by| by.unsigned_abs())
}

impl<'de> Deserialize<'de> for TimeBound {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(
                utoipa::openapi::KnownFormat::DateTime,
            )))
            .examples(["2026-06-05T18:09:14.000Z"])
            .build()
            .into()
    }
}

impl ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_athos_writes_it_and_read_back() {
        let text = "2026-06-05T18:09:14.000Z";
        let time: Timestamp = text.parse().unwrap();
        assert_eq!(time.as_millis(), 1_780_682_954_000);
        assert_eq!(time.to_string(), text);
        assert!("yesterday".parse::<Timestamp>().is_err());
        assert!("2026-06-05T18:09:14".parse::<Timestamp>().is_err());
    }

    fn bound(text: &str) -> TimeBound {
        text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn a_bound_is_a_moment_a_day_or_how_long_ago() {
        let now: Timestamp = "2026-06-08T12:00:00.000Z".parse().unwrap();
        for (text, first, last) in [
            ("2026-06-05T18:09:14.000Z", "2026-06-05T18:09:14.000Z", None),
            (" 2026-06-05T18:09:14Z ", "2026-06-05T18:09:14.000Z", None),
            (
                "2026-06-05T20:09:14+02:00",
                "2026-06-05T18:09:14.000Z",
                None,
            ),
            (
                "2026-06-05",
                "2026-06-05T00:00:00.000Z",
                Some("2026-06-05T23:59:59.999Z"),
            ),
            (
                "2024-02-29",
                "2024-02-29T00:00:00.000Z",
                Some("2024-02-29T23:59:59.999Z"),
            ),
            ("90s", "2026-06-08T11:58:30.000Z", None),
            ("2h", "2026-06-08T10:00:00.000Z", None),
            ("2 hours", "2026-06-08T10:00:00.000Z", None),
            ("2h ago", "2026-06-08T10:00:00.000Z", None),
            ("-2h", "2026-06-08T10:00:00.000Z", None),
            ("1h30m", "2026-06-08T10:30:00.000Z", None),
            ("7d", "2026-06-01T12:00:00.000Z", None),
            ("1w", "2026-06-01T12:00:00.000Z", None),
            ("P1DT12H", "2026-06-07T00:00:00.000Z", None),
            ("0s", "2026-06-08T12:00:00.000Z", None),
            ("99999d", "1970-01-01T00:00:00.000Z", None),
        ] {
            let bound = bound(text);
            assert_eq!(bound.first(now).to_string(), first, "{text}");
            assert_eq!(bound.last(now).to_string(), last.unwrap_or(first), "{text}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_or_none_is_no_bound() {
        for text in [
            "",
            " ",
            "foo",
            "yesterday",
            "2",
            "2x",
            "+2h",
            "1780682954",
            "2026-06",
            "2026-6-5",
            "20260605",
            "05.06.2026",
            "06/05/2026",
            "2026-13-01",
            "2026-02-30",
            "2026-06-05T18:09:14",
            "2026-06-05 18:09",
            "9999999999999999d",
        ] {
            assert_eq!(text.parse::<TimeBound>(), Err(NotATimeBound), "{text}");
        }
    }
}
