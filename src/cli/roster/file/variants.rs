//! Files and cells as programs write them, and as they break them: tables of variants, and what becomes of each.

use super::*;

const HEAD: &str =
    "firstName,lastName,email,npn,platformAgentId,agencyId,platformAgencyId,agencyName\n";
/// Of a file that is well and as small as can be.
const HEAD_OF_ONE: &str = "firstName,lastName,platformAgentId,platformAgencyId,agencyName";

fn rows(text: &str) -> Vec<Row> {
    read(text.as_bytes()).unwrap().rows
}

/// Dana Reyes, rep_1 of acme, however it is written, on the line that is given.
#[track_caller]
fn reads_dana(what: &str, bytes: &[u8], line: u64) {
    let sheet = read(bytes).unwrap_or_else(|why| panic!("{what}: {why}"));
    let row = &sheet.rows[0];
    let wanted = row.rep.as_ref();
    let wanted = wanted.unwrap_or_else(|why| panic!("{what}: {why}"));
    let new = &wanted.new;
    assert_eq!(
        (&*new.first_name, &*new.last_name),
        ("Dana", "Reyes"),
        "{what}"
    );
    assert_eq!(new.rep, PlatformId::new("rep_1").ok(), "{what}");
    let acme = PlatformId::new("acme").unwrap();
    assert_eq!(new.agency, AgencyRef::Ours(acme), "{what}");
    assert_eq!(row.line, line, "{what}");
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

#[test]
fn what_spreadsheets_write_is_read() {
    let comma = format!("{HEAD_OF_ONE}\nDana,Reyes,rep_1,acme,Acme\n");
    let tabs = comma.replace(',', "\t");
    let semicolons = comma.replace(',', ";");
    let in_quotes = comma.trim_end().replace(',', "\",\"");
    let in_quotes = in_quotes.replace('\n', "\"\n\"");
    for (what, text, line) in [
        ("plain", comma.clone(), 2),
        (
            "Excel: CSV UTF-8",
            format!("\u{feff}{}", comma.replace('\n', "\r\n")),
            2,
        ),
        (
            "saved twice, two marks",
            format!("\u{feff}\u{feff}{comma}"),
            2,
        ),
        (
            "Excel for Macintosh: CR alone",
            comma.replace('\n', "\r"),
            2,
        ),
        ("semicolons", semicolons.clone(), 2),
        ("tabs", tabs.clone(), 2),
        ("bars", comma.replace(',', "|"), 2),
        ("sep=;", format!("sep=;\r\n{semicolons}"), 3),
        (
            "sep=; with a mark",
            format!("\u{feff}sep=;\r\n{semicolons}"),
            3,
        ),
        ("SEP=, in quotes", format!("\"SEP=,\"\n{comma}"), 3),
        ("sep= with a tab", format!("sep=\t\n{tabs}"), 3),
        (
            "sep=; that Sheets took for a cell",
            format!("sep=;,,,,\n{comma}"),
            3,
        ),
        (
            "sep=; and CR alone",
            format!("sep=;\r{}", semicolons.replace('\n', "\r")),
            3,
        ),
        ("no line end at the end", comma.trim_end().to_owned(), 2),
        ("all in quotes", format!("\"{in_quotes}\"\n"), 2),
        ("empty last cell left out", comma.replace(",Acme", ""), 2),
        ("one comma too many", comma.replace(",Acme", ",Acme,"), 2),
        (
            "many commas too many",
            comma.replace(",Acme", ",Acme, ,,\u{a0},"),
            2,
        ),
        (
            "empty heads behind the last",
            comma.replace("Name\n", "Name,,\n"),
            2,
        ),
        (
            "an index without a head in front",
            comma.replace("first", ",first").replace("Dana", "0,Dana"),
            2,
        ),
        (
            "commas in quoted heads between semicolons",
            format!(
                "{};\"Notes, remarks, and, more, commas\"\n{};x\n",
                semicolons.lines().next().unwrap(),
                semicolons.lines().nth(1).unwrap()
            ),
            2,
        ),
        (
            "a line break in a quoted head",
            format!("\"Notes\nand more\",{}", comma.replace("Dana", "x,Dana")),
            3,
        ),
        (
            "empty rows and rows of commas",
            comma.replace("\nDana", "\n\n,,,,\n  \nDana"),
            5,
        ),
        (
            "empty rows with CR and LF",
            comma.replace("\nDana", "\r\n\r\n,,,,\r\nDana"),
            4,
        ),
        (
            "a row of commas above the heads",
            format!(",,,,\n{comma}"),
            3,
        ),
        (
            "blanks that are no spaces around cells",
            comma
                .replace("rep_1", "\u{a0}rep_1\u{202f}")
                .replace("Dana", "\u{2003}Dana "),
            2,
        ),
        (
            "blanks that are no spaces in heads",
            comma.replace("firstName", "First\u{a0}Name\u{200b}"),
            2,
        ),
        (
            "text kept from being a number",
            comma.replace("rep_1", "\"=\"\"rep_1\"\"\""),
            2,
        ),
    ] {
        reads_dana(what, text.as_bytes(), line);
    }
    for (what, bytes) in [
        (
            "Excel: Unicode text",
            [&b"\xff\xfe"[..], &utf16(&tabs, u16::to_le_bytes)].concat(),
        ),
        (
            "UTF-16, the big end first",
            [&b"\xfe\xff"[..], &utf16(&comma, u16::to_be_bytes)].concat(),
        ),
        (
            "UTF-16 without a mark",
            utf16(&semicolons, u16::to_le_bytes),
        ),
        (
            "UTF-16 without a mark, the big end first",
            utf16(&comma, u16::to_be_bytes),
        ),
    ] {
        reads_dana(what, &bytes, 2);
    }
}

#[test]
fn lines_are_counted_as_an_editor_does() {
    for end in ["\n", "\r\n", "\r"] {
        let rows = [
            "Dana,Reyes,rep_1,acme,",
            "",
            "\"Da\nna\",Reyes,rep_2,acme,",
            "Lee,Park,NULL,acme,",
        ];
        let text = format!("{HEAD_OF_ONE}{end}{}", rows.join(end));
        let text = match end {
            "\r" => text.replace('\n', "\r"),
            _ => text,
        };
        let rows = read(text.as_bytes()).unwrap().rows;
        let lines: Vec<_> = rows.iter().map(|row| row.line).collect();
        assert_eq!(lines, [2, 4, 6], "{end:?}");
        assert!(rows[1].rep.as_ref().unwrap_err().contains("line break"));
        assert!(rows[2].rep.is_err());
    }
}

#[test]
fn what_is_no_table_is_refused_as_a_whole() {
    for (bytes, named) in [
        (&b"PK\x03\x04\x14\0"[..], "workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Excel workbook"),
        (b"%PDF-1.7", "PDF"),
        (b"firstName,lastName,npn,platformAgencyId\nDana,Reyes,1234,acme\n\"Lee,Park,12345,acme\nAna,Ruiz,123456,acme\n", "line 3: a quote"),
        (b"firstName,lastName,npn,platformAgencyId,\"notes\nDana,Reyes,1234,acme,\n", "line 1: a quote"),
    ] {
        let refused = read(bytes).unwrap_err();
        assert!(refused.contains(named), "{refused}");
    }
    assert!(rows(HEAD_OF_ONE).is_empty());
}

/// A file with this in one cell of its only row; nothing, or what is said about the row.
fn said_of(column: &str, cell: &str) -> Option<String> {
    let mut cells = [
        ("firstName", "Dana"),
        ("lastName", "Reyes"),
        ("email", ""),
        ("npn", "20224801"),
        ("platformAgentId", "rep_1"),
        ("platformAgencyId", "acme"),
        ("agencyName", "Acme"),
    ];
    for (name, value) in &mut cells {
        if *name == column {
            *value = cell;
        }
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells.map(|(name, _)| name)).unwrap();
    writer.write_record(cells.map(|(_, cell)| cell)).unwrap();
    let sheet = read(&writer.into_inner().unwrap()).unwrap();
    sheet.rows[0].rep.as_ref().err().cloned()
}

#[test]
fn what_spreadsheets_break_is_refused_by_its_column() {
    let ids: &[&str] = &["platformAgentId", "platformAgencyId"];
    let ids_and_npn: &[&str] = &["platformAgentId", "platformAgencyId", "npn"];
    let all: &[&str] = &[
        "firstName",
        "lastName",
        "email",
        "npn",
        "platformAgentId",
        "platformAgencyId",
        "agencyName",
    ];
    let but_names: &[&str] = &[
        "email",
        "npn",
        "platformAgentId",
        "platformAgencyId",
        "agencyName",
    ];
    for (columns, cells) in [
        (
            ids_and_npn,
            &[
                "8.84213E+15",
                "1,23E+10",
                "1E+15",
                "8.84213e15",
                "8.84E+015",
                "-1.2E-05",
            ][..],
        ),
        (
            ids_and_npn,
            &[
                "12345.0",
                "12345.00",
                "12345,0",
                "12345.000",
                "1-Mar",
                "Mar-26",
                "3/1/2026",
                "2026-03-01 00:00:00",
            ],
        ),
        (ids, &["8,842", "1,234,567", "'00123", "NA"]),
        (
            all,
            &[
                "#N/A",
                "#REF!",
                "#VALUE!",
                "#NAME?",
                "#DIV/0!",
                "#NULL!",
                "#NUM!",
                "#SPILL!",
                "#ERROR!",
                "#BEZUG!",
                "#NV",
                "#N/D",
                "#####",
                "Err:502",
                "=A1+1",
                "=VLOOKUP(1;2;3)",
                "Loading...",
            ],
        ),
        (
            all,
            &[
                "NULL",
                "null",
                "N/A",
                "n/a",
                "none",
                "nil",
                "nan",
                "undefined",
                "(blank)",
                "\\N",
            ],
        ),
        (
            but_names,
            &["Null", "None", "NaN", "-", "--", "—", "?", "."],
        ),
        (
            all,
            &[
                "Da\u{200b}na",
                "\u{feff}Dana",
                "Dana\u{2060}",
                "D\u{ad}ana",
                "\u{202e}Dana",
                "Dana\0x",
                "Da\nna",
                "Da\tna",
                "D\u{fffd}na",
            ],
        ),
        (
            &["platformAgentId", "platformAgencyId", "email"],
            &["rep\u{a0}1@e.f", "rep\u{200d}1@e.f", "rep\u{3000}1@e.f"],
        ),
        (&["email"], &["d e@f.g", "dana"]),
        (&["npn"], &["123", "12345678901", "12a45", "1234.5", "1,2"]),
    ] {
        for column in columns {
            for cell in cells {
                let said = said_of(column, cell);
                let said = said.unwrap_or_else(|| panic!("{column} took {cell:?}"));
                assert!(said.starts_with(column), "{cell:?}: {said}");
            }
        }
    }
}

#[test]
fn what_only_looks_odd_is_taken() {
    for (column, cells) in [
        (
            "platformAgentId",
            &[
                "12E5", "1E10", "00123", "rep 1", "1.2.3", "8842-17", "a/b/c", "Ünal", "#8842",
                "nullam", "Mar", "0",
            ][..],
        ),
        (
            "npn",
            &[
                "20-224801",
                "20 224 801",
                "(20) 224801",
                "#20224801",
                "20.224.801",
                "1,234,567",
                "20\u{a0}224801",
                "0012345678",
            ],
        ),
        (
            "firstName",
            &[
                "Null",
                "None",
                "-",
                "Ana\u{a0}María",
                "نسرین\u{200c}دخت",
                "O'Neil",
                "Émile",
                "X Æ A-12",
            ],
        ),
        ("email", &["DANA@Acme.example", "d+1@e.f"]),
        (
            "agencyName",
            &["Acme (West)", "1-800-PLANS", "NA Partners", "8,842 Agents"],
        ),
    ] {
        for cell in cells {
            assert_eq!(said_of(column, cell), None, "{column}: {cell:?}");
        }
    }
    let long = "é".repeat(200);
    assert_eq!(said_of("agencyName", &long), None);
    assert!(
        said_of("agencyName", &format!("{long}é"))
            .unwrap()
            .contains("200")
    );
}

#[test]
fn what_is_meant_is_what_is_sent() {
    let text = format!(
        "{HEAD}Ana\u{a0}María,Ruiz,\" Ana@Acme.Example \",20-224801,\"=\"\"0042\"\"\",,acme,\n"
    );
    let rows = rows(&text);
    let new = &rows[0].rep.as_ref().unwrap().new;
    assert_eq!(new.first_name, "Ana María");
    assert_eq!(new.email.as_deref(), Some("ana@acme.example"));
    assert_eq!(new.npn.as_deref(), Some("20224801"));
    assert_eq!(new.rep.as_ref().unwrap().as_str(), "0042");
}

#[test]
fn a_cell_is_named_by_its_head_in_the_file_and_text_behind_the_heads_is_refused() {
    let text =
        "First,Last,Rep ID,Platform agency id\nDana,Reyes,#N/A,acme\nDana,Reyes, Jr.,rep_1,acme\n";
    let rows = rows(text);
    let said = rows[0].rep.as_ref().unwrap_err();
    assert!(
        said.contains("platformAgentId (\"Rep ID\") is #N/A"),
        "{said}"
    );
    assert!(rows[1].rep.as_ref().unwrap_err().contains("5 fields"));
}

#[test]
fn numbers_that_a_spreadsheet_cut_are_recognised_by_all_rows_together() {
    let rows_of = |ids: &[&str]| {
        let lines = ids.iter().map(|id| format!("Dana,Reyes,,,{id},,acme,\n"));
        rows(&format!("{HEAD}{}", lines.collect::<String>()))
    };
    let cut = rows_of(&[
        "88421300000000000",
        "88421400000000000",
        "88421500000000000",
        "rep_1",
    ]);
    let refused: Vec<_> = cut.iter().map(|row| row.rep.is_err()).collect();
    assert_eq!(refused, [true, true, true, false]);
    for whole in [
        &[
            "88421300000000000",
            "88421400000000017",
            "884215000000000000",
        ][..],
        &["8842130000000000"],
    ] {
        assert!(
            rows_of(whole).iter().all(|row| row.rep.is_ok()),
            "{whole:?}"
        );
    }
}
