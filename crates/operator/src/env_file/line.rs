//! One line of an `.env` file.

use std::ops::Range;

/// A line as it stands, and what it says.
#[derive(Clone)]
pub(super) struct Line {
    text: String,
    assignment: Option<Assignment>,
}

#[derive(Clone)]
struct Assignment {
    name: String,
    /// `None` where there is no `=`.
    value: Option<Value>,
}

#[derive(Clone)]
struct Value {
    text: String,
    /// Where it stands in the line, quotes included.
    place: Range<usize>,
    quotes: Quotes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    None,
    Single,
    Double,
}

impl Line {
    /// Reads a line; what is wrong with it where it cannot be read.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let content = text.trim();
        if content.is_empty() || content.starts_with('#') {
            return Ok(Self { text: text.to_owned(), assignment: None });
        }
        let Some(equals) = text.find('=') else {
            let name = read_name(content)?;
            return Ok(Self { text: text.to_owned(), assignment: Some(Assignment { name, value: None }) });
        };
        let (before, after) =
            (text.get(..equals).unwrap_or_default(), text.get(equals + 1..).unwrap_or_default());
        let name = read_name(before.trim())?;
        let begin = text.len() - after.trim_start_matches([' ', '\t']).len();
        let value = read_value(text.get(begin..).unwrap_or_default(), begin)?;
        Ok(Self { text: text.to_owned(), assignment: Some(Assignment { name, value: Some(value) }) })
    }

    pub(super) fn assignment(name: &str, value: &str, written: &str) -> Self {
        let assignment = Assignment { name: name.to_owned(), value: None };
        let mut line = Self { text: name.to_owned(), assignment: Some(assignment) };
        line.replace_value(value, written);
        line
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.assignment.as_ref().map(|assignment| assignment.name.as_str())
    }

    pub(super) fn value(&self) -> Option<&str> {
        self.assignment.as_ref()?.value.as_ref().map(|value| value.text.as_str())
    }

    /// True where some readers put another variable's value in.
    pub(super) fn is_ambiguous(&self) -> bool {
        let Some(value) = self.assignment.as_ref().and_then(|assignment| assignment.value.as_ref()) else {
            return false;
        };
        value.text.contains("${") || (value.quotes != Quotes::Single && value.text.contains('$'))
    }

    /// Puts `written`, which says `value`, where the value stands; what stands before and behind it stays.
    pub(super) fn replace_value(&mut self, value: &str, written: &str) {
        let Some(assignment) = &mut self.assignment else { return };
        let place = if let Some(value) = &assignment.value {
            value.place.clone()
        } else {
            self.text.truncate(self.text.trim_end().len());
            self.text.push('=');
            self.text.len()..self.text.len()
        };
        self.text.replace_range(place.clone(), written);
        let quotes = match written.chars().next() {
            Some('\'') => Quotes::Single,
            Some('"') => Quotes::Double,
            _ => Quotes::None,
        };
        let place = place.start..place.start + written.len();
        assignment.value = Some(Value { text: value.to_owned(), place, quotes });
    }
}

/// The name, without `export` and quotes.
fn read_name(text: &str) -> Result<String, &'static str> {
    let exported = text.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
    let name = exported.unwrap_or(text).trim();
    let name = name.strip_prefix('\'').and_then(|name| name.strip_suffix('\'')).unwrap_or(name);
    if name.is_empty() || name.contains(|letter: char| letter.is_whitespace() || "#'\"=".contains(letter)) {
        return Err("it is neither a comment nor NAME=value");
    }
    Ok(name.to_owned())
}

/// The value that `text` begins with, which stands at `begin` of its line.
fn read_value(text: &str, begin: usize) -> Result<Value, &'static str> {
    let (quote, quotes) = match text.chars().next() {
        Some('\'') => ('\'', Quotes::Single),
        Some('"') => ('"', Quotes::Double),
        _ => return Ok(unquoted(text, begin)),
    };
    let inside = text.get(1..).unwrap_or_default();
    let end = end_of_quotes(inside, quote).ok_or("the quotes do not end in it")?;
    let rest = inside.get(end + 1..).unwrap_or_default().trim_start();
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err("something stands behind the quotes");
    }
    let value = unescaped(inside.get(..end).unwrap_or_default(), quotes);
    Ok(Value { text: value, place: begin..begin + end + 2, quotes })
}

/// Up to a `#` behind a blank.
fn unquoted(text: &str, begin: usize) -> Value {
    let is_comment = |(place, _): &(usize, &str)| {
        text.get(..*place).and_then(|before| before.chars().next_back()).is_some_and(char::is_whitespace)
    };
    let comment = text.match_indices('#').find(is_comment).map(|(place, _)| place);
    let value = text.get(..comment.unwrap_or(text.len())).unwrap_or_default().trim_end();
    Value { text: value.to_owned(), place: begin..begin + value.len(), quotes: Quotes::None }
}

/// Where the closing quote stands; one behind a backslash does not close.
fn end_of_quotes(inside: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (place, letter) in inside.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            letter if letter == quote => return Some(place),
            _ => {}
        }
    }
    None
}

/// What the escapes stand for; a backslash before anything else is a backslash.
fn unescaped(text: &str, quotes: Quotes) -> String {
    let mut value = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let meant = match letters.peek() {
            Some(next) if letter == '\\' => escape(*next, quotes),
            _ => None,
        };
        value.push(meant.unwrap_or(letter));
        if meant.is_some() {
            letters.next();
        }
    }
    value
}

fn escape(letter: char, quotes: Quotes) -> Option<char> {
    match (letter, quotes) {
        ('\\' | '\'', _) => Some(letter),
        ('"', Quotes::Double) => Some('"'),
        ('n', Quotes::Double) => Some('\n'),
        ('r', Quotes::Double) => Some('\r'),
        ('t', Quotes::Double) => Some('\t'),
        ('a', Quotes::Double) => Some('\u{7}'),
        ('b', Quotes::Double) => Some('\u{8}'),
        ('f', Quotes::Double) => Some('\u{c}'),
        ('v', Quotes::Double) => Some('\u{b}'),
        _ => None,
    }
}
