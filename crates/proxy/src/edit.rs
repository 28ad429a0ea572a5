//! Setting the user of a request. Nothing else in it is touched, reordered or written anew.

use std::fmt;

use bytes::Bytes;
use memchr::memmem;
use openrouter::Pieces;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::refusal::Refusal;

/// Deepest nesting that is passed on.
const DEEPEST: usize = 64;

/// Longest name of a model that is written down.
const LONGEST_MODEL: usize = 256;

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

/// The boundary of a form, where its content type can be read in one way only: of two boundaries, nobody could say which
/// parts count.
pub(crate) fn boundary_of_form(content_type: &str) -> Result<&str, Refusal> {
    const RULE: Refusal =
        Refusal::NotForm("its content type is not in the plain form, multipart/form-data; boundary=…");
    const LONGEST: usize = 70;
    let named =
        |parameter: &&str| parameter.get(..8).is_some_and(|name| name.eq_ignore_ascii_case("boundary"));
    let (mut named, others): (Vec<_>, Vec<_>) = content_type.split(';').map(str::trim).partition(named);
    let boundary = named.pop().and_then(|parameter| parameter.get(8..)?.strip_prefix('=')).ok_or(RULE)?;
    let unquoted = boundary.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(boundary);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    let is_plain = (1..=LONGEST).contains(&unquoted.len()) && unquoted.bytes().all(plain);
    if !is_plain || !named.is_empty() || others.iter().any(|other| other.contains(['"', '\\'])) {
        return Err(RULE);
    }
    Ok(unquoted)
}

/// Puts a part `user` before the parts of a form. A form that names a user itself is refused: of two, nobody
/// could say which one counts.
pub(crate) fn set_user_in_form(body: &Bytes, boundary: &str, user: &str) -> Result<Edited, Refusal> {
    let delimiter = format!("--{boundary}");
    if !body.starts_with(delimiter.as_bytes()) {
        return Err(Refusal::NotForm("it does not begin with its boundary"));
    }
    let (mut model, mut ended) = (String::new(), false);
    for part in parts(body, delimiter.as_bytes()) {
        if ended {
            return Err(Refusal::NotForm("something stands behind its end"));
        }
        if let Some(behind) = part.strip_prefix(b"--") {
            if !behind.trim_ascii().is_empty() {
                return Err(Refusal::NotForm("something stands behind its end"));
            }
            ended = true;
            continue;
        }
        let (head, content) = memmem::find(part, b"\r\n\r\n")
            .and_then(|end| part.split_at_checked(end))
            .ok_or(Refusal::NotForm("a part has no head"))?;
        match field_name(head)? {
            Some(name) if name == "user" => return Err(Refusal::NotForm("it has a part `user` of its own")),
            Some(name) if name == "model" => {
                let content = content.get(4..).unwrap_or_default();
                model = String::from_utf8_lossy(content.trim_ascii()).chars().take(LONGEST_MODEL).collect();
            }
            _ => {}
        }
    }
    let own = format!("{delimiter}\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\n{user}\r\n");
    Ok(Edited { body: Pieces::new(vec![own.into(), body.clone()]), model })
}

fn parts<'a>(body: &'a [u8], delimiter: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let starts: Vec<usize> = memmem::find_iter(body, delimiter).collect();
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([body.len()]).collect();
    starts.into_iter().zip(ends).filter_map(move |(start, end)| body.get(start + delimiter.len()..end))
}

/// The `name` in a part's `Content-Disposition`. Only the plain form is passed on: what two readers may read in two
/// ways could hide a second user.
fn field_name(head: &[u8]) -> Result<Option<String>, Refusal> {
    const RULE: &str = "a part's head is not in its plain form, Content-Disposition: form-data; name=\"…\"";
    let head = std::str::from_utf8(head).map_err(|_| Refusal::NotForm(RULE))?;
    let lines: Vec<&str> = head.split("\r\n").collect();
    if lines.iter().any(|line| line.contains(['\r', '\n']) || line.starts_with([' ', '\t'])) {
        return Err(Refusal::NotForm(RULE));
    }
    let is_disposition = |line: &&&str| line.to_ascii_lowercase().starts_with("content-disposition");
    let mut dispositions = lines.iter().filter(is_disposition);
    let Some(line) = dispositions.next() else { return Ok(None) };
    let mut names = parameters(line).into_iter().filter(|text| text.to_ascii_lowercase().starts_with("name"));
    let quoted = names.next().and_then(|name| name.strip_prefix("name=\"")?.strip_suffix('"'));
    match quoted.filter(|name| !name.contains(['"', '\\'])) {
        Some(name) if names.next().is_none() && dispositions.next().is_none() => {
            Ok(Some(name.to_ascii_lowercase()))
        }
        _ => Err(Refusal::NotForm(RULE)),
    }
}

