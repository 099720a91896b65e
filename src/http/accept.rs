//! Which of the formats that a route has a client wants most, by its `Accept` header (RFC 9110, 12.5.1). A client that takes
//! none of them, or does not care, gets JSON.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use crate::export::FileFormat;

const JSON: &[&str] = &["application/json"];

/// The names of a format; the first is the one that answers have.
fn media_types(format: FileFormat) -> &'static [&'static str] {
    match format {
        FileFormat::Csv => &["text/csv"],
        FileFormat::Ndjson => &[
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
        ],
    }
}

/// The `Content-Type` of a file.
pub(super) fn content_type(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Csv => "text/csv; charset=utf-8; header=present",
        FileFormat::Ndjson => "application/x-ndjson",
    }
}

/// The file that is wanted more than JSON; `None` for JSON.
pub(super) fn wanted_file(headers: &HeaderMap, offered: &[FileFormat]) -> Option<FileFormat> {
    let accepted: Vec<_> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(range)
        .collect();
    let mut best = (quality(&accepted, JSON), None);
    for format in offered {
        let quality = quality(&accepted, media_types(*format));
        if quality > best.0 {
            best = (quality, Some(*format));
        }
    }
    best.1
}

/// A range of media types, and how much it is wanted, in thousandths.
fn range(text: &str) -> Option<(String, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next()?.to_ascii_lowercase();
    let quality = parts.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let quality = match quality {
        None => 1000,
        Some(text) => thousandths(text)?,
    };
    name.contains('/').then_some((name, quality))
}

fn thousandths(text: &str) -> Option<u16> {
    let number: f32 = text.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range before"
    )]
    (0.0..=1.0)
        .contains(&number)
        .then(|| (number * 1000.0).round() as u16)
}

/// How much a format is wanted by any of its names: as the most specific range says that has it.
fn quality(accepted: &[(String, u16)], names: &[&str]) -> u16 {
    let of_name = |name: &&str| {
        let whole_type = name.split('/').next().unwrap_or_default();
        let wildcard = format!("{whole_type}/*");
        let find = |wanted: &str| accepted.iter().find(|(range, _)| range == wanted);
        let found = find(name)
            .or_else(|| find(&wildcard))
            .or_else(|| find("*/*"));
        found.map_or(0, |(_, quality)| *quality)
    };
    names.iter().map(of_name).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use FileFormat::{Csv, Ndjson};
    use axum::http::HeaderValue;

    #[test]
    fn the_most_wanted_format_is_chosen_and_json_where_none_is_named() {
        for (accept, expected) in [
            ("text/csv", Some(Csv)),
            ("TEXT/CSV; charset=utf-8", Some(Csv)),
            ("text/*", Some(Csv)),
            ("application/x-ndjson", Some(Ndjson)),
            ("application/jsonl", Some(Ndjson)),
            ("application/json", None),
            ("*/*", None),
            ("", None),
            ("nonsense,,;q", None),
            ("application/xml", None),
            // Browsers, and libraries of HTTP.
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
                None,
            ),
            ("application/json, text/plain, */*", None),
            ("text/csv, application/json;q=0.9", Some(Csv)),
            ("text/csv;q=0.8, application/json", None),
            (
                "text/csv;q=0.5, application/x-ndjson;q=0.7, */*;q=0.1",
                Some(Ndjson),
            ),
            ("text/csv;q=0, */*", None),
            ("application/json;q=0, */*", Some(Csv)),
            ("text/csv;q=2", None),
            ("text/csv;q=x", None),
            ("text/csv, application/x-ndjson", Some(Csv)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(wanted_file(&headers, &[Csv, Ndjson]), expected, "{accept}");
        }
        let mut two = HeaderMap::new();
        two.append(ACCEPT, HeaderValue::from_static("application/json;q=0.2"));
        two.append(ACCEPT, HeaderValue::from_static("text/csv"));
        assert_eq!(wanted_file(&two, &[Csv, Ndjson]), Some(Csv));
        assert_eq!(wanted_file(&two, &[Ndjson]), None, "it is not offered");
        assert_eq!(wanted_file(&HeaderMap::new(), &[Csv]), None);
    }
}
