//! A CSV file of reps: which column is what, and whether a row could be registered at all. It asks nobody, and is as
//! strict as the contract, so that what cannot work is known before anything is sent.

use std::collections::HashMap;

use crate::athos::types::{AgencyRef, NewAgent};
use crate::model::{AGENCY_PREFIX, PlatformId};

const MAX_NAME_CHARS: usize = 100;
const NPN_DIGITS: std::ops::RangeInclusive<usize> = 4..=10;

/// The columns there may be, and the heads they go by. Case, spaces and punctuation of a head do not matter.
const COLUMNS: [(&str, &[&str]); 8] = [
    ("firstName", &["firstname", "first", "givenname"]),
    ("lastName", &["lastname", "last", "surname", "familyname"]),
    ("email", &["email", "mail", "emailaddress"]),
    ("npn", &["npn", "nationalproducernumber"]),
    (
        "platformAgentId",
        &["platformagentid", "externaluserid", "repid", "rep"],
    ),
    ("agencyId", &["agencyid", "athosagencyid"]),
    (
        "platformAgencyId",
        &["platformagencyid", "externalagencyid"],
    ),
    ("agencyName", &["agencyname"]),
];
const FIRST_NAME: usize = 0;
const LAST_NAME: usize = 1;
const EMAIL: usize = 2;
const NPN: usize = 3;
const REP: usize = 4;
const AGENCY: usize = 5;
const OUR_AGENCY: usize = 6;
const AGENCY_NAME: usize = 7;

/// What was read.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) rows: Vec<Row>,
    /// Heads that mean nothing here.
    pub(super) ignored: Vec<String>,
}

/// A line with something on it.
#[derive(Debug)]
pub(super) struct Row {
    /// Its number in the file, from 1; the head has one, too.
    pub(super) line: u64,
    /// The rep, or why it can be none.
    pub(super) rep: Result<Wanted, String>,
}

/// A rep who could be registered.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) new: NewAgent,
    /// With it, the agency is created, or renamed, first.
    pub(super) agency_name: Option<String>,
}

/// Names and addresses of people do not belong in a log.
impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wanted")
            .field("rep", &self.new.rep)
            .field("agency", &self.new.agency)
            .finish_non_exhaustive()
    }
}

/// Reads a whole file.
///
/// # Errors
/// When it is no such table, in words.
pub(super) fn read(bytes: &[u8]) -> Result<Sheet, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("it is UTF-16: save it as CSV in UTF-8".to_owned());
    }
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter(bytes))
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(bytes);
    let head = reader.headers().map_err(|why| why.to_string())?.clone();
    let (columns, ignored) = columns(&head)?;
    let mut seen = Seen::default();
    let mut lines = Lines {
        bytes,
        at: 0,
        line: 1,
    };
    let mut rows = Vec::new();
    let mut record = csv::ByteRecord::new();
    while reader
        .read_byte_record(&mut record)
        .map_err(|why| why.to_string())?
    {
        if record.iter().all(<[u8]>::is_empty) {
            continue;
        }
        let line = lines.of(record.position().map_or(0, csv::Position::byte));
        let rep = match record.len() == head.len() {
            true => parse(&record, &columns).and_then(|wanted| seen.check(wanted, line)),
            false => Err(format!(
                "it has {} fields, and the head has {}",
                record.len(),
                head.len()
            )),
        };
        rows.push(Row { line, rep });
    }
    Ok(Sheet { rows, ignored })
}

/// Tells the line that a record begins on. The parser's own count lags where lines end with CR and LF.
struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// Records are asked for in their order.
    fn of(&mut self, start: u64) -> u64 {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        while let Some(byte) = self.bytes.get(self.at) {
            let is_break = matches!(byte, b'\r' | b'\n');
            if self.at >= start && !is_break {
                break;
            }
            self.line += u64::from(*byte == b'\n');
            self.at += 1;
        }
        self.line
    }
}

