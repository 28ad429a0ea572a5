//! Looking into JSON without trusting its shape: members as raw text, each read only as far as it fits.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object in their order; of two with one name the last counts, as in JavaScript.
pub(crate) struct Object<'a>(Vec<(Name<'a>, &'a RawValue)>);

/// A member's name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl<'a> Object<'a> {
    /// The object in `text`; `None` where it is anything else.
    pub(crate) fn read(text: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// The member's raw text; `None` where it is missing or `null`.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        let (_, value) = self.0.iter().rfind(|(member, _)| member.0 == name)?;
        Some(value.get()).filter(|text| *text != "null")
    }

    /// The member, where it is an object.
    pub(crate) fn object(&self, name: &str) -> Option<Object<'a>> {
        Object::read(self.raw(name)?.as_bytes())
    }

    /// The member, where it is a string that is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str::<String>(self.raw(name)?).ok().filter(|text| !text.is_empty())
    }

    /// The member, where it is a whole number that is not negative.
    pub(crate) fn count(&self, name: &str) -> Option<u64> {
        serde_json::from_str(self.raw(name)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_fits_and_leaves_out_the_rest() {
        let object =
            Object::read(br#"{"a":1,"a":2,"b":"x","c":null,"d":{"e":-1},"f\u0067":"y","h":1.5}"#).unwrap();
        assert_eq!(object.count("a"), Some(2));
        assert_eq!(object.text("b").as_deref(), Some("x"));
        assert_eq!(object.raw("c"), None);
        assert_eq!(object.object("d").unwrap().count("e"), None);
        assert_eq!(object.text("fg").as_deref(), Some("y"));
        assert_eq!(object.count("h"), None);
        assert_eq!(object.raw("h"), Some("1.5"));
        for text in ["", "[]", "null", "{", "{\"a\":}", "\u{feff}{}"] {
            assert!(Object::read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
