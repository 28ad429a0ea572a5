//! A writer of JSON text, member by member, in the order of the wire.
//!
//! `serde_json::Value` would sort the members and push every amount through a float; here an amount is
//! the text it is, and a fault can put any text in its place.

use serde::Serialize;

use crate::money::PicoUsd;

/// An object under construction.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    text: String,
}

impl Object {
    pub(crate) fn new() -> Self {
        let mut text = String::with_capacity(256);
        text.push('{');
        Self { text }
    }

    /// A member whose value is already JSON (or, for a fault, deliberately is not).
    pub(crate) fn raw(mut self, name: &str, value: &str) -> Self {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
        self.text.push_str(value);
        self
    }

    pub(crate) fn raw_if(self, present: bool, name: &str, value: &str) -> Self {
        if present { self.raw(name, value) } else { self }
    }

    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        self.raw(name, &quoted(value))
    }

    pub(crate) fn maybe_text(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self.null(name),
        }
    }

    pub(crate) fn number(self, name: &str, value: i64) -> Self {
        self.raw(name, &value.to_string())
    }

    pub(crate) fn flag(self, name: &str, value: bool) -> Self {
        self.raw(name, if value { "true" } else { "false" })
    }

    pub(crate) fn null(self, name: &str) -> Self {
        self.raw(name, "null")
    }

    pub(crate) fn usd(self, name: &str, value: PicoUsd) -> Self {
        self.raw(name, &value.json_number())
    }

    pub(crate) fn maybe_usd(self, name: &str, value: Option<PicoUsd>) -> Self {
        match value {
            Some(value) => self.usd(name, value),
            None => self.null(name),
        }
    }

    pub(crate) fn object(self, name: &str, value: Self) -> Self {
        let value = value.end();
        self.raw(name, &value)
    }

    pub(crate) fn array(self, name: &str, values: impl IntoIterator<Item = String>) -> Self {
        let value = array(values);
        self.raw(name, &value)
    }

    pub(crate) fn texts(self, name: &str, values: &[&str]) -> Self {
        self.array(name, values.iter().map(|value| quoted(value)))
    }

    pub(crate) fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

/// JSON values, joined to an array.
pub(crate) fn array(values: impl IntoIterator<Item = String>) -> String {
    let mut text = String::from("[");
    for value in values {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&value);
    }
    text.push(']');
    text
}

/// A JSON string.
pub(crate) fn quoted(value: &str) -> String {
    encoded(&value)
}

/// A value of the simulator's own types as JSON.
pub(crate) fn encoded<T: Serialize>(value: &T) -> String {
    #[expect(clippy::expect_used, reason = "strings and the simulator's plain structs always encode")]
    serde_json::to_string(value).expect("plain data encodes")
}
