//! Where a command writes and whom it can ask. Data goes to `out`, everything else to `notes`.

use std::io::{IsTerminal as _, Write};

use inquire::{Confirm, InquireError, Password, PasswordDisplayMode, Select, Text};
use secrecy::SecretString;

use crate::OperatorError;

/// How often a person may mistype an answer.
const TRIES: usize = 3;

/// Where a command writes and whom it can ask.
pub struct Console {
    /// What was asked for: tables, JSON, a secret.
    pub out: Box<dyn Write + Send>,
    /// What is told besides: progress, what to do next.
    pub notes: Box<dyn Write + Send>,
    /// The person at the terminal, if there is one.
    pub asker: Box<dyn Asker>,
}

/// Somebody who answers questions, or nobody.
pub trait Asker: Send {
    /// False where no question can be asked: a missing value is an error then.
    fn can_ask(&self) -> bool;
    /// Asks for a line of text.
    ///
    /// # Errors
    /// [`OperatorError::Cancelled`] where the person left, [`OperatorError::Terminal`] where the terminal failed.
    fn text(&mut self, question: &str, default: Option<&str>) -> Result<String, OperatorError>;
    /// Asks for a secret, which is not shown.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    fn secret(&mut self, question: &str) -> Result<SecretString, OperatorError>;
    /// Asks for yes or no; `false` is the answer of somebody who only presses Enter.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    fn confirm(&mut self, question: &str) -> Result<bool, OperatorError>;
    /// Lets one of `options` be chosen and answers its place.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    fn choose(&mut self, question: &str, options: Vec<String>) -> Result<usize, OperatorError>;
}

/// A value that may be given by a flag and is asked for otherwise.
pub(crate) struct Wanted<'a> {
    /// What it is, as in "the spending limit".
    pub(crate) what: &'static str,
    /// The flag that gives it.
    pub(crate) flag: &'static str,
    /// What the flag gave.
    pub(crate) given: Option<&'a str>,
    /// What Enter alone means.
    pub(crate) default: Option<&'a str>,
}

/// The process's own terminal.
#[derive(Debug, Clone, Copy)]
struct Terminal;

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}

impl Console {
    /// The process's own standard streams.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            out: Box::new(std::io::stdout()),
            notes: Box::new(std::io::stderr()),
            asker: Box::new(Terminal),
        }
    }

    /// Writes a line of data.
    pub(crate) fn say(&mut self, line: &str) -> Result<(), OperatorError> {
        writeln!(self.out, "{line}").and_then(|()| self.out.flush()).map_err(OperatorError::Output)
    }

    /// Writes a line beside the data. That nobody can read it stops nothing.
    pub(crate) fn note(&mut self, line: &str) {
        let _ = writeln!(self.notes, "{line}");
    }

    /// The value given by the flag, or the person's answer, as `read` understands it.
    pub(crate) fn value<T>(
        &mut self,
        wanted: &Wanted<'_>,
        read: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Result<T, OperatorError> {
        let Wanted { what, flag, given, default } = *wanted;
        if let Some(given) = given {
            return read(given.trim()).map_err(|rule| OperatorError::Value { flag, rule });
        }
        if !self.asker.can_ask() {
            return Err(OperatorError::Missing { what, flag });
        }
        let question = format!("{what}:");
        for _ in 1..TRIES {
            let answer = self.asker.text(&question, default)?;
            match read(answer.trim()) {
                Ok(value) => return Ok(value),
                Err(rule) => self.note(&format!("it {rule}")),
            }
        }
        let answer = self.asker.text(&question, default)?;
        read(answer.trim()).map_err(|rule| OperatorError::Value { flag, rule })
    }

    /// Whether the person agrees; `yes` is the flag that agrees beforehand.
    pub(crate) fn agrees(&mut self, question: &str, yes: bool) -> Result<bool, OperatorError> {
        if yes {
            return Ok(true);
        }
        if !self.asker.can_ask() {
            return Err(OperatorError::Missing { what: "your agreement", flag: "--yes" });
        }
        self.asker.confirm(question)
    }
}

impl Asker for Terminal {
    fn can_ask(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    fn text(&mut self, question: &str, default: Option<&str>) -> Result<String, OperatorError> {
        let text = Text::new(question);
        let text = match default {
            Some(default) => text.with_default(default),
            None => text,
        };
        text.prompt().map_err(unanswered)
    }

    fn secret(&mut self, question: &str) -> Result<SecretString, OperatorError> {
        let password = Password::new(question).without_confirmation();
        let secret = password.with_display_mode(PasswordDisplayMode::Hidden).prompt();
        secret.map(SecretString::from).map_err(unanswered)
    }

    fn confirm(&mut self, question: &str) -> Result<bool, OperatorError> {
        Confirm::new(question).with_default(false).prompt().map_err(unanswered)
    }

    fn choose(&mut self, question: &str, options: Vec<String>) -> Result<usize, OperatorError> {
        Select::new(question, options).raw_prompt().map(|chosen| chosen.index).map_err(unanswered)
    }
}

fn unanswered(error: InquireError) -> OperatorError {
    match error {
        InquireError::OperationCanceled | InquireError::OperationInterrupted => OperatorError::Cancelled,
        other => OperatorError::Terminal(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Script, console};

    fn number(text: &str) -> Result<u8, &'static str> {
        text.parse().map_err(|_| "must be a number")
    }

    fn wanted(given: Option<&str>) -> Wanted<'_> {
        Wanted { what: "The number", flag: "--number", given, default: None }
    }

    #[test]
    fn a_flag_wins_and_is_not_asked_for() {
        let (mut console, _) = console(Script::default());
        assert_eq!(console.value(&wanted(Some(" 7 ")), number).unwrap(), 7);
        let error = console.value(&wanted(Some("x")), number).unwrap_err();
        assert_eq!(error.to_string(), "--number must be a number");
    }

    #[test]
    fn without_a_terminal_a_missing_value_is_an_error_with_a_hint() {
        let (mut console, _) = console(Script::default());
        let error = console.value(&wanted(None), number).unwrap_err();
        assert_eq!(
            error.to_string(),
            "The number is missing; hint: --number gives it where nobody can be asked"
        );
        assert!(matches!(console.agrees("Sure?", false), Err(OperatorError::Missing { .. })));
        assert!(console.agrees("Sure?", true).unwrap());
    }

    #[test]
    fn a_mistyped_answer_may_be_given_again() {
        let (mut console, printed) = console(Script::of(["x", "7"]));
        assert_eq!(console.value(&wanted(None), number).unwrap(), 7);
        assert!(printed.notes().contains("must be a number"));
        let (mut console, _) = crate::testing::console(Script::of(["x", "y", "z", "7"]));
        assert!(matches!(console.value(&wanted(None), number), Err(OperatorError::Value { .. })));
    }
}
