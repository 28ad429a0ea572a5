//! Setting the user of a form, as a file comes with one: a part of its own before the others.

use bytes::Bytes;
use memchr::memmem;
use openrouter::Pieces;

use crate::edit::{Edited, LONGEST_MODEL};
use crate::refusal::Refusal;

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

    fn text_of(body: &Pieces) -> String {
        String::from_utf8(body.iter().flatten().copied().collect()).unwrap()
    }

    #[test]
    fn a_large_form_is_sent_as_it_was_received() {
        let sound = "RIFF".repeat(1_000_000);
        let form = Bytes::from(["--B\r\n\r\n", &sound, "\r\n--B--\r\n"].concat());
        let used = allocation_counter::measure(|| drop(set_user_in_form(&form, "B", "org_user_1").unwrap()));
        assert!(used.bytes_total < 4_096, "{used:?}");
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
