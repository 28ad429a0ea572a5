//! Setting the user of a request in JSON. Nothing else in it is touched, reordered or written anew.

use std::fmt;

use bytes::Bytes;
use openrouter::Pieces;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::refusal::Refusal;

/// Deepest nesting that is passed on.
const DEEPEST: usize = 64;

/// Longest name of a model that is written down.
pub(crate) const LONGEST_MODEL: usize = 256;

/// Most members `user` of one object: a few may be a mistake, and each is a piece of what is sent.
const MOST_USERS: usize = 16;

/// A request whose user is ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Edited {
    pub(crate) body: Pieces,
    /// The model asked for; empty where the request names none.
    pub(crate) model: String,
}

/// What counts of a JSON object's members, as raw text; the rest is only read over.
#[derive(Default)]
struct Members<'a> {
    /// In their order.
    users: Vec<&'a RawValue>,
    /// The last ones.
    model: Option<&'a RawValue>,
    models: Option<&'a RawValue>,
    is_empty: bool,
}

/// The name of a member, whichever way it is spelt.
enum Name {
    User,
    Model,
    Models,
    Other,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Unescaped;
        impl Visitor<'_> for Unescaped {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(match name {
                    "user" => Name::User,
                    "model" => Name::Model,
                    "models" => Name::Models,
                    _ => Name::Other,
                })
            }
        }
        deserializer.deserialize_str(Unescaped)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members { is_empty: true, ..Members::default() };
                while let Some(name) = map.next_key()? {
                    members.is_empty = false;
                    match name {
                        Name::User if members.users.len() == MOST_USERS => {
                            return Err(A::Error::custom("too many users"));
                        }
                        Name::User => members.users.push(map.next_value()?),
                        Name::Model => members.model = Some(map.next_value()?),
                        Name::Models => members.models = Some(map.next_value()?),
                        Name::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Sets the member `user` of a JSON object. Where it is there (even more than once) its value is replaced, else
/// it becomes the first member.
pub(crate) fn set_user_in_json(body: &Bytes, user: &str) -> Result<Edited, Refusal> {
    let text = std::str::from_utf8(body).map_err(|error| Refusal::NotJson(error.to_string()))?;
    if depth(body) > DEEPEST {
        return Err(Refusal::TooDeep(DEEPEST));
    }
    let members: Members<'_> =
        serde_json::from_str(text).map_err(|error| Refusal::NotJson(describe(&error)))?;
    let user = Bytes::from(serde_json::Value::from(user).to_string());
    let (mut pieces, mut sent) = (Vec::new(), 0);
    for value in &members.users {
        let from = value.get().as_ptr().addr() - text.as_ptr().addr();
        pieces.extend([body.slice(sent..from), user.clone()]);
        sent = from + value.get().len();
    }
    if members.users.is_empty() {
        sent = memchr::memchr(b'{', body).map_or(0, |brace| brace + 1);
        let comma = if members.is_empty { "" } else { "," };
        let name = Bytes::from_static(b"\"user\":");
        pieces.extend([body.slice(..sent), name, user, Bytes::from_static(comma.as_bytes())]);
    }
    pieces.push(body.slice(sent..));
    Ok(Edited { body: Pieces::new(pieces), model: members.model() })
}

impl Members<'_> {
    fn model(&self) -> String {
        let first =
            |models: &RawValue| serde_json::from_str::<Vec<String>>(models.get()).ok()?.into_iter().next();
        let model = self.model.and_then(|model| serde_json::from_str::<String>(model.get()).ok());
        let model = model.or_else(|| first(self.models?));
        model.unwrap_or_default().chars().take(LONGEST_MODEL).collect()
    }
}

/// What is wrong and where, without quoting the request.
fn describe(error: &serde_json::Error) -> String {
    let kind = if error.is_eof() { "it ends too early" } else { "it cannot be read" };
    format!("{kind}, line {} column {}", error.line(), error.column())
}

/// How deep `text` nests, strings apart.
fn depth(mut text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    while let Some((byte, behind)) = text.split_first() {
        text = behind;
        match byte {
            b'"' => text = behind_string(text),
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What stands behind the string that `text` begins in.
fn behind_string(mut text: &[u8]) -> &[u8] {
    while let Some(place) = memchr::memchr2(b'"', b'\\', text) {
        let is_end = text.get(place) == Some(&b'"');
        // An escape takes the byte behind it along.
        let read = if is_end { place + 1 } else { place + 2 };
        text = text.get(read..).unwrap_or_default();
        if is_end {
            return text;
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(body: &str) -> Result<(String, String), Refusal> {
        let edited = set_user_in_json(&Bytes::copy_from_slice(body.as_bytes()), "org_user_1")?;
        let bytes = edited.body.iter().flatten().copied().collect();
        Ok((String::from_utf8(bytes).unwrap(), edited.model))
    }

    #[track_caller]
    fn check(body: &str, expected: &str) {
        assert_eq!(edit(body).unwrap().0, expected);
    }

    #[test]
    fn only_the_user_changes() {
        check(r#"{ "b" : 1e5 ,"a":[ 1,2 ]}"#, r#"{"user":"org_user_1", "b" : 1e5 ,"a":[ 1,2 ]}"#);
        check(
            r#"{"a":1,"user":"evil","b":{"user":"kept"}}"#,
            r#"{"a":1,"user":"org_user_1","b":{"user":"kept"}}"#,
        );
        check(
            r#"{"user": null ,"us\u0065r":{"x":[]}}"#,
            r#"{"user": "org_user_1" ,"us\u0065r":"org_user_1"}"#,
        );
        check("{}", r#"{"user":"org_user_1"}"#);
        check(" {\n}", " {\"user\":\"org_user_1\"\n}");
        check(r#"{"żółć":"{\"user\":1}"}"#, r#"{"user":"org_user_1","żółć":"{\"user\":1}"}"#);
    }

    /// A picture is neither copied nor taken apart, wherever the user stands; nor do names and values pile up.
    #[test]
    fn a_large_body_is_sent_as_it_was_received() {
        const MOST_BYTES: u64 = 4_096;
        let picture = "iVBORw0KGgo/".repeat(5_000_000 / 12);
        let members = r#""":1,"#.repeat(1_000_000);
        for body in [
            format!(r#"{{"model":"a/b","messages":[{{"content":"\n{picture}"}}]}}"#),
            format!(r#"{{"model":"a/b","messages":"{picture}","user":"anna"}}"#),
            format!(r#"{{{members}"model":"a/b"}}"#),
        ] {
            let body = Bytes::from(body);
            let mut edited = None;
            let used =
                allocation_counter::measure(|| edited = Some(set_user_in_json(&body, "org_user_1").unwrap()));
            assert!(used.bytes_total < MOST_BYTES, "{used:?}");
            let edited = edited.unwrap();
            assert_eq!(edited.model, "a/b");
            let theirs: usize =
                edited.body.iter().filter(|piece| is_part_of(piece, &body)).map(Bytes::len).sum();
            assert!(theirs + r#""anna""#.len() >= body.len());
        }
    }

    fn is_part_of(piece: &Bytes, whole: &Bytes) -> bool {
        whole.as_ptr_range().contains(&piece.as_ptr())
    }

    #[test]
    fn users_without_end_are_refused() {
        let users = |count: usize| format!("{{{}}}", vec![r#""user":1"#; count].join(","));
        assert_eq!(edit(&users(MOST_USERS)).unwrap().0, users(MOST_USERS).replace('1', "\"org_user_1\""));
        assert!(matches!(edit(&users(MOST_USERS + 1)), Err(Refusal::NotJson(_))));
    }

    #[test]
    fn strings_are_read_over_whatever_is_in_them() {
        for (text, deepest) in [
            ("", 0),
            ("[{}]", 2),
            (r#"["[[["]"#, 1),
            (r#"["\"[[[", []]"#, 2),
            (r#"["\\", []]"#, 2),
            (r#"["\\\"[[", []]"#, 2),
            (r#"["[["#, 1),
            (r#"["\"#, 1),
            ("]]][", 1),
        ] {
            assert_eq!(depth(text.as_bytes()), deepest, "{text}");
        }
    }

    #[test]
    fn the_model_that_counts_is_found() {
        for (body, model) in [
            (r#"{"model":"a/b"}"#, "a/b"),
            (r#"{"model":"a/b","model":"c/d"}"#, "c/d"),
            (r#"{"models":["e/f","g/h"]}"#, "e/f"),
            (r#"{"model":7}"#, ""),
            ("{}", ""),
        ] {
            assert_eq!(edit(body).unwrap().1, model, "{body}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused_without_quoting_it() {
        for body in ["", "[]", "null", "{\"secret prompt\"", "{\"a\":1}x", "{'a':1}", "\u{feff}{}"] {
            let refusal = edit(body).unwrap_err().to_string();
            assert!(refusal.contains("not a JSON object") && !refusal.contains("secret"), "{refusal}");
        }
        assert!(matches!(
            set_user_in_json(&Bytes::from_static(b"{\"a\":\"\xff\"}"), "u"),
            Err(Refusal::NotJson(_))
        ));
        let nested = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(edit(&nested(DEEPEST - 1)).is_ok());
        assert!(matches!(edit(&nested(DEEPEST)), Err(Refusal::TooDeep(_))));
        assert!(edit(&format!("{{\"a\":\"{}\"}}", "[".repeat(DEEPEST))).is_ok());
    }
}
