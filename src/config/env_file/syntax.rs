//! The syntax of `.env`: `NAME=value` lines. Values are taken literally. What shells or Compose would read differently is a
//! fault that says how to write it. A fault never shows a value or a part of one.

use secrecy::SecretString;

/// A variable, and the line it begins on.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) value: SecretString,
}

/// A line that cannot be read, or that readers understand differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    /// The variable, when the line has one.
    pub(super) name: Option<String>,
    pub(super) why: &'static str,
}

const BLANK: [char; 2] = [' ', '\t'];

const NOT_UTF_8: &str = "is not UTF-8: save the file in that encoding";
const UTF_16: &str = "is UTF-16: save the file as UTF-8";
const NUL: &str = "has a NUL byte: save the file as UTF-8 text";
const NO_ASSIGNMENT: &str = "is not NAME=value, a comment (#), or empty";
const NO_NAME: &str = "has no name before the =: names have letters, digits and _ only";
const DOLLAR: &str = "has a $ in its value, which shells and Compose replace and this service does not: put the \
                      value in 'single quotes'";
const BACKSLASH: &str =
    "has a backslash in its value, which shells leave out: put the value in 'single quotes'";
const QUOTE: &str = "has a quote inside its value: put the whole value in 'single quotes', or in \"double quotes\" with \\\" for a quote";
const SPACE: &str = "has a space in its value: put the value in 'single quotes'";
const CONTROL: &str = "has a control character in its value";
const HASH: &str =
    "has a value that begins with #: put it in 'single quotes', or a space before a comment";
const UNCLOSED: &str = "has a quote that is not closed";
const AFTER_QUOTE: &str =
    "has something after the closing quote: only a comment, after a space, may follow";
const ESCAPE: &str = "has a backslash in double quotes before a character that needs none: \\\\ is a backslash; in 'single \
                      quotes' it stands for itself";

/// The entries of a file, and its faults, both in the order of lines.
pub(super) fn parse(bytes: &[u8]) -> (Vec<Entry>, Vec<Fault>) {
    let whole = |at: usize, why| {
        let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
        let fault = Fault {
            line,
            name: None,
            why,
        };
        (Vec::new(), vec![fault])
    };
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return whole(0, UTF_16);
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return whole(at, NUL);
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return whole(error.valid_up_to(), NOT_UTF_8),
    };
    let (mut entries, mut faults) = (Vec::new(), Vec::new());
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let end_of_line = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let taken = match statement(rest) {
            Ok(None) => end_of_line,
            Ok(Some((name, value, taken))) => {
                entries.push(Entry {
                    line,
                    name: name.to_owned(),
                    value: value.into(),
                });
                taken
            }
            Err((name, why)) => {
                let name = name.map(str::to_owned);
                faults.push(Fault { line, name, why });
                end_of_line
            }
        };
        line += rest[..taken].matches('\n').count();
        rest = &rest[taken..];
    }
    (entries, faults)
}

type Why = &'static str;

/// What is wrong with an assignment, and of which name, if it has one.
type FaultOf<'a> = (Option<&'a str>, Why);

/// The assignment that `text` begins with, if its first line is one, and how much of the text it takes.
fn statement(text: &str) -> Result<Option<(&str, String, usize)>, FaultOf<'_>> {
    let line = first_line(text);
    let trimmed = line.trim_matches(BLANK);
    if trimmed.is_empty() || trimmed.starts_with('#') {
        return Ok(None);
    }
    let Some(at) = line.find('=') else {
        return Err((None, NO_ASSIGNMENT));
    };
    let name = line[..at].trim_matches(BLANK);
    let name = match name.strip_prefix("export") {
        Some(exported) if exported.starts_with(BLANK) => exported.trim_start_matches(BLANK),
        _ => name,
    };
    if !is_name(name) {
        return Err((None, NO_NAME));
    }
    let after = &text[at + 1..];
    let raw = after.trim_start_matches(BLANK);
    let before = text.len() - raw.len();
    let read = match raw.chars().next() {
        Some('\'') => quoted(raw, literal),
        Some('"') => quoted(raw, escaped),
        _ => unquoted(first_line(raw), raw.len() < after.len())
            .map(|value| (value, first_line(raw).len())),
    };
    let (value, taken) = read.map_err(|why| (Some(name), why))?;
    // The end of the line, with what of it is a comment.
    let taken = before + taken;
    let taken = taken
        + text[taken..]
            .find('\n')
            .map_or(text.len() - taken, |at| at + 1);
    Ok(Some((name, value, taken)))
}

