//! From the bytes of a file to its text: UTF-8 and UTF-16, with or without a byte order mark. What is neither leaves
//! U+FFFD in its place, so that the cell can be named; a workbook is refused as one.

/// What stands where bytes are no text, and what other programs leave of a letter that they could not convert.
pub(super) const LOST: char = char::REPLACEMENT_CHARACTER;

/// How files begin that are no text at all.
const OTHER_FORMATS: [(&[u8], &str); 3] = [
    (
        b"PK\x03\x04",
        "a workbook or an archive (.xlsx, .ods, .zip)",
    ),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook (.xls)"),
    (b"%PDF", "a PDF"),
];

/// Decodes a whole file.
///
/// # Errors
/// When it is no text file, in words.
pub(super) fn decode(bytes: &[u8]) -> Result<String, String> {
    if let Some((_, what)) = OTHER_FORMATS
        .iter()
        .find(|(magic, _)| bytes.starts_with(magic))
    {
        return Err(format!(
            "it is {what}: save it as \"CSV UTF-8 (comma delimited)\" and import that"
        ));
    }
    let text = match bytes {
        [0xff, 0xfe, ..] => utf16(bytes, u16::from_le_bytes),
        [0xfe, 0xff, ..] => utf16(bytes, u16::from_be_bytes),
        // No mark, but the heads are letters of ASCII.
        [a, 0, b, 0, ..] if *a > 0 && *b > 0 => utf16(bytes, u16::from_le_bytes),
        [0, a, 0, b, ..] if *a > 0 && *b > 0 => utf16(bytes, u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let (units, odd) = bytes.as_chunks();
    let decoded = char::decode_utf16(units.iter().map(|bytes| unit(*bytes)));
    let mut text: String = decoded.map(|c| c.unwrap_or(LOST)).collect();
    if !odd.is_empty() {
        text.push(LOST);
    }
    text
}
