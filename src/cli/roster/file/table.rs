//! From the text of a file to its rows: which character separates the cells, and on which line each row begins.

/// What separates cells; of two that fit equally well, the first does.
const DELIMITERS: [u8; 4] = *b",;\t|";

/// Put behind the last line: it is a row by itself, unless a quote is open there.
const END: &str = "\n\u{3}";

/// The rows with something in them.
pub(super) struct Table {
    pub(super) head: csv::StringRecord,
    pub(super) rows: Vec<(u64, csv::StringRecord)>,
}

/// Splits a text into cells. Which delimiter it has is told by the heads that it makes of the first row.
///
/// # Errors
/// When a quote is never closed: then nobody knows where the rows end.
pub(super) fn split(text: &str, is_head: impl Fn(&str) -> bool) -> Result<Table, String> {
    let (named, skipped) = named_delimiter(text);
    let mut body = text[skipped..].to_owned();
    body.push_str(END);
    let heads = |delimiter: u8| {
        let mut reader = reader(&body, delimiter);
        let first = reader.records().flatten().find(|record| !is_blank(record));
        first.map_or(0, |head| head.iter().filter(|cell| is_head(cell)).count())
    };
    let candidates = named.into_iter().chain(DELIMITERS).rev();
    let delimiter = candidates
        .max_by_key(|delimiter| heads(*delimiter))
        .unwrap_or(b',');

    let mut lines = Lines::after(text, skipped);
    let mut rows = Vec::new();
    for record in reader(&body, delimiter).into_records() {
        let record = record.map_err(|why| why.to_string())?;
        if !is_blank(&record) {
            let start = record.position().map_or(0, csv::Position::byte);
            rows.push((lines.of(start), record));
        }
    }
    let end = rows.pop();
    if let Some((line, _)) = end.filter(|(_, record)| record.iter().ne([END.trim_start()])) {
        return Err(format!(
            "line {line}: a quote (\") is opened there and never closed, so that all that follows is one cell"
        ));
    }
    let mut rows = rows.into_iter();
    let head = rows.next().map(|(_, head)| head).unwrap_or_default();
    Ok(Table {
        head,
        rows: rows.collect(),
    })
}

fn reader(body: &str, delimiter: u8) -> csv::Reader<&[u8]> {
    csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .has_headers(false)
        .trim(csv::Trim::All)
        .from_reader(body.as_bytes())
}

pub(super) fn is_blank(record: &csv::StringRecord) -> bool {
    record.iter().all(str::is_empty)
}

/// The delimiter that a first line like `sep=;` names, for Excel alone, and where the text goes on. A program that did not
/// understand the line has written it as a cell: in quotes, or with delimiters behind it.
fn named_delimiter(text: &str) -> (Option<u8>, usize) {
    let first = text.split(['\r', '\n']).next().unwrap_or_default();
    let plain = first.trim_start_matches('"');
    let is_named = plain
        .get(..4)
        .is_some_and(|sep| sep.eq_ignore_ascii_case("sep="));
    if !is_named {
        return (None, 0);
    }
    let named = plain.as_bytes().get(4).copied();
    (named.filter(|byte| DELIMITERS.contains(byte)), first.len())
}

/// Tells the line that a row begins on, where lines end with CR, with LF, or with both. The parser's own count knows LF.
struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
    line: u64,
}

impl<'b> Lines<'b> {
    fn after(text: &'b str, skipped: usize) -> Self {
        Self {
            bytes: &text.as_bytes()[skipped..],
            at: 0,
            line: 1,
        }
    }

    /// Rows are asked for in their order.
    fn of(&mut self, start: u64) -> u64 {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        while let Some(byte) = self.bytes.get(self.at) {
            let is_break = matches!(byte, b'\r' | b'\n');
            if self.at >= start && !is_break {
                break;
            }
            let is_half = *byte == b'\r' && self.bytes.get(self.at + 1) == Some(&b'\n');
            self.line += u64::from(is_break && !is_half);
            self.at += 1;
        }
        self.line
    }
}
