//! What an import says: how far it is, what became of each row, and the sum of it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Seek, Write};
use std::path::Path;

use anyhow::Context;

use crate::model::counted;
use crate::process::open_own_file;

/// Rows between two lines of progress where no bar can be drawn.
const ROWS_A_LINE: usize = 100;
const BAR_CELLS: usize = 30;
/// The first row of a report.
const HEAD: [&str; 4] = ["row", "status", "agentId", "reason"];

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Registered now.
    Created,
    /// It would be, were this not a dry run.
    WouldCreate,
    /// It was registered already, as the file has it.
    Existing,
    /// It was registered already, with something else than the file says.
    Mismatch,
    /// It could never be; nobody was asked.
    Invalid,
    /// It was refused, or not tried.
    Failed,
}

impl Status {
    const ALL: [Self; 6] = [
        Self::Created,
        Self::WouldCreate,
        Self::Existing,
        Self::Mismatch,
        Self::Invalid,
        Self::Failed,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::WouldCreate => "would create",
            Self::Existing => "existing",
            Self::Mismatch => "mismatch",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
        }
    }

    fn is_trouble(self) -> bool {
        matches!(self, Self::Mismatch | Self::Invalid | Self::Failed)
    }
}

/// A row's end.
#[derive(Debug)]
pub(super) struct RowOutcome {
    pub(super) line: u64,
    pub(super) status: Status,
    pub(super) agent_id: Option<String>,
    pub(super) reason: Option<String>,
}

/// All outcomes, as they come in.
pub(super) struct ImportReport {
    rows: usize,
    outcomes: Vec<RowOutcome>,
    /// How many of each status, in the order of `Status::ALL`.
    counts: [usize; Status::ALL.len()],
    file: Option<csv::Writer<File>>,
    draws: bool,
}

impl ImportReport {
    /// Begins the report of so many rows. The file is made now: that it cannot be must not be found out at the end.
    pub(super) fn begin(rows: usize, path: Option<&Path>) -> anyhow::Result<Self> {
        let file = path.map(|path| {
            let file = create(path);
            file.with_context(|| format!("cannot write the report {}", path.display()))
        });
        Ok(Self {
            rows,
            outcomes: Vec::with_capacity(rows),
            counts: [0; Status::ALL.len()],
            file: file.transpose()?.map(csv::Writer::from_writer),
            draws: io::stderr().is_terminal(),
        })
    }

    /// Takes a row's end, and shows how far it is.
    pub(super) fn add(&mut self, outcome: RowOutcome) {
        self.counts[outcome.status as usize] += 1;
        self.outcomes.push(outcome);
        let done = self.outcomes.len();
        let is_last = done == self.rows;
        let mut screen = io::stderr().lock();
        // A screen that is gone must not stop the import.
        let _shown = match (self.draws, done.is_multiple_of(ROWS_A_LINE) || is_last) {
            (true, _) => {
                let cells = done * BAR_CELLS / self.rows;
                let bar = format!("{}{}", "#".repeat(cells), "-".repeat(BAR_CELLS - cells));
                let end = if is_last { "\n" } else { "" };
                write!(
                    screen,
                    "\r[{bar}] {done}/{} {}\x1b[K{end}",
                    self.rows,
                    self.sum()
                )
            }
            (false, true) => writeln!(
                screen,
                "{done}/{}: {}",
                counted(self.rows, "row"),
                self.sum()
            ),
            (false, false) => Ok(()),
        };
    }

    fn sum(&self) -> String {
        let counts = Status::ALL.iter().zip(self.counts);
        let words: Vec<_> = counts
            .filter(|(_, count)| *count > 0)
            .map(|(status, count)| format!("{count} {}", status.as_str()))
            .collect();
        words.join(", ")
    }

    /// Writes the file, says on `out` what did not go well, and tells whether all went well.
    pub(super) fn end(mut self, out: &mut impl Write) -> anyhow::Result<bool> {
        self.outcomes.sort_by_key(|outcome| outcome.line);
        if let Some(file) = &mut self.file {
            file.write_record(HEAD)?;
            for outcome in &self.outcomes {
                file.write_record([
                    &*outcome.line.to_string(),
                    outcome.status.as_str(),
                    outcome.agent_id.as_deref().unwrap_or_default(),
                    outcome.reason.as_deref().unwrap_or_default(),
                ])?;
            }
            file.flush().context("cannot write the report")?;
        }
        let troubles = self.outcomes.iter().filter(|one| one.status.is_trouble());
        for outcome in troubles {
            let reason = outcome.reason.as_deref().unwrap_or_default();
            writeln!(
                out,
                "line {}: {}: {reason}",
                outcome.line,
                outcome.status.as_str()
            )?;
        }
        match self.rows {
            0 => writeln!(out, "no rows")?,
            rows => writeln!(out, "{}: {}", counted(rows, "row"), self.sum())?,
        }
        Ok(!self.outcomes.iter().any(|one| one.status.is_trouble()))
    }
}

/// Makes the file, or empties the report that is there. What is there and is no report is left alone: it may be the file
/// that is imported, under whatever name, or anything else that nobody meant.
fn create(path: &Path) -> anyhow::Result<File> {
    let file = open_own_file(path)?;
    let found = file.metadata()?;
    if found.is_file() && found.len() > 0 {
        let longest = HEAD.join(",").len() as u64 + 1;
        let mut first = String::new();
        let read = BufReader::new(&file).take(longest).read_line(&mut first);
        if read.is_err() || first.trim_end() != HEAD.join(",") {
            anyhow::bail!(
                "the file is there and is no report of an import; it would be lost. Name another one"
            );
        }
        file.set_len(0)?;
        (&file).rewind()?;
    }
    Ok(file)
}