/// Spreadsheets of some countries write semicolons.
fn delimiter(bytes: &[u8]) -> u8 {
    let head = bytes.split(|byte| *byte == b'\n').next().unwrap_or(bytes);
    let count = |delimiter: u8| head.iter().filter(|byte| **byte == delimiter).count();
    let likeliest = [b'\t', b';', b','].into_iter();
    likeliest
        .max_by_key(|delimiter| count(*delimiter))
        .unwrap_or(b',')
}

/// Where each column is, and the heads that are none.
type Columns = [Option<usize>; COLUMNS.len()];

fn columns(head: &csv::StringRecord) -> Result<(Columns, Vec<String>), String> {
    let (mut columns, mut ignored): (Columns, _) = (Default::default(), Vec::new());
    for (place, name) in head.iter().enumerate() {
        let plain: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
        let plain = plain.to_lowercase();
        let known = COLUMNS
            .iter()
            .position(|(_, heads)| heads.contains(&&*plain));
        match known {
            Some(column) if columns[column].replace(place).is_some() => {
                return Err(format!("two columns are {}", COLUMNS[column].0));
            }
            Some(_) => {}
            None => ignored.push(name.to_owned()),
        }
    }
    let has = |column: usize| columns[column].is_some();
    let missing = [
        (has(FIRST_NAME), "firstName"),
        (has(LAST_NAME), "lastName"),
        (
            has(EMAIL) || has(NPN) || has(REP),
            "platformAgentId, npn or email",
        ),
        (
            has(AGENCY) || has(OUR_AGENCY),
            "platformAgencyId or agencyId",
        ),
    ];
    let missing: Vec<_> = missing.iter().filter(|(has, _)| !has).collect();
    if missing.is_empty() {
        return Ok((columns, ignored));
    }
    let missing: Vec<_> = missing.iter().map(|(_, name)| *name).collect();
    let known: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
    Err(format!(
        "its first line has no column {}; the columns, with commas between them, are {}",
        missing.join(", and none "),
        known.join(", ")
    ))
}

fn parse(record: &csv::ByteRecord, columns: &Columns) -> Result<Wanted, String> {
    let mut cells: [Option<&str>; COLUMNS.len()] = Default::default();
    for (cell, place) in cells.iter_mut().zip(columns) {
        let bytes = place.and_then(|place| record.get(place)).unwrap_or(b"");
        let text = std::str::from_utf8(bytes)
            .map_err(|_| "it is not UTF-8: save the file as CSV in UTF-8".to_owned())?;
        *cell = Some(text.trim()).filter(|text| !text.is_empty());
    }
    let agency = match (cells[AGENCY], cells[OUR_AGENCY]) {
        (Some(id), None) if id.starts_with(AGENCY_PREFIX) => AgencyRef::Athos(id.to_owned()),
        (Some(_), None) => {
            return Err(format!(
                "agencyId must begin with {AGENCY_PREFIX}; an id of yours belongs in platformAgencyId"
            ));
        }
        (None, Some(_)) => AgencyRef::Ours(required(own_id(&cells, OUR_AGENCY)?, OUR_AGENCY)?),
        _ => return Err("exactly one of agencyId and platformAgencyId is needed".to_owned()),
    };
    let new = NewAgent {
        first_name: required(name(&cells, FIRST_NAME)?, FIRST_NAME)?,
        last_name: required(name(&cells, LAST_NAME)?, LAST_NAME)?,
        email: cells[EMAIL].map(email).transpose()?,
        npn: cells[NPN].map(npn).transpose()?,
        rep: own_id(&cells, REP)?,
        agency,
    };
    if new.email.is_none() && new.npn.is_none() && new.rep.is_none() {
        return Err("at least one of platformAgentId, npn and email is needed".to_owned());
    }
    let agency_name = name(&cells, AGENCY_NAME)?;
    // An agency by Athos's id is there already, under a name of Athos's.
    let is_ours = matches!(new.agency, AgencyRef::Ours(_));
    Ok(Wanted {
        new,
        agency_name: agency_name.filter(|_| is_ours),
    })
}

