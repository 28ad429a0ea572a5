//! A person at a made-up terminal, and what was printed for him.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use openrouter::KeyRecord;
use secrecy::SecretString;

use crate::{Asker, Console, OperatorError};

/// The answers to come; without any there is no terminal.
#[derive(Debug, Default)]
pub(crate) struct Script(VecDeque<String>);

/// What was printed so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Printed {
    out: Sink,
    notes: Sink,
}

#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Script {
    pub(crate) fn of<const N: usize>(answers: [&str; N]) -> Self {
        Self(answers.map(str::to_owned).into())
    }

    fn next(&mut self) -> Result<String, OperatorError> {
        self.0.pop_front().ok_or(OperatorError::Cancelled)
    }
}

pub(crate) fn console(script: Script) -> (Console, Printed) {
    let printed = Printed::default();
    let (out, notes) = (printed.out.clone(), printed.notes.clone());
    (Console { out: Box::new(out), notes: Box::new(notes), asker: Box::new(script) }, printed)
}

impl Printed {
    pub(crate) fn notes(&self) -> String {
        self.notes.text()
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Asker for Script {
    fn can_ask(&self) -> bool {
        !self.0.is_empty()
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

/// A key as `OpenRouter` would list it.
pub(crate) fn key(name: &str, hash: &str) -> KeyRecord {
    KeyRecord {
        hash: hash.to_owned(),
        name: name.to_owned(),
        label: "sk-or-v1-0e6...1c9".to_owned(),
        disabled: false,
        limit: Some("250".to_owned()),
        limit_remaining: Some("249.999996".to_owned()),
        include_byok_in_limit: false,
        limit_reset: Some("monthly".to_owned()),
        usage: Some("0.000004".to_owned()),
        usage_daily: Some("0.000004".to_owned()),
        usage_weekly: Some("4e-6".to_owned()),
        usage_monthly: Some("0.000004".to_owned()),
        created_at: Some("2026-09-21T13:00:00.000000+00:00".to_owned()),
        updated_at: None,
        expires_at: None,
        last_used_at: Some("2026-09-21T14:00:00Z".to_owned()),
    }
}
