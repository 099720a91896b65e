//! One call as a line of a file.

use serde::Serialize;

use super::cell::{number_cell, text_cell};
use super::{ExportOptions, FileFormat};
use crate::http::wire;
use crate::model::{CallRow, Timestamp, Turn};

/// The columns, in order. New ones are added at the end, before the transcript.
const COLUMNS: [&str; 12] = [
    "id",
    "status",
    "source",
    "rep",
    "agency",
    "drillKey",
    "startedAt",
    "endedAt",
    "durationSec",
    "scoredAt",
    "overallScore",
    "compliancePercent",
];
const TRANSCRIPT: &str = "transcript";
const BYTE_ORDER_MARK: char = '\u{feff}';
/// RFC 4180, 2.1.
const LINE_END: &str = "\r\n";

#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    row: wire::CallRow,
    /// Left out when it was not asked for; `null` when it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript: Option<Option<Vec<wire::Turn>>>,
}

/// What stands before the first row.
pub(super) fn head(options: ExportOptions) -> String {
    let mut head = String::new();
    if options.bom {
        head.push(BYTE_ORDER_MARK);
    }
    if options.format == FileFormat::Csv {
        head += &COLUMNS.join(",");
        if options.with_transcripts {
            head.push(',');
            head += TRANSCRIPT;
        }
        head += LINE_END;
    }
    head
}

/// Adds a call's line. `transcript`: whether it is asked for, and whether it is known.
pub(super) fn write(
    format: FileFormat,
    row: CallRow,
    transcript: Option<Option<Vec<Turn>>>,
    out: &mut String,
) {
    match format {
        FileFormat::Csv => write_csv(&row, transcript, out),
        FileFormat::Ndjson => {
            let turns = |turns: Vec<Turn>| turns.into_iter().map(wire::Turn::from).collect();
            let line = Line {
                row: row.into(),
                transcript: transcript.map(|known| known.map(turns)),
            };
            // It is made of strings, numbers and lists of them; there is nothing in it that cannot be written.
            *out += &serde_json::to_string(&line).unwrap_or_default();
            out.push('\n');
        }
    }
}

fn write_csv(row: &CallRow, transcript: Option<Option<Vec<Turn>>>, out: &mut String) {
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    text_cell(Some(&row.id), out);
    for text in [Some(row.status.as_str()), Some(&row.source)]
        .into_iter()
        .chain([&row.rep, &row.agency, &row.drill_key].map(|text| text.as_deref()))
    {
        out.push(',');
        text_cell(text, out);
    }
    for at in [row.started_at, row.ended_at] {
        out.push(',');
        text_cell(time(at).as_deref(), out);
    }
    out.push(',');
    number_cell(row.duration_sec, out);
    out.push(',');
    text_cell(time(row.scored_at).as_deref(), out);
    for number in [row.overall_score, row.compliance_percent] {
        out.push(',');
        number_cell(number, out);
    }
    if let Some(turns) = transcript {
        let said = turns.unwrap_or_default();
        let said: Vec<_> = said
            .iter()
            .map(|turn| format!("{}: {}", turn.role.as_str(), turn.content))
            .collect();
        out.push(',');
        text_cell(Some(&said.join("\n")), out);
    }
    *out += LINE_END;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CallStatus, Speaker};

    fn call() -> CallRow {
        CallRow {
            id: "athos_call_1".to_owned(),
            status: CallStatus::Scored,
            source: "roleplay".to_owned(),
            rep: Some("00123".to_owned()),
            agency: Some("Müller, \"Nord\"".to_owned()),
            drill_key: None,
            started_at: None,
            ended_at: Some(Timestamp::from_millis(1_780_682_954_000)),
            duration_sec: Some(612),
            scored_at: None,
            overall_score: Some(61.0),
            compliance_percent: Some(87.5),
        }
    }

    fn turns() -> Vec<Turn> {
        vec![Turn {
            role: Speaker::Rep,
            content: "Hello,\nis it you?".to_owned(),
            start_time: None,
            end_time: None,
        }]
    }

    #[test]
    fn a_line_of_csv_has_a_cell_for_every_column() {
        let options = ExportOptions {
            format: FileFormat::Csv,
            with_transcripts: true,
            bom: true,
        };
        let mut text = head(options);
        write(options.format, call(), Some(Some(turns())), &mut text);
        write(options.format, call(), Some(None), &mut text);
        let line = "athos_call_1,scored,roleplay,'00123,\"Müller, \"\"Nord\"\"\",,,2026-06-05T18:09:14.000Z,612,,61,87.5";
        assert_eq!(
            text,
            format!(
                "\u{feff}{},transcript\r\n{line},\"rep: Hello,\nis it you?\"\r\n{line},\r\n",
                COLUMNS.join(",")
            )
        );
    }

    #[test]
    fn a_line_of_json_has_the_columns_by_name_and_a_transcript_only_when_asked() {
        let line = |transcript| {
            let mut text = String::new();
            write(FileFormat::Ndjson, call(), transcript, &mut text);
            let line = text.strip_suffix('\n').unwrap();
            assert!(!line.contains('\n'));
            serde_json::from_str::<serde_json::Map<_, _>>(line).unwrap()
        };
        let bare = line(None);
        let mut names: Vec<_> = bare.keys().map(String::as_str).collect();
        let mut columns = COLUMNS;
        columns.sort_unstable();
        names.sort_unstable();
        assert_eq!(names, columns);
        assert_eq!(bare["rep"], "00123", "nothing is added to an id");
        assert_eq!(line(Some(None))["transcript"], serde_json::Value::Null);
        assert_eq!(
            line(Some(Some(turns())))["transcript"][0]["content"],
            "Hello,\nis it you?"
        );
    }
}