fn required<T>(value: Option<T>, column: usize) -> Result<T, String> {
    value.ok_or_else(|| format!("{} is empty", COLUMNS[column].0))
}

fn own_id(cells: &[Option<&str>], column: usize) -> Result<Option<PlatformId>, String> {
    let id = cells[column].map(PlatformId::new).transpose();
    id.map_err(|why| format!("{} {why}", COLUMNS[column].0))
}

fn name(cells: &[Option<&str>], column: usize) -> Result<Option<String>, String> {
    let name = cells[column];
    if name.is_some_and(|name| name.chars().nth(MAX_NAME_CHARS).is_some()) {
        let column = COLUMNS[column].0;
        return Err(format!("{column} is over {MAX_NAME_CHARS} characters long"));
    }
    Ok(name.map(str::to_owned))
}

fn npn(text: &str) -> Result<String, String> {
    let is_npn = NPN_DIGITS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    match is_npn {
        true => Ok(text.to_owned()),
        false => Err("npn must be 4 to 10 digits".to_owned()),
    }
}

fn email(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once('@');
    match parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty()) {
        true => Ok(text.to_owned()),
        false => Err("email is not an e-mail address".to_owned()),
    }
}

/// What earlier lines have said. Two lines that mean one rep, or name one agency in two ways, are a mistake in the file.
#[derive(Default)]
struct Seen {
    handles: HashMap<(&'static str, String), u64>,
    agencies: HashMap<String, (String, u64)>,
}

impl Seen {
    fn check(&mut self, wanted: Wanted, line: u64) -> Result<Wanted, String> {
        let new = &wanted.new;
        let handles = [
            ("platformAgentId", new.rep.as_ref().map(ToString::to_string)),
            ("npn", new.npn.clone()),
            (
                "email",
                new.email.as_ref().map(|email| email.to_lowercase()),
            ),
        ];
        let handles = handles
            .into_iter()
            .filter_map(|(kind, handle)| Some((kind, handle?)));
        let handles: Vec<_> = handles.collect();
        for handle in &handles {
            if let Some(earlier) = self.handles.get(handle) {
                return Err(format!("it has the {} of line {earlier}", handle.0));
            }
        }
        if let (AgencyRef::Ours(id), Some(name)) = (&new.agency, &wanted.agency_name) {
            let first = self.agencies.entry(id.to_string());
            let (first, earlier) = first.or_insert_with(|| (name.clone(), line));
            if first != name {
                return Err(format!(
                    "its agency has another agencyName on line {earlier}"
                ));
            }
        }
        self.handles
            .extend(handles.into_iter().map(|handle| (handle, line)));
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "firstName,lastName,email,npn,platformAgentId,agencyId,platformAgencyId,agencyName\n";

    fn rows(text: &str) -> Vec<Row> {
        read(text.as_bytes()).unwrap().rows
    }

    #[track_caller]
    fn why(row: &str) -> String {
        let rows = rows(&format!("{HEAD}{row}\n"));
        rows[0].rep.as_ref().unwrap_err().clone()
    }

    #[test]
    fn heads_are_told_by_their_letters_alone_and_files_of_spreadsheets_are_read() {
        for text in [
            "First Name,LAST_NAME,Platform-Agent-ID,platformAgencyId,Hobby\n Dana , Reyes ,rep_1,acme,chess\n",
            "\u{feff}first;last;rep;external agency id;Hobby\r\nDana;Reyes;rep_1;acme;\"a;b\"\r\n",
            "Given name\tSurname\texternalUserId\tplatform agency id\tHobby\nDana\tReyes\trep_1\tacme\t\n\n,\n",
        ] {
            let sheet = read(text.as_bytes()).unwrap();
            assert_eq!(sheet.ignored, ["Hobby"], "{text}");
            let wanted = sheet.rows[0].rep.as_ref().unwrap();
            assert_eq!(wanted.new.first_name, "Dana");
            assert_eq!(wanted.new.last_name, "Reyes");
            assert_eq!(wanted.new.rep.as_ref().unwrap().as_str(), "rep_1");
            let acme = PlatformId::new("acme").unwrap();
            assert_eq!(wanted.new.agency, AgencyRef::Ours(acme));
            assert_eq!(sheet.rows[0].line, 2);
        }
    }

    #[test]
    fn a_file_without_the_columns_it_takes_is_refused_by_their_names() {
        for (text, named) in [
            ("", "firstName"),
            ("a,b\n", "platformAgencyId or agencyId"),
            ("firstName,lastName,platformAgencyId\n", "npn or email"),
            ("firstName,lastName,npn\n", "platformAgencyId or agencyId"),
            (
                "firstName,First Name,lastName,npn,agencyId\n",
                "two columns",
            ),
        ] {
            let refused = read(text.as_bytes()).unwrap_err();
            assert!(refused.contains(named), "{text:?}: {refused}");
        }
        assert!(read(b"\xff\xfef\0i\0").unwrap_err().contains("UTF-16"));
    }

    #[test]
    fn a_row_that_cannot_be_registered_says_why() {
        for (row, named) in [
            (",Reyes,,1234,,,acme,", "firstName is empty"),
            ("Dana, ,,1234,,,acme,", "lastName is empty"),
            ("Dana,Reyes,,,,,acme,", "at least one of"),
            ("Dana,Reyes,,123,,,acme,", "npn"),
            ("Dana,Reyes,,12345678901,,,acme,", "npn"),
            ("Dana,Reyes,,12a4,,,acme,", "npn"),
            ("Dana,Reyes,dana,,,,acme,", "email"),
            (
                "Dana,Reyes,,,athos_agent_1,,acme,",
                "platformAgentId must not",
            ),
            (
                "Dana,Reyes,,1234,,,athos_agency_1,",
                "platformAgencyId must not",
            ),
            ("Dana,Reyes,,1234,,acme,,", "platformAgencyId"),
            ("Dana,Reyes,,1234,,,,", "exactly one"),
            ("Dana,Reyes,,1234,,athos_agency_1,acme,", "exactly one"),
            ("Dana,Reyes,,1234", "4 fields"),
        ] {
            let why = why(row);
            assert!(why.contains(named), "{row}: {why}");
        }
        let long = "x".repeat(101);
        assert!(why(&format!("{long},Reyes,,1234,,,acme,")).contains("firstName"));
        let bad = [
            HEAD.as_bytes(),
            b"D\xe4na,Reyes,,1234,,,acme,\nDana,Reyes,,1234,,,acme,\n",
        ];
        let rows = read(&bad.concat()).unwrap().rows;
        assert!(rows[0].rep.as_ref().unwrap_err().contains("UTF-8"));
        assert!(rows[1].rep.is_ok());
    }

    #[test]
    fn two_lines_may_not_mean_one_rep_nor_name_one_agency_in_two_ways() {
        let text = format!(
            "{HEAD}Dana,Reyes,d@e.f,,rep_1,,acme,Acme\n\
             Sam,Okafor,D@E.f,,rep_2,,acme,Acme\n\
             Sam,Okafor,,,rep_1,,acme,Acme\n\
             Sam,Okafor,,,rep_3,,acme,Acme West\n\
             Sam,Okafor,,,rep_4,,acme,\n"
        );
        let rows = rows(&text);
        let why: Vec<_> = rows.iter().map(|row| row.rep.as_ref().err()).collect();
        assert!(why[1].unwrap().contains("email of line 2"));
        assert!(why[2].unwrap().contains("platformAgentId of line 2"));
        assert!(why[3].unwrap().contains("agencyName on line 2"));
        assert_eq!((why[0], why[4]), (None, None));
        assert!(!format!("{rows:?}").contains("Reyes"));
    }
}