fn first_line(text: &str) -> &str {
    let line = text.split('\n').next().unwrap_or_default();
    line.strip_suffix('\r').unwrap_or(line)
}

fn is_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
}

/// A value without quotes: to the end of the line, or to a comment.
fn unquoted(line: &str, after_blank: bool) -> Result<String, Why> {
    if line.starts_with('#') {
        return if after_blank {
            Ok(String::new())
        } else {
            Err(HASH)
        };
    }
    let comment = line
        .match_indices('#')
        .find(|(at, _)| line[..*at].ends_with(BLANK));
    let value = comment.map_or(line, |(at, _)| &line[..at]);
    let value = value.trim_end_matches(BLANK);
    let mut last = None;
    for c in value.chars() {
        match c {
            '$' => return Err(DOLLAR),
            '\\' => return Err(BACKSLASH),
            '\'' | '"' => return Err(QUOTE),
            // Lists are written so: `a, b`.
            ' ' if matches!(last, Some(',' | ' ')) => continue,
            c if c.is_whitespace() => return Err(SPACE),
            c if c.is_control() => return Err(CONTROL),
            _ => {}
        }
        last = Some(c);
    }
    Ok(value.to_owned())
}

/// A value in quotes, which may span lines, and how much of the text it takes. `inside` reads it up to the closing quote.
fn quoted(
    text: &str,
    inside: fn(&str) -> Result<(String, usize), Why>,
) -> Result<(String, usize), Why> {
    let (value, taken) = inside(&text[1..])?;
    // A quote that is closed by another variable's has swallowed that variable.
    if value.lines().skip(1).any(looks_like_a_variable) {
        return Err(UNCLOSED);
    }
    let after = first_line(&text[1 + taken..]);
    let bare = after.trim_start_matches(BLANK);
    if bare.is_empty() || (bare.starts_with('#') && bare.len() < after.len()) {
        Ok((value.replace("\r\n", "\n"), 1 + taken))
    } else {
        Err(AFTER_QUOTE)
    }
}

fn looks_like_a_variable(line: &str) -> bool {
    let name = line
        .split_once('=')
        .map(|(name, _)| name.trim_matches(BLANK));
    // What is in PEM may end with =, and has no underscore.
    name.is_some_and(|name| {
        let name = name.strip_prefix("export ").unwrap_or(name);
        is_name(name) && name.contains('_')
    })
}

/// What is in single quotes stands for itself.
fn literal(text: &str) -> Result<(String, usize), Why> {
    let end = text.find('\'').ok_or(UNCLOSED)?;
    Ok((text[..end].to_owned(), end + 1))
}

