//! `.env` files, read without help from the house.

use std::path::Path;

/// The file's variables: one `NAME=value` a line, in the three forms that are written.
pub(crate) fn read(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let pairs = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), unquoted(value))).collect()
}

fn unquoted(value: &str) -> String {
    if let Some(rest) = value.strip_prefix('\'') {
        return rest.split('\'').next().unwrap().to_owned();
    }
    if let Some(rest) = value.strip_prefix('"') {
        return rest.strip_suffix('"').unwrap().replace("\\\"", "\"");
    }
    value.split(" #").next().unwrap().trim_end().to_owned()
}
