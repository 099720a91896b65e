//! Recordings, as the links of `link.rs` reach them: a few tones. No call is really recorded.

use std::ops::Range;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::error::ApiError;
use super::link::signature;
use super::request::pairs;
use super::vendor::SharedVendor;

const SAMPLES_PER_SEC: u32 = 8000;
/// One for each second: a dial tone's neighbours, easy to tell apart.
const TONES_HZ: [u32; 3] = [350, 440, 520];

pub(super) fn router() -> Router<SharedVendor> {
    Router::new().route("/_simulator/recordings/{file}", get(play))
}

async fn play(
    State(vendor): State<SharedVendor>,
    method: Method,
    headers: HeaderMap,
    Path(file): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let refuse = ApiError::link_refused;
    let query = query.unwrap_or_default();
    let query = pairs(&query);
    let parameter = |name: &str| {
        let pair = query.iter().find(|(key, _)| key == name);
        pair.map(|(_, value)| &**value)
    };
    let call_id = file.strip_suffix(".wav").ok_or_else(refuse)?;
    let expires: Option<i64> = parameter("expires").and_then(|expires| expires.parse().ok());
    let expires = expires.ok_or_else(refuse)?;
    let is_signed = {
        let memory = vendor.memory();
        let right = signature(call_id, expires, memory.seed);
        parameter("signature") == Some(&right) && memory.call(call_id).is_some()
    };
    // The real links are signed for one method, too.
    if method != Method::GET || !is_signed || vendor.now().as_secs() >= expires {
        return Err(refuse());
    }
    let fixed = [
        (header::CONTENT_TYPE, "audio/wav"),
        (header::CACHE_CONTROL, "no-store"),
        (header::ACCEPT_RANGES, "bytes"),
    ];
    let wav = wav();
    let length = wav.len();
    let asked = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok());
    let Some(range) = asked.and_then(|range| Asked::parse(range, length)) else {
        return Ok((fixed, wav).into_response());
    };
    let Asked::Bytes(range) = range else {
        let whole = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
        return Ok((whole, ApiError::range_not_satisfiable()).into_response());
    };
    let place = format!("bytes {}-{}/{length}", range.start, range.end - 1);
    let part = wav[range].to_vec();
    let place = [(header::CONTENT_RANGE, place)];
    Ok((StatusCode::PARTIAL_CONTENT, fixed, place, part).into_response())
}

/// The part of a recording that is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Bytes(Range<usize>),
    /// One that begins behind the end.
    Nothing,
}

impl Asked {
    /// Reads a `Range` header with one range. Another unit, several ranges, or no sense: then the whole is answered, as
    /// HTTP allows.
    fn parse(range: &str, length: usize) -> Option<Self> {
        let (first, last) = range.trim().strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| text.trim().parse::<usize>();
        let (start, end) = match (number(first), number(last)) {
            (Ok(first), Ok(last)) if first > last => return None,
            (Ok(first), Ok(last)) => (first, last.saturating_add(1).min(length)),
            (Ok(first), Err(_)) if last.trim().is_empty() => (first, length),
            (Err(_), Ok(last)) if first.trim().is_empty() => (length.saturating_sub(last), length),
            _ => return None,
        };
        Some(match start < end {
            true => Self::Bytes(start..end),
            false => Self::Nothing,
        })
    }
}

/// Three seconds of tones: 8-bit mono PCM.
fn wav() -> Vec<u8> {
    let samples: Vec<u8> = TONES_HZ
        .iter()
        .flat_map(|hz| (0..SAMPLES_PER_SEC).map(move |n| sample(*hz, n)))
        .collect();
    let data_bytes = u32::try_from(samples.len()).unwrap_or(0);
    let mut wav = Vec::with_capacity(samples.len() + 44);
    wav.extend(b"RIFF");
    wav.extend((36 + data_bytes).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16_u32.to_le_bytes());
    // PCM, one channel.
    wav.extend([1, 0, 1, 0]);
    // Samples and bytes in a second; bytes and bits in a sample.
    wav.extend(SAMPLES_PER_SEC.to_le_bytes());
    wav.extend(SAMPLES_PER_SEC.to_le_bytes());
    wav.extend([1, 0, 8, 0]);
    wav.extend(b"data");
    wav.extend(data_bytes.to_le_bytes());
    wav.extend(samples);
    wav
}

/// A quiet sine around the middle, which is 128.
fn sample(hz: u32, n: u32) -> u8 {
    let turns = f64::from(hz) * f64::from(n) / f64::from(SAMPLES_PER_SEC);
    let height = (turns * std::f64::consts::TAU).sin();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 88 and 168"
    )]
    let sample = (128.0 + 40.0 * height) as u8;
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_answered_and_what_makes_no_sense_is_the_whole() {
        let bytes = |range| Some(Asked::Bytes(range));
        for (range, asked) in [
            ("bytes=0-0", bytes(0..1)),
            ("bytes=2-5", bytes(2..6)),
            ("bytes=7-", bytes(7..10)),
            ("bytes=-3", bytes(7..10)),
            ("bytes=-99", bytes(0..10)),
            ("bytes=5-99", bytes(5..10)),
            ("bytes=10-", Some(Asked::Nothing)),
            ("bytes=10-20", Some(Asked::Nothing)),
            ("bytes=-0", Some(Asked::Nothing)),
            ("bytes=5-2", None),
            ("bytes=0-1,4-5", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("items=0-1", None),
        ] {
            assert_eq!(Asked::parse(range, 10), asked, "{range}");
        }
    }
}
