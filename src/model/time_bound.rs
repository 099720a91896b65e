//! The bounds of a range of time as people write them, on the command line and in query strings alike.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use super::Timestamp;

/// The start or end of a range of time, as people write it.
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
            // Times before 1970 count as 1970.
            Self::Ago(ago) => now.minus(ago).max(Timestamp::from_millis(0)),
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

/// The text is not a bound of a range of time.
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
    // `-2h` and `2h ago` mean `2h`; `+2h` would be in the future.
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

#[cfg(test)]
mod tests {
    use super::*;

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
