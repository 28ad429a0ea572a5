//! Lines of CSV (RFC 4180) that a spreadsheet shows as they are meant: nothing in them is a formula.

use std::borrow::Cow;

/// What a spreadsheet takes for the beginning of a formula.
const FORMULA: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\n'];

/// A line of CSV with its line end.
///
/// # Errors
/// None that a text can cause.
pub fn line<T: AsRef<[u8]>>(cells: impl IntoIterator<Item = T>) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(cells)?;
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// A text from outside. One that a spreadsheet would take for a formula is led by an apostrophe. Amounts do not go through
/// this: a minus may lead them.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    if text.starts_with(FORMULA) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_a_formula_and_every_text_is_one_cell() {
        for (from_outside, cell) in
            [("=1+1", "'=1+1"), ("@x", "'@x"), ("-1", "'-1"), ("a=b", "a=b"), ("", "")]
        {
            assert_eq!(text(from_outside), cell);
        }
        let line = line(["a\"b,c\nd", "e"]).unwrap();
        assert_eq!(String::from_utf8(line).unwrap(), "\"a\"\"b,c\nd\",e\r\n");
    }
}
