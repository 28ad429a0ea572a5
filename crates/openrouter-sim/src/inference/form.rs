//! `multipart/form-data`, as far as clients of transcription send it.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// The fields of a form.
#[derive(Debug)]
pub(crate) struct Form(Vec<(String, Bytes)>);

impl Form {
    /// `None` where the body is no form.
    pub(crate) fn read(headers: &HeaderMap, body: &Bytes) -> Option<Self> {
        let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let (kind, parameters) = content_type.split_once(';')?;
        if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary =
            parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("boundary="))?;
        let delimiter = format!("--{}", boundary.trim_matches('"'));
        let starts: Vec<usize> = memchr::memmem::find_iter(body, delimiter.as_bytes()).collect();
        let parts = starts.iter().zip(starts.iter().skip(1));
        let fields = parts.filter_map(|(start, next)| field(&body.slice(start + delimiter.len()..*next)));
        Some(Self(fields.collect()))
    }

    pub(crate) fn field(&self, name: &str) -> Option<&Bytes> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.field(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

/// A part between two delimiters: line end, headers, empty line, value, line end.
fn field(part: &Bytes) -> Option<(String, Bytes)> {
    const HEAD_END: &[u8] = b"\r\n\r\n";
    let head_end = memchr::memmem::find(part, HEAD_END)?;
    let head = String::from_utf8_lossy(part.get(..head_end)?).into_owned();
    let (_, after) = head.split_once("name=\"")?;
    let (name, _) = after.split_once('"')?;
    let value = part.slice(head_end + HEAD_END.len()..);
    let value = value.slice(..value.len().checked_sub(2)?);
    Some((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use http::header::CONTENT_TYPE;

    use super::Form;

    #[test]
    fn reads_the_fields_of_a_form() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, "multipart/form-data; boundary=XX".parse().unwrap());
        let body = "--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nopenai/whisper-1\r\n--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nab\r\ncd\r\n--XX--\r\n";
        let form = Form::read(&headers, &Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(form.text("model").as_deref(), Some("openai/whisper-1"));
        assert_eq!(form.field("file").unwrap(), "ab\r\ncd");
        assert!(form.field("user").is_none());
    }
}