/// What is in double quotes has escapes.
fn escaped(text: &str) -> Result<(String, usize), Why> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, at + 1)),
            '$' => return Err(DOLLAR),
            '\\' => match chars.next() {
                Some((_, c @ ('\\' | '"' | '$' | '\''))) => value.push(c),
                Some((_, 'n')) => value.push('\n'),
                Some(_) => return Err(ESCAPE),
                None => return Err(UNCLOSED),
            },
            _ => value.push(c),
        }
    }
    Err(UNCLOSED)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn read(text: &str) -> Vec<(usize, String, String)> {
        let (entries, faults) = parse(text.as_bytes());
        assert_eq!(faults, [], "{text:?}");
        let entry = |entry: Entry| {
            (
                entry.line,
                entry.name,
                entry.value.expose_secret().to_owned(),
            )
        };
        entries.into_iter().map(entry).collect()
    }

    fn value(line: &str) -> String {
        let [(_, _, value)] = &read(line)[..] else {
            panic!("{line:?}");
        };
        value.clone()
    }

    #[test]
    fn a_value_is_taken_as_it_stands() {
        for (line, expected) in [
            ("A=b", "b"),
            ("A = b \t", "b"),
            ("export A=b", "b"),
            ("  export\tA=b\r\n", "b"),
            ("A=b=c==", "b=c=="),
            ("A=b#c", "b#c"),
            ("A=b #c", "b"),
            ("A= # none", ""),
            ("A=", ""),
            ("A=\"\"", ""),
            ("A='b c' # d", "b c"),
            ("A='$b\\n\"c#d'", "$b\\n\"c#d"),
            ("A='ends with \\'", "ends with \\"),
            ("A=\"b\\n\\\"c\\\" \\$d \\\\ it's\"", "b\n\"c\" $d \\ it's"),
            ("A=b, c,  d", "b, c,  d"),
            ("A=`b`", "`b`"),
            ("A=\u{fc}\u{20ac}", "\u{fc}\u{20ac}"),
            ("A='one\r\ntwo\n'\r\n", "one\ntwo\n"),
            ("\u{feff}A=b", "b"),
            (
                "A=http://[::1]:8080/%20?a&b;c|d~!*()<>{}",
                "http://[::1]:8080/%20?a&b;c|d~!*()<>{}",
            ),
        ] {
            assert_eq!(value(line), expected, "{line:?}");
        }
    }

    #[test]
    fn lines_are_counted_whatever_ends_them_and_however_long_a_value_is() {
        let text = "# one\r\n\nA=1\r\nB='x\ny\nz'  # six\nC=2";
        let lines: Vec<_> = read(text)
            .into_iter()
            .map(|(line, name, _)| (line, name))
            .collect();
        assert_eq!(
            lines,
            [
                (3, "A".to_owned()),
                (4, "B".to_owned()),
                (7, "C".to_owned())
            ]
        );
        let pem = "KEY='-----BEGIN PUBLIC KEY-----\nMCow=\nXQ==\n-----END PUBLIC KEY-----'\n";
        assert!(value(pem).ends_with("XQ==\n-----END PUBLIC KEY-----"));
    }

    #[test]
    fn what_has_two_meanings_is_a_fault_with_its_line_and_name() {
        for (line, why) in [
            ("A_B=x$y", DOLLAR),
            ("A_B=\"x${y}\"", DOLLAR),
            ("A_B=x\\y", BACKSLASH),
            ("A_B=it's", QUOTE),
            ("A_B=x\"y\"", QUOTE),
            ("A_B=x y", SPACE),
            ("A_B=x\u{a0}", SPACE),
            ("A_B=x\ry", SPACE),
            ("A_B=x\u{1}", CONTROL),
            ("A_B=#x", HASH),
            ("A_B='x", UNCLOSED),
            ("A_B=\"x\\\"", UNCLOSED),
            ("A_B='x\nC_D='", UNCLOSED),
            ("A_B='x'y", AFTER_QUOTE),
            ("A_B=\"x\"#y", AFTER_QUOTE),
            ("A_B=\"x\\ty\"", ESCAPE),
        ] {
            let (_, faults) = parse(format!("\n{line}\nE=f\n").as_bytes());
            let expected = Fault {
                line: 2,
                name: Some("A_B".to_owned()),
                why,
            };
            assert_eq!(faults.first(), Some(&expected), "{line:?}");
        }
        for (line, why) in [
            ("A_B", NO_ASSIGNMENT),
            ("A_B: x", NO_ASSIGNMENT),
            ("export A_B", NO_ASSIGNMENT),
            ("=x", NO_NAME),
            ("A-B=x", NO_NAME),
            ("A B=x", NO_NAME),
            ("1A=x", NO_NAME),
        ] {
            let (entries, faults) = parse(format!("\n{line}\nE=f\n").as_bytes());
            assert_eq!((faults[0].line, faults[0].why), (2, why), "{line:?}");
            assert_eq!(entries.len(), 1, "the next line is read all the same");
        }
        let files: [(&[u8], usize, Why); 4] = [
            (b"A=b\nC=\xff\n", 2, NOT_UTF_8),
            (b"\xff\xfeA\0=\0b\0", 1, UTF_16),
            (b"A=b\n\nC=d\0", 3, NUL),
            (b"A\0=\0b\0", 1, NUL),
        ];
        for (bytes, line, why) in files {
            let (entries, faults) = parse(bytes);
            assert!(entries.is_empty());
            assert_eq!((faults[0].line, faults[0].why), (line, why));
        }
    }
}
