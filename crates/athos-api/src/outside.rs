//! Text that comes from outside, made fit for logs, reasons and error envelopes: bounded, and without anything that a
//! terminal or a log reader would act upon.

use std::fmt::Write;

/// Longest text that is passed on, in characters.
pub const MAX_OUTSIDE_CHARS: usize = 300;

/// The text with control characters, line and paragraph separators and direction overrides escaped, cut after
/// [`MAX_OUTSIDE_CHARS`].
#[must_use]
pub fn outside_text(text: &str) -> String {
    outside_text_within(text, MAX_OUTSIDE_CHARS)
}

/// The same, cut after `max_chars`.
#[must_use]
pub fn outside_text_within(text: &str, max_chars: usize) -> String {
    let mut shown = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == max_chars {
            shown.push('…');
            break;
        }
        if is_acted_upon(c) {
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn is_acted_upon(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_bounded_and_forges_no_line() {
        let plain = "Señor 😀 said \"no\": 5 < 6";
        assert_eq!(outside_text(plain), plain);
        assert_eq!(
            outside_text("a\r\nINFO forged\0\u{1b}[31m\u{85}\u{2028}\u{202e}"),
            "a\\r\\nINFO forged\\u{0}\\u{1b}[31m\\u{85}\\u{2028}\\u{202e}"
        );
        let long = outside_text(&"é".repeat(4_000_000));
        assert_eq!(long.chars().count(), MAX_OUTSIDE_CHARS + 1);
        let hostile = outside_text(&"\u{10ffff}\u{202e}".repeat(4_000_000));
        assert!(hostile.len() < 3000, "{}", hostile.len());
        assert_eq!(
            outside_text(&long[..10]),
            &long[..10],
            "again it changes nothing"
        );
    }
}