/// What stands between the semicolons of a header, those within quotes apart.
fn parameters(line: &str) -> Vec<&str> {
    let mut in_quotes = false;
    line.split(|character| {
        in_quotes ^= character == '"';
        character == ';' && !in_quotes
    })
    .map(str::trim)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(body: &str) -> Result<(String, String), Refusal> {
        let edited = set_user_in_json(&Bytes::copy_from_slice(body.as_bytes()), "org_user_1")?;
        Ok((text_of(&edited.body), edited.model))
    }

    fn text_of(body: &Pieces) -> String {
        String::from_utf8(body.iter().flatten().copied().collect()).unwrap()
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
        let form = Bytes::from(["--B\r\n\r\n", &picture, "\r\n--B--\r\n"].concat());
        let used = allocation_counter::measure(|| drop(set_user_in_form(&form, "B", "org_user_1").unwrap()));
        assert!(used.bytes_total < MOST_BYTES, "{used:?}");
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

    #[test]
    fn a_boundary_is_read_in_one_way_only() {
        for (content_type, boundary) in [
            ("multipart/form-data; boundary=B", "B"),
            ("multipart/form-data;boundary=\"a-B=1\"; charset=utf-8", "a-B=1"),
            ("Multipart/Form-Data; Boundary=B", "B"),
        ] {
            assert_eq!(boundary_of_form(content_type).unwrap(), boundary, "{content_type}");
        }
        for content_type in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=A; boundary=B",
            "multipart/form-data; boundary=A; BOUNDARY=B",
            "multipart/form-data; boundary=A; boundary*=B",
            "multipart/form-data; boundary=\"A;B\"",
            "multipart/form-data; boundary=\"A",
            "multipart/form-data; x=\"; boundary=A; \"; y=z",
            "multipart/form-data; boundary=A B",
        ] {
            assert!(boundary_of_form(content_type).is_err(), "{content_type}");
        }
    }

    #[test]
    fn a_form_gets_its_user_first() {
        let form = "--B\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\na/b\r\n\
                    --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x.mp3\"\r\n\r\nABC\r\n--B--\r\n";
        let edited = set_user_in_form(&Bytes::from(form), "B", "org_user_1").unwrap();
        assert_eq!(edited.model, "a/b");
        let own = "--B\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\norg_user_1\r\n";
        assert_eq!(text_of(&edited.body), format!("{own}{form}"));
        assert!(set_user_in_form(&text_of(&edited.body).into(), "B", "other").is_err());
        for disposition in [
            "name = \"user\"",
            "name=user",
            "name*=UTF-8''user",
            "name=\"us\\er\"",
            "name=\"a\"; name=\"user\"",
            "x",
        ] {
            let part =
                format!("--B\r\nContent-Disposition: form-data; {disposition}\r\n\r\nevil\r\n--B--\r\n");
            assert!(set_user_in_form(&Bytes::from(part), "B", "other").is_err(), "{disposition}");
        }
        for head in [
            "X: y\nContent-Disposition: form-data; name=\"user\"",
            "Content-Disposition: form-data;\r\n name=\"user\"",
        ] {
            let part = format!("--B\r\n{head}\r\n\r\nevil\r\n--B--\r\n");
            assert!(set_user_in_form(&Bytes::from(part), "B", "other").is_err(), "{head}");
        }
        for behind in
            ["x", "\r\n--B\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\nevil\r\n--B--\r\n"]
        {
            assert!(
                set_user_in_form(&Bytes::from(format!("{form}{behind}")), "B", "other").is_err(),
                "{behind}"
            );
        }
        let no_head = "--B\nContent-Disposition: form-data; name=\"user\"\n\nevil\n--B--\n";
        assert!(set_user_in_form(&Bytes::from(no_head), "B", "other").is_err());
        let file = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a; name list.mp3\"\r\n\r\nABC\r\n--B--\r\n";
        assert!(set_user_in_form(&Bytes::from(file), "B", "other").is_ok());
        assert!(set_user_in_form(&Bytes::from("x"), "B", "other").is_err());
    }
}
