//! Cells of CSV that a spreadsheet leaves as they are. A text that it would take for a formula, a number, a date or a truth
//! value gets an apostrophe before it, by which spreadsheets mark text.

use std::fmt::{Display, Write};

/// Begins a formula, in one spreadsheet or another; a tab or a line end before it is skipped by some.
const FORMULA_STARTS: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
/// What dates and times are written with besides digits and words.
const SEPARATORS: &str = " .,:/-";
/// Months, in the languages that spreadsheets are mostly used in. They are also written short.
const MONTHS: [&str; 58] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "januar",
    "februar",
    "märz",
    "mrz",
    "mai",
    "juni",
    "juli",
    "oktober",
    "dezember",
    "janvier",
    "février",
    "fevrier",
    "mars",
    "avril",
    "juin",
    "juillet",
    "août",
    "aout",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "octubre",
    "noviembre",
    "diciembre",
    "gennaio",
    "febbraio",
    "aprile",
    "maggio",
    "giugno",
    "luglio",
    "settembre",
    "ottobre",
    "dicembre",
    "maart",
    "mei",
    "augustus",
];
/// Truth values, in the same languages.
const TRUTHS: [&str; 9] = [
    "true",
    "false",
    "wahr",
    "falsch",
    "vrai",
    "faux",
    "vero",
    "falso",
    "verdadero",
];

/// Adds a text, or an empty cell.
pub(super) fn text_cell(text: Option<&str>, out: &mut String) {
    let text = text.unwrap_or_default();
    let mark = if is_taken_for_something(text) {
        "'"
    } else {
        ""
    };
    let needs_quotes = text.contains(['"', ',', '\r', '\n', ';', '\t'])
        || text.starts_with(' ')
        || text.ends_with(' ');
    if needs_quotes {
        out.push('"');
        *out += mark;
        *out += &text.replace('"', "\"\"");
        out.push('"');
    } else {
        *out += mark;
        *out += text;
    }
}

/// Adds a number, or an empty cell. Whole ones have no fraction.
pub(super) fn number_cell(number: Option<impl Display>, out: &mut String) {
    if let Some(number) = number {
        // A string takes everything.
        let _ = write!(out, "{number}");
    }
}

/// Whether a spreadsheet would take a text for something else.
fn is_taken_for_something(text: &str) -> bool {
    text.starts_with(FORMULA_STARTS) || is_value(text.trim())
}

/// Whether a text is a number, a date, a time or a truth value to a spreadsheet. A text with an underscore, or with any other
/// sign that those are not written with, is none.
fn is_value(text: &str) -> bool {
    let lower = text.to_lowercase();
    if TRUTHS.contains(&&*lower) {
        return true;
    }
    let has_digit = lower.contains(|c: char| c.is_numeric());
    let is_sign = |c: char| SEPARATORS.contains(c) || "+%$€£¥()'".contains(c);
    let is_word = |c: char| c.is_alphabetic();
    if !has_digit
        || !lower
            .chars()
            .all(|c| c.is_numeric() || is_sign(c) || is_word(c))
    {
        return false;
    }
    let mut words = lower.split(|c| !is_word(c)).filter(|word| !word.is_empty());
    let begins_with_digit = lower.starts_with(char::is_numeric);
    words.all(|word| match word {
        // 1e5, 10 am.
        "e" => begins_with_digit && lower.ends_with(char::is_numeric),
        "am" | "pm" | "a" | "p" => begins_with_digit && lower.ends_with(word),
        // 5 Mar 2026, MAR1.
        word => MONTHS.iter().any(|month| is_month(word, month)),
    })
}

/// Whether a word is this month, whole or cut short.
fn is_month(word: &str, month: &str) -> bool {
    month.starts_with(word) && word.chars().count() >= 3
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cell(text: &str) -> String {
        let mut out = String::new();
        text_cell(Some(text), &mut out);
        out
    }

    #[test]
    fn ids_that_look_like_something_else_are_marked_and_others_are_left_alone() {
        for id in [
            "00123",
            "123456789012345678",
            "1e5",
            "12E3",
            "1.5",
            "1,5",
            "1/2",
            "3-4",
            "2026-06-05",
            "10:30",
            "10 am",
            "MAR1",
            "SEPT2",
            "1-Mar",
            "5. Mai 2026",
            "Dez 24",
            "TRUE",
            "wahr",
            "50%",
            "$5",
            "(12)",
            "٣",
            "1 000",
        ] {
            assert!(cell(id).trim_start_matches('"').starts_with('\''), "{id}");
        }
        for id in [
            "rep_8842",
            "marketing12",
            "e5",
            "5e",
            "2026-06-05T18:09:14.000Z",
            "rep-12",
            "REP12",
            "a1",
            "x",
            "Mara",
            "März",
            "truest",
            "anna@example.com",
            "3f2a1c9e-0b7d-4e55-9a3c-7d1f0e2b4c66",
            "athos_call_1e5",
            "v1.2",
            "12ab",
            "",
        ] {
            assert_eq!(cell(id), id, "{id}");
        }
    }

    #[test]
    fn formulas_are_defused_wherever_they_begin() {
        for text in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "＝1",
            "=cmd|' /C calc'!A0",
            "-x",
        ] {
            let cell = cell(text);
            assert!(
                cell.trim_start_matches('"').starts_with('\''),
                "{text:?}: {cell:?}"
            );
        }
    }

    #[test]
    fn a_cell_with_a_comma_a_quote_or_a_line_end_is_quoted() {
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("say \"hi\""), "\"say \"\"hi\"\"\"");
        assert_eq!(cell("a\nb"), "\"a\nb\"");
        assert_eq!(cell(" a"), "\" a\"");
        assert_eq!(cell("=\"x\""), "\"'=\"\"x\"\"\"");
        let mut numbers = String::new();
        number_cell(Some(61.0), &mut numbers);
        numbers.push(',');
        number_cell(Some(61.25), &mut numbers);
        numbers.push(',');
        number_cell(None::<i64>, &mut numbers);
        assert_eq!(numbers, "61,61.25,");
    }

    /// Reads one cell as RFC 4180 says.
    fn read(cell: &str) -> Option<String> {
        let Some(quoted) = cell.strip_prefix('"') else {
            return (!cell.contains([',', '"', '\r', '\n'])).then(|| cell.to_owned());
        };
        let inner = quoted.strip_suffix('"')?;
        let bare = inner.replace("\"\"", "");
        (!bare.contains('"')).then(|| inner.replace("\"\"", "\""))
    }

    proptest! {
        #[test]
        fn every_text_comes_back_as_it_was_or_with_an_apostrophe_before_it(text in "(\\PC|[\t\r\n\"=+@-]){0,30}") {
            let back = read(&cell(&text)).unwrap();
            prop_assert!(back == text || back == format!("'{text}"), "{text:?}: {back:?}");
            prop_assert!(!back.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']));
        }
    }
}
