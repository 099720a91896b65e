//! A CSV file of reps: finds its columns, and checks each row as strictly as the contract does, before anything is sent.

mod cell;
mod table;
#[cfg(test)]
mod tests;
mod text;
#[cfg(test)]
mod variants;

use std::collections::HashMap;

use self::cell::{Kind, is_digits};
use crate::model::{AGENCY_PREFIX, PlatformId};
use athos_api::npn_digits;
use athos_api::types::{AgencyRef, NewAgent};

/// Longest first or last name, in characters (docs/athos-contract.md, "Roster").
const MAX_NAME_CHARS: usize = 100;
/// Longest name of an agency, in characters.
const MAX_AGENCY_CHARS: usize = 200;
/// Digits of a number that spreadsheets keep; they write the later ones as zeros.
const EXACT_DIGITS: usize = 15;
/// So many zeros, over all rows together, cannot be chance.
const MIN_CUT_ZEROS: usize = 6;

/// A known column and its headings. Case, spaces and punctuation of a heading are ignored.
struct Column {
    name: &'static str,
    kind: Kind,
    heads: &'static [&'static str],
}

const FIRST_NAME: usize = 0;
const LAST_NAME: usize = 1;
const EMAIL: usize = 2;
const NPN: usize = 3;
const REP: usize = 4;
const AGENCY: usize = 5;
const OUR_AGENCY: usize = 6;
const AGENCY_NAME: usize = 7;
const COLUMNS: [Column; 8] = [
    column(
        "firstName",
        Kind::Name,
        &["firstname", "first", "givenname"],
    ),
    column(
        "lastName",
        Kind::Name,
        &["lastname", "last", "surname", "familyname"],
    ),
    column("email", Kind::Email, &["email", "mail", "emailaddress"]),
    column(
        "npn",
        Kind::Npn,
        &["npn", "npnnumber", "nationalproducernumber"],
    ),
    column(
        "platformAgentId",
        Kind::Id,
        &["platformagentid", "externaluserid", "repid", "rep"],
    ),
    column("agencyId", Kind::Id, &["agencyid", "athosagencyid"]),
    column(
        "platformAgencyId",
        Kind::Id,
        &["platformagencyid", "externalagencyid"],
    ),
    column("agencyName", Kind::AgencyName, &["agencyname"]),
];

const fn column(name: &'static str, kind: Kind, heads: &'static [&'static str]) -> Column {
    Column { name, kind, heads }
}

/// The column that a head names.
fn column_of(head: &str) -> Option<usize> {
    let plain: String = head.chars().filter(|c| c.is_alphanumeric()).collect();
    let plain = plain.to_lowercase();
    COLUMNS
        .iter()
        .position(|column| column.heads.contains(&&*plain))
}

/// The parsed file.
#[derive(Debug)]
pub(super) struct RosterFile {
    pub(super) rows: Vec<Row>,
    /// Unknown headings.
    pub(super) ignored: Vec<String>,
}

/// A line that is not empty.
#[derive(Debug)]
pub(super) struct Row {
    /// Its number in the file; the heading is line 1.
    pub(super) line: u64,
    /// The rep, or why it cannot be registered.
    pub(super) rep: Result<RequestedRep, String>,
}

/// A rep who could be registered.
#[derive(Clone)]
pub(super) struct RequestedRep {
    pub(super) new: NewAgent,
    /// With it, the agency is created, or renamed, first.
    pub(super) agency_name: Option<String>,
}

/// Names and addresses of people do not belong in a log.
impl std::fmt::Debug for RequestedRep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestedRep")
            .field("rep", &self.new.rep)
            .field("agency", &self.new.agency)
            .finish_non_exhaustive()
    }
}

/// Reads a whole file.
///
/// # Errors
/// When it is not such a table; the text says why.
pub(super) fn read(bytes: &[u8]) -> Result<RosterFile, String> {
    let text = text::decode(bytes)?;
    let table = table::split(&text, |head| column_of(head).is_some())?;
    let (columns, ignored) = Columns::of(&table.head)?;
    let mut seen = Seen::default();
    let rows = table.rows.iter().map(|(line, cells)| {
        let rep = columns
            .parse(cells)
            .and_then(|wanted| seen.check(wanted, *line));
        Row { line: *line, rep }
    });
    let mut rows: Vec<_> = rows.collect();
    refuse_cut_numbers(&mut rows);
    Ok(RosterFile { rows, ignored })
}

/// Where each column is in this file.
struct Columns {
    /// The place, and the column's name with the head that it goes by.
    known: [Option<(usize, String)>; COLUMNS.len()],
    /// How many cells have a head.
    count: usize,
}

impl Columns {
    /// Finds the columns, and gives the heads that are none.
    fn of(head: &csv::StringRecord) -> Result<(Self, Vec<String>), String> {
        let mut known: [Option<(usize, String)>; COLUMNS.len()] = Default::default();
        let mut ignored = Vec::new();
        for (place, head) in head.iter().enumerate() {
            let Some(column) = column_of(head) else {
                ignored.extend((!head.is_empty()).then(|| head.to_owned()));
                continue;
            };
            let name = COLUMNS[column].name;
            let label = match head == name {
                true => name.to_owned(),
                false => format!("{name} (\"{}\")", head.escape_debug()),
            };
            if known[column].replace((place, label)).is_some() {
                return Err(format!("two columns are {name}"));
            }
        }
        let has = |column: usize| known[column].is_some();
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
        let missing = missing.iter().filter(|(has, _)| !has);
        let missing: Vec<_> = missing.map(|(_, name)| *name).collect();
        if !missing.is_empty() {
            let all: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
            return Err(format!(
                "its first line has no column {}; the columns, with commas between them, are {}",
                missing.join(", and none "),
                all.join(", ")
            ));
        }
        let named = (0..head.len()).rfind(|place| !head[*place].is_empty());
        let count = named.map_or(0, |last| last + 1);
        Ok((Self { known, count }, ignored))
    }

