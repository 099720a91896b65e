//! Repairs JSON from outside before it is parsed: what would make a strict parser refuse the whole body is replaced in
//! place, and a body of too many values is refused before anything is allocated for them.

use std::borrow::Cow;
use std::ops::Range;

/// Most values, field names included, in one body. Each takes about 60 bytes of memory; a two-hour call has 10,000.
pub const MAX_VALUES: usize = 100_000;
/// Deepest nesting that is read. The parser's own limit is 128.
const MAX_DEPTH: usize = 64;
/// Replaces a value that cannot be read.
const UNREADABLE: &str = "\"\\ufffd\"";
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A body of more values than [`MAX_VALUES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has more than {MAX_VALUES} values")]
pub(super) struct TooManyValues;

/// Whether a body has more than [`MAX_VALUES`] values.
pub fn has_too_many_values(body: &[u8]) -> bool {
    repair(body).is_err()
}

/// What a strict parser reads: the body itself, or a copy in which
/// - halves of surrogate pairs, bytes that are not UTF-8 and unknown escapes are U+FFFD,
/// - bare control characters in texts are escaped,
/// - numbers that no `f64` holds, `NaN`, `Infinity` and what is nested too deep are a text of U+FFFD: something was there.
pub(super) fn repair(body: &[u8]) -> Result<Cow<'_, str>, TooManyValues> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    match str::from_utf8(body) {
        Ok(text) => Scan::new(text).run(),
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            let repaired = Scan::new(&text).run()?.into_owned();
            Ok(Cow::Owned(repaired))
        }
    }
}

struct Scan<'b> {
    text: &'b str,
    /// Its bytes.
    body: &'b [u8],
    at: usize,
    values: usize,
    depth: usize,
    /// The copy, up to `copied`; empty while nothing had to be replaced.
    repaired: String,
    copied: usize,
}

impl<'b> Scan<'b> {
    fn new(text: &'b str) -> Self {
        Self {
            text,
            body: text.as_bytes(),
            at: 0,
            values: 0,
            depth: 0,
            repaired: String::new(),
            copied: 0,
        }
    }

    fn run(mut self) -> Result<Cow<'b, str>, TooManyValues> {
        while let Some(&byte) = self.body.get(self.at) {
            match byte {
                b'"' => self.text(),
                b'{' | b'[' if self.depth == MAX_DEPTH => self.skip_nested(),
                b'{' | b'[' => {
                    self.depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.at += 1;
                    continue;
                }
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {
                    self.at += 1;
                    continue;
                }
                _ => self.word(),
            }
            self.values += 1;
            if self.values > MAX_VALUES {
                return Err(TooManyValues);
            }
        }
        if self.copied == 0 {
            return Ok(Cow::Borrowed(self.text));
        }
        self.repaired.push_str(&self.text[self.copied..]);
        Ok(Cow::Owned(self.repaired))
    }

    /// Replaces what begins and ends beside an ASCII character, or at an end of the text.
    fn replace(&mut self, range: Range<usize>, with: &str) {
        self.repaired.push_str(&self.text[self.copied..range.start]);
        self.repaired.push_str(with);
        self.copied = range.end;
    }

    /// Copies a text, up to its closing quote.
    fn text(&mut self) {
        self.at += 1;
        while let Some(&byte) = self.body.get(self.at) {
            match byte {
                b'"' => {
                    self.at += 1;
                    return;
                }
                b'\\' => self.escape(),
                0..0x20 => {
                    let escaped = format!("\\u{byte:04x}");
                    self.replace(self.at..self.at + 1, &escaped);
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) {
        let length = match self.body.get(self.at + 1) {
            Some(b'u') => match (self.code_unit(self.at), self.code_unit(self.at + 6)) {
                (Some(0xD800..0xDC00), Some(0xDC00..0xE000)) => 12,
                (Some(0xD800..0xE000), _) => {
                    self.replace(self.at..self.at + 6, "\\ufffd");
                    6
                }
                (Some(_), _) => 6,
                (None, _) => {
                    self.replace(self.at..self.at + 2, "\\ufffd");
                    2
                }
            },
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            // The byte after the backslash stays.
            _ => {
                self.replace(self.at..self.at + 1, "\\ufffd");
                1
            }
        };
        self.at += length;
    }

    /// The code unit of a `\uXXXX` at this place.
    fn code_unit(&self, at: usize) -> Option<u16> {
        let digits = self.body.get(at..at + 6)?.strip_prefix(b"\\u")?;
        let digits = std::str::from_utf8(digits).ok()?;
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
    }

    /// Copies a number or a literal, or replaces what is neither.
    fn word(&mut self) {
        let rest = &self.body[self.at..];
        let ends = |byte: &u8| b",:]}[{\" \t\n\r".contains(byte);
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        let end = self.at + length;
        let is_sound = match &rest[..length] {
            b"NaN" | b"Infinity" | b"-Infinity" => false,
            // Of short numbers without an exponent none is too large.
            word if length > 300 || word.iter().any(|byte| matches!(byte, b'e' | b'E')) => {
                let number = std::str::from_utf8(word)
                    .ok()
                    .and_then(|it| it.parse().ok());
                number.is_none_or(f64::is_finite)
            }
            _ => true,
        };
        if !is_sound {
            self.replace(self.at..end, UNREADABLE);
        }
        self.at = end;
    }

    /// What stands between brackets that are too deep, and the brackets.
    fn skip_nested(&mut self) {
        let start = self.at;
        let mut open = 0_usize;
        while let Some(&byte) = self.body.get(self.at) {
            self.at += 1;
            match byte {
                b'{' | b'[' => open += 1,
                b'}' | b']' => {
                    open -= 1;
                    if open == 0 {
                        break;
                    }
                }
                b'"' => self.skip_text(),
                _ => {}
            }
        }
        self.replace(start..self.at, UNREADABLE);
    }

    /// Up to the quote that ends a text.
    fn skip_text(&mut self) {
        while let Some(&byte) = self.body.get(self.at) {
            self.at += match byte {
                // A body may end in the middle of an escape.
                b'\\' => 2.min(self.body.len() - self.at),
                _ => 1,
            };
            if byte == b'"' {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(body: &[u8]) -> Option<Value> {
        serde_json::from_str(&repair(body).unwrap()).ok()
    }

    #[test]
    fn what_a_strict_parser_refuses_a_whole_for_is_replaced_where_it_stands() {
        let many_digits = format!("[{}]", "9".repeat(400));
        let table: &[(&[u8], Value)] = &[
            (br#"["\ud83d"]"#, json!(["\u{fffd}"])),
            (br#"["a\ud83db"]"#, json!(["a\u{fffd}b"])),
            (br#"["\uDE00"]"#, json!(["\u{fffd}"])),
            (br#"["\ud83d\ud83d\ude00"]"#, json!(["\u{fffd}😀"])),
            (br#"["\ud83d\n\"\\"]"#, json!(["\u{fffd}\n\"\\"])),
            (br#"["\\ud83d"]"#, json!(["\\ud83d"])),
            (br#"{"\ud83d":1}"#, json!({ "\u{fffd}": 1 })),
            (
                br#"["\u12", "\u+123", "\x", "\u"]"#,
                json!(["\u{fffd}12", "\u{fffd}+123", "\u{fffd}x", "\u{fffd}"]),
            ),
            (b"[\"\xff\xc3\"]", json!(["\u{fffd}\u{fffd}"])),
            (b"[\"\\\xff\"]", json!(["\u{fffd}\u{fffd}"])),
            (b"[\"\xed\xa0\xbd\"]", json!(["\u{fffd}\u{fffd}\u{fffd}"])),
            (b"[\"a\0b\nc\"]", json!(["a\0b\nc"])),
            (b"\xef\xbb\xbf[1]", json!([1])),
            (
                b"[1e400,-1E+999,1e-400,1e3]",
                json!(["\u{fffd}", "\u{fffd}", 0.0, 1000.0]),
            ),
            (
                b"{\"a\":NaN,\"b\":-Infinity}",
                json!({ "a": "\u{fffd}", "b": "\u{fffd}" }),
            ),
            (many_digits.as_bytes(), json!(["\u{fffd}"])),
        ];
        for (body, expected) in table {
            let text = String::from_utf8_lossy(body);
            assert_eq!(read(body).as_ref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_nothing_and_its_neighbours_are_read() {
        let deep = format!(
            "{}\"]}}\\\"\"{}",
            "[{\"a\":".repeat(50_000),
            "}]".repeat(50_000)
        );
        let body = format!("{{\"before\":1,\"deep\":{deep},\"after\":\"\\ud83d\"}}");
        let value = read(body.as_bytes()).unwrap();
        assert_eq!(value["before"], 1);
        assert_eq!(value["after"], "\u{fffd}");
        assert!(value["deep"].is_array());
    }

    #[test]
    fn a_body_that_ends_in_an_escape_where_it_is_nested_too_deep_is_no_json() {
        let body = format!("{}\"\\", "[".repeat(MAX_DEPTH + 1));
        assert_eq!(read(body.as_bytes()), None);
    }

    #[test]
    fn a_body_of_too_many_values_is_refused_and_one_of_as_many_is_not() {
        let body = |values: usize| format!("[{}1]", "1,".repeat(values - 2));
        assert!(repair(body(MAX_VALUES).as_bytes()).is_ok());
        assert_eq!(repair(body(MAX_VALUES + 1).as_bytes()), Err(TooManyValues));
        for tiny in ["{}", "[]", "\"\"", "{\"\":0}"] {
            let body = format!("[{tiny}{}]", format!(",{tiny}").repeat(MAX_VALUES));
            assert_eq!(repair(body.as_bytes()), Err(TooManyValues), "{tiny}");
        }
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for body in [
            "",
            "{",
            "{\"a\":\"",
            "<html>",
            "[1 2]",
            "nope",
            "{\"a\":1,}",
            "\"\\",
            "\"\\u",
            "]]",
        ] {
            assert_eq!(read(body.as_bytes()), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sound_is_left_as_it_is(value in "\\PC{0,40}", number: f64) {
            let body = json!({ "text": value, &value: [number, null, true] }).to_string();
            let repaired = repair(body.as_bytes()).unwrap();
            prop_assert!(matches!(repaired, Cow::Borrowed(_)));
        }

        #[test]
        fn any_bytes_are_repaired_to_what_can_be_repaired_no_further(body: Vec<u8>) {
            let once = repair(&body).unwrap().into_owned();
            prop_assert_eq!(&*repair(once.as_bytes()).unwrap(), &*once);
        }
    }
}
