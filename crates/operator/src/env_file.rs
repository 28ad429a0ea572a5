//! `.env` files, as docker-compose, Compose v2 and Python's dotenv read them.
//!
//! A person's lines stay as they are, byte for byte: only the value of a name that is set is replaced where it stands, and new names come at
//! the end. Values are written in the one form that all of these readers understand in the same way, and a value that has no such
//! form is refused.

mod line;

use std::fmt;

use line::Line;

/// An `.env` file in memory.
#[derive(Clone, Default)]
pub(crate) struct EnvFile {
    lines: Vec<Line>,
    /// `\r\n` where the file has that.
    line_end: &'static str,
}

/// What cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvFileError {
    /// A line that is no assignment. What it holds may be a secret, so it is not shown.
    #[error("line {line} cannot be read: {what}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// A value in which some readers would put another variable's.
    #[error(
        "{name} (line {line}) has a `$` that not every reader takes for itself; hint: put the value into single quotes, \
         without a brace after the `$`"
    )]
    Dollar {
        /// The name.
        name: String,
        /// The number of the line, from 1.
        line: usize,
    },
    /// A value that cannot be written so that all readers read the same.
    #[error(
        "{name} cannot be written to an `.env` file so that every reader reads the same; hint: leave out line breaks, `${{`, \
         and quotes beside `$` or backslashes"
    )]
    Unwritable {
        /// The name.
        name: String,
    },
}

impl EnvFile {
    /// Reads the text of a file. A mark at its beginning that says it is UTF-8 is left out.
    pub(crate) fn parse(text: &str) -> Result<Self, EnvFileError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let lines: Result<Vec<Line>, EnvFileError> = text
            .lines()
            .enumerate()
            .map(|(number, text)| {
                Line::parse(text).map_err(|what| EnvFileError::Line { line: number + 1, what })
            })
            .collect();
        Ok(Self { lines: lines?, line_end })
    }

    /// The value of `name`, where it is set and not empty; of two the last counts.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let place = self.place_of(name)?;
        self.lines.get(place)?.value().filter(|value| !value.is_empty())
    }

    /// All names with their values, the last of each.
    pub(crate) fn variables(&self) -> Vec<(&str, &str)> {
        let named = self
            .lines
            .iter()
            .enumerate()
            .filter_map(|(place, line)| Some((place, line.name()?, line.value()?)));
        let last = named.filter(|(place, name, _)| self.place_of(name) == Some(*place));
        last.map(|(_, name, value)| (name, value)).collect()
    }

    /// Sets `name`, where it stands or at the end.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), EnvFileError> {
        let quoted = quoted(value).ok_or_else(|| EnvFileError::Unwritable { name: name.to_owned() })?;
        match self.place_of(name).and_then(|place| self.lines.get_mut(place)) {
            Some(line) => line.replace_value(value, &quoted),
            None => self.lines.push(Line::assignment(name, value, &quoted)),
        }
        Ok(())
    }

    /// Refuses values of `names` that readers would understand in different ways.
    pub(crate) fn refuse_ambiguous(
        &self,
        names: impl IntoIterator<Item = &'static str>,
    ) -> Result<(), EnvFileError> {
        for name in names {
            let Some(place) = self.place_of(name) else { continue };
            if self.lines.get(place).is_some_and(Line::is_ambiguous) {
                return Err(EnvFileError::Dollar { name: name.to_owned(), line: place + 1 });
            }
        }
        Ok(())
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        self.lines.iter().rposition(|line| line.name() == Some(name))
    }
}

/// The text of the file.
impl fmt::Display for EnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.line_end.is_empty() { "\n" } else { self.line_end };
        self.lines.iter().try_for_each(|line| write!(f, "{}{end}", line.text()))
    }
}

/// Values are secrets, mostly.
impl fmt::Debug for EnvFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines.iter().filter_map(Line::name)).finish()
    }
}

/// The value in a form that every reader understands in the same way. Python's dotenv expands `${…}` even in single quotes; Compose v2
/// expands `$…` everywhere else; within single quotes one takes a backslash before a quote or a backslash for an escape, the other does not.
pub(crate) fn quoted(value: &str) -> Option<String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./:@%+,".contains(letter);
    if value.chars().all(plain) {
        return Some(value.to_owned());
    }
    if value.chars().any(char::is_control) || value.contains("${") {
        return None;
    }
    if !value.contains('\'') && !value.contains("\\\\") && !value.ends_with('\\') {
        return Some(format!("'{value}'"));
    }
    let in_double_quotes = !value.contains(['$', '`', '\\']);
    in_double_quotes.then(|| format!("\"{}\"", value.replace('"', "\\\"")))
}

#[cfg(test)]
mod tests;