    /// The name of a column, for people.
    fn label(&self, column: usize) -> &str {
        let known = self.known[column].as_ref();
        known.map_or(COLUMNS[column].name, |(_, label)| label)
    }

    /// Spreadsheets leave out empty cells at the end of a row, and write some too many.
    fn parse(&self, record: &csv::StringRecord) -> Result<RequestedRep, String> {
        if record.iter().skip(self.count).any(|cell| !cell.is_empty()) {
            return Err(format!(
                "it has {} fields, and the head has {}: a value with a comma in it must be in quotes",
                record.len(),
                self.count
            ));
        }
        let mut cells: [Option<String>; COLUMNS.len()] = Default::default();
        for (column, cell) in cells.iter_mut().enumerate() {
            let place = self.known[column].as_ref().map(|(place, _)| *place);
            let text = place
                .and_then(|place| record.get(place))
                .unwrap_or_default();
            if !text.is_empty() {
                let text = cell::read(COLUMNS[column].kind, text);
                let text = text.map_err(|why| format!("{} {why}", self.label(column)))?;
                *cell = Some(text).filter(|text| !text.is_empty());
            }
        }
        self.rep_of(&cells)
    }

    fn rep_of(&self, cells: &[Option<String>; COLUMNS.len()]) -> Result<RequestedRep, String> {
        let agency = match (cells[AGENCY].as_deref(), cells[OUR_AGENCY].as_deref()) {
            (Some(id), None) if id.starts_with(AGENCY_PREFIX) => AgencyRef::Athos(id.to_owned()),
            (Some(_), None) => {
                return Err(format!(
                    "{} must begin with {AGENCY_PREFIX}; an id of yours belongs in platformAgencyId",
                    self.label(AGENCY)
                ));
            }
            (None, Some(id)) => AgencyRef::Ours(self.own_id(id, OUR_AGENCY)?),
            _ => return Err("exactly one of agencyId and platformAgencyId is needed".to_owned()),
        };
        let refuse = |column: usize, what: &str| format!("{} {what}", self.label(column));
        let name = |column: usize, max_chars: usize| match &cells[column] {
            Some(name) if name.chars().nth(max_chars).is_some() => Err(refuse(
                column,
                &format!("is over {max_chars} characters long"),
            )),
            name => Ok(name.clone()),
        };
        let required =
            |column: usize| name(column, MAX_NAME_CHARS)?.ok_or_else(|| refuse(column, "is empty"));
        let npn =
            |npn: &String| npn_digits(npn).ok_or_else(|| refuse(NPN, "must be 4 to 10 digits"));
        let email = |email: &String| match email.rsplit_once('@') {
            Some((name, host)) if !name.is_empty() && !host.is_empty() => Ok(email.to_lowercase()),
            _ => Err(refuse(EMAIL, "is not an e-mail address")),
        };
        let new = NewAgent {
            first_name: required(FIRST_NAME)?,
            last_name: required(LAST_NAME)?,
            email: cells[EMAIL].as_ref().map(email).transpose()?,
            npn: cells[NPN].as_ref().map(npn).transpose()?,
            rep: cells[REP]
                .as_ref()
                .map(|id| self.own_id(id, REP))
                .transpose()?,
            agency,
        };
        if new.email.is_none() && new.npn.is_none() && new.rep.is_none() {
            return Err("at least one of platformAgentId, npn and email is needed".to_owned());
        }
        let agency_name = name(AGENCY_NAME, MAX_AGENCY_CHARS)?;
        // An agency by Athos's id is there already, under a name of Athos's.
        let is_ours = matches!(new.agency, AgencyRef::Ours(_));
        Ok(RequestedRep {
            new,
            agency_name: agency_name.filter(|_| is_ours),
        })
    }

    fn own_id(&self, id: &str, column: usize) -> Result<PlatformId, String> {
        PlatformId::new(id).map_err(|why| format!("{} {why}", self.label(column)))
    }
}

/// Refuses long numbers as ids when all of them end in zeros where a spreadsheet stops counting: the digits are lost, and
/// several reps may have become one.
fn refuse_cut_numbers(rows: &mut [Row]) {
    fn tail(row: &Row) -> Option<&str> {
        let id = row.rep.as_ref().ok()?.new.rep.as_ref()?.as_str();
        is_digits(id).then(|| id.get(EXACT_DIGITS..)).flatten()
    }
    let tails = || rows.iter().filter_map(tail);
    let zeros: usize = tails().map(str::len).sum();
    if zeros < MIN_CUT_ZEROS || !tails().all(|tail| tail.bytes().all(|digit| digit == b'0')) {
        return;
    }
    for row in rows {
        if tail(row).is_some_and(|tail| !tail.is_empty()) {
            row.rep = Err(format!(
                "platformAgentId has zeros behind its {EXACT_DIGITS}th digit, as all long ones of this file: a spreadsheet \
                 has cut it. Format the column as text where the file is made"
            ));
        }
    }
}

/// What earlier lines have said. Two lines that mean one rep, or name one agency in two ways, are a mistake in the file.
#[derive(Default)]
struct Seen {
    handles: HashMap<(&'static str, String), u64>,
    agencies: HashMap<String, (String, u64)>,
}

impl Seen {
    fn check(&mut self, wanted: RequestedRep, line: u64) -> Result<RequestedRep, String> {
        let new = &wanted.new;
        let handles = [
            ("platformAgentId", new.rep.as_ref().map(ToString::to_string)),
            ("npn", new.npn.clone()),
            ("email", new.email.clone()),
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
