//! Somebody at a made-up terminal.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex};

use operator::{Asker, Console, OperatorError};
use secrecy::SecretString;

use crate::Said;

/// The answers to come; without any there is no terminal.
pub(crate) struct Person {
    answers: VecDeque<String>,
    /// After so many steps he pulls the plug.
    leaves_after: Option<usize>,
}

#[derive(Clone, Default)]
pub(crate) struct Printed {
    out: Sink,
    notes: Sink,
}

#[derive(Clone, Default)]
struct Sink {
    text: Arc<Mutex<Vec<u8>>>,
    ends_after: Option<usize>,
}

impl Person {
    pub(crate) fn absent() -> Self {
        Self::who_answers([])
    }

    pub(crate) fn who_answers<const N: usize>(answers: [&str; N]) -> Self {
        Self { answers: answers.map(str::to_owned).into(), leaves_after: None }
    }

    pub(crate) fn who_leaves_after(steps: usize) -> Self {
        Self { leaves_after: Some(steps), ..Self::absent() }
    }

    pub(crate) fn console(self) -> (Console, Printed) {
        let mut printed = Printed::default();
        printed.notes.ends_after = self.leaves_after;
        let (out, notes) = (printed.out.clone(), printed.notes.clone());
        (Console { out: Box::new(out), notes: Box::new(notes), asker: Box::new(self) }, printed)
    }

    fn next(&mut self) -> Result<String, OperatorError> {
        self.answers.pop_front().ok_or(OperatorError::Cancelled)
    }
}

impl Printed {
    pub(crate) fn said(&self) -> Said {
        let text = |sink: &Sink| String::from_utf8(sink.text.lock().unwrap().clone()).unwrap();
        Said { out: text(&self.out), notes: text(&self.notes) }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut text = self.text.lock().unwrap();
        text.extend_from_slice(bytes);
        let steps = String::from_utf8_lossy(&text).matches("done: ").count();
        drop(text);
        assert!(self.ends_after.is_none_or(|most| steps < most), "the plug is pulled");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Asker for Person {
    fn can_ask(&self) -> bool {
        !self.answers.is_empty()
    }

    fn text(&mut self, _: &str, default: Option<&str>) -> Result<String, OperatorError> {
        let answer = self.next()?;
        Ok(if answer.is_empty() { default.unwrap_or_default().to_owned() } else { answer })
    }

    fn secret(&mut self, _: &str) -> Result<SecretString, OperatorError> {
        self.next().map(SecretString::from)
    }

    fn confirm(&mut self, _: &str) -> Result<bool, OperatorError> {
        self.next().map(|answer| answer == "y")
    }

    fn choose(&mut self, _: &str, options: Vec<String>) -> Result<usize, OperatorError> {
        let wanted = self.next()?;
        options.iter().position(|option| option.contains(&wanted)).ok_or(OperatorError::Cancelled)
    }
}
