//! The rules of heads and rows.

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
fn headings_are_matched_by_their_letters_and_files_of_spreadsheets_are_read() {
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
        ("Dana,Reyes,,1234", "exactly one"),
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
