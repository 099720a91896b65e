//! What one cell may hold, by what it is for. A spreadsheet shortens long numbers, turns ids into dates and writes its
//! errors as text; such a cell is refused, since what stood there before cannot be known.

use super::text::LOST;
use crate::model::is_invisible;

/// The kind of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Yours or Athos's, of a rep or an agency.
    Id,
    Npn,
    Email,
    /// A person's.
    Name,
    AgencyName,
}

/// Words for an empty cell, in lower case: of databases, Python, R, and by hand.
const PLACEHOLDERS: [&str; 23] = [
    "null",
    "(null)",
    "<null>",
    "[null]",
    "\\n",
    "nil",
    "none",
    "(none)",
    "<none>",
    "nan",
    "n/a",
    "n.a.",
    "n/a.",
    "undefined",
    "(blank)",
    "(empty)",
    "-",
    "--",
    "---",
    "–",
    "—",
    "?",
    ".",
];

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

/// The value of a cell, or what is wrong with it, as a text that follows the name of its column.
pub(super) fn read(kind: Kind, cell: &str) -> Result<String, String> {
    // A leading apostrophe marks text in spreadsheets.
    let wrapped = cell
        .strip_prefix("=\"")
        .and_then(|cell| cell.strip_suffix('"'));
    let cell = wrapped.unwrap_or(cell).trim();
    legible(kind, cell)?;
    if let Some(what) = substitute(kind, cell) {
        return Err(format!("is {cell}: {what}"));
    }
    if matches!(kind, Kind::Id | Kind::Npn)
        && let Some(what) = mangled(kind, cell)
    {
        return Err(format!(
            "is {cell}: {what}. Format the column as text where the file is made"
        ));
    }
    match kind {
        Kind::Name | Kind::AgencyName => {
            let plain = |c: char| if c.is_whitespace() { ' ' } else { c };
            Ok(cell.chars().map(plain).collect())
        }
        Kind::Id | Kind::Npn | Kind::Email => Ok(cell.to_owned()),
    }
}

/// Refuses what cannot be seen, and what is left of lost letters.
fn legible(kind: Kind, cell: &str) -> Result<(), String> {
    if cell.contains(LOST) {
        return Err(
            "is not UTF-8, or was saved where its letters could not be: save the file as CSV UTF-8"
                .to_owned(),
        );
    }
    let is_name = matches!(kind, Kind::Name | Kind::AgencyName);
    let is_wrong = |c: &char| match c {
        // Some scripts cannot be written without joiners.
        '\u{200c}' | '\u{200d}' => !is_name,
        ' ' => kind == Kind::Email,
        c if c.is_control() => true,
        c if c.is_whitespace() => matches!(kind, Kind::Id | Kind::Email),
        c => is_invisible(*c),
    };
    match cell.chars().find(is_wrong) {
        None => Ok(()),
        Some('\r' | '\n') => Err("has a line break in it: is a quote missing?".to_owned()),
        Some(' ') => Err("has a space in it".to_owned()),
        Some(c) => Err(format!(
            "has a character in it that cannot be seen (U+{:04X})",
            u32::from(c)
        )),
    }
}

/// What stands there instead of a value.
fn substitute(kind: Kind, cell: &str) -> Option<&'static str> {
    let lower = cell.to_lowercase();
    let is_error = cell.strip_prefix('#').is_some_and(|rest| {
        // `#DIV/0!` has the only digit.
        !rest.contains(|c: char| c.is_lowercase() || matches!(c, '1'..='9'))
    }) || lower.strip_prefix("err:").is_some_and(is_digits)
        || lower == "loading...";
    if is_error {
        return Some("an error that a spreadsheet shows in place of a value");
    }
    if cell.starts_with('=') {
        return Some("a formula, not its result");
    }
    // People are called Null and None, and who has one name has a dash for the other.
    let is_persons = kind == Kind::Name
        && (!lower.contains(char::is_alphabetic)
            || cell.starts_with(char::is_uppercase) && cell.contains(char::is_lowercase));
    // `NA` is what R writes; it is also a name, and an agency's.
    let is_nothing = PLACEHOLDERS.contains(&&*lower) || cell == "NA" && kind == Kind::Id;
    (is_nothing && !is_persons).then_some("that stands for nothing: leave the cell empty")
}

/// What a spreadsheet has made of an id.
fn mangled(kind: Kind, cell: &str) -> Option<&'static str> {
    if is_scientific(cell) {
        return Some("a long number in scientific notation, most of whose digits are lost");
    }
    if let Some((whole, fraction)) = cell.split_once(['.', ','])
        && is_digits(whole)
        && is_digits(fraction)
    {
        let is_zero = fraction.bytes().all(|digit| digit == b'0');
        if is_zero || kind == Kind::Npn && fraction.len() != 3 {
            return Some("a number with a fraction");
        }
    }
    if kind == Kind::Id {
        let mut groups = cell.split(',');
        let starts = groups
            .next()
            .is_some_and(|first| is_digits(first) && first.len() <= 3);
        if starts && cell.contains(',') && groups.all(|group| is_digits(group) && group.len() == 3)
        {
            return Some("a number with separators between its thousands");
        }
        if cell.starts_with('\'') {
            return Some("it begins with the apostrophe that marks text in a spreadsheet");
        }
    }
    is_date(cell).then_some("a date, as spreadsheets make of ids")
}

/// `8.84213E+15`, `1,23E+10`, `1E+15`. Without a fraction and a sign it may well be an id: `12E5`.
fn is_scientific(cell: &str) -> bool {
    let Some((mantissa, exponent)) = cell.split_once(['e', 'E']) else {
        return false;
    };
    let mantissa = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let power = exponent.strip_prefix(['-', '+']);
    let is_number = match mantissa.split_once(['.', ',']) {
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => is_digits(mantissa) && power.is_some(),
    };
    is_number && is_digits(power.unwrap_or(exponent))
}

/// `1-Mar`, `Mar-26`, `3/1/2026`, `2026-03-01 00:00:00`.
fn is_date(cell: &str) -> bool {
    let day = cell
        .strip_suffix(" 00:00:00")
        .or(cell.strip_suffix(" 00:00"));
    if day.is_some() {
        return true;
    }
    let is_month = |word: &str| MONTHS.contains(&&*word.to_ascii_lowercase());
    let is_short = |word: &str| is_digits(word) && word.len() <= 4;
    if let [a, b] = cell.split('-').collect::<Vec<_>>()[..] {
        return is_month(a) && is_short(b) || is_short(a) && is_month(b);
    }
    let parts: Vec<_> = cell.split('/').collect();
    parts.len() == 3 && parts.into_iter().all(is_short)
}

pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
