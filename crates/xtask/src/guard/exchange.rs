//! The calls that are counted: what the client asks, and the pieces in which the upstream answers.

/// The bearer that the sidecar is given and asked for.
pub(super) const TOKEN: &str = "proxy-token-of-the-guard";

/// Events of a stream with a piece of the answer.
const CHUNKS: usize = 50;

/// Characters of the picture in a large request: with all the rest 5 MB.
const PICTURE_CHARACTERS: usize = 5_000_000;

/// A second in the past, which stands in every generation id: the day of a call is not today's.
const GENERATION_SECOND: u64 = 1_763_640_000;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A question of a few words, answered in one piece.
    Plain,
    /// The same, answered as a stream of [`CHUNKS`] chunks, each of which arrives by itself.
    Stream,
    /// A question with a picture of 5 MB, answered in one piece.
    Picture,
}

/// A piece of an answer: it is sent when the client has what was sent before it.
pub(super) struct Piece {
    /// As the upstream writes it to its socket.
    pub(super) sent: Vec<u8>,
    /// What of it must have come to the client before the next one is sent.
    pub(super) awaited: Vec<u8>,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Stream, Self::Picture];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain-call",
            Self::Stream => "stream-of-50-chunks",
            Self::Picture => "request-of-5-MB",
        }
    }

    /// How many there are of each: W1, W2 and W3, of which the last two are one where the answer comes whole.
    pub(super) const fn commits(self) -> u64 {
        match self {
            Self::Plain | Self::Picture => 2,
            Self::Stream => 3,
        }
    }

    /// How many of them are made in every run: what only the first ones cost is in all runs then.
    pub(super) const fn warm_up_calls(self) -> u32 {
        match self {
            Self::Plain | Self::Stream => 10,
            Self::Picture => 2,
        }
    }

    /// How many of them are counted: enough that the start and the write-ahead log's checkpoints weigh little.
    pub(super) const fn calls(self) -> u32 {
        match self {
            Self::Plain => 400,
            Self::Stream => 150,
            Self::Picture => 6,
        }
    }

    /// The request, head and body, as Open `WebUI` sends it.
    pub(super) fn request(self) -> Vec<u8> {
        let text = r#"{"type":"text","text":"What do you see?"}"#;
        let (content, streamed) = match self {
            Self::Plain => (r#""What is Rust?""#.to_owned(), false),
            Self::Stream => (r#""What is Rust?""#.to_owned(), true),
            Self::Picture => {
                let picture =
                    "iVBORw0KGgo/AAAA+".chars().cycle().take(PICTURE_CHARACTERS).collect::<String>();
                let url = format!(r#"{{"url":"data:image/png;base64,{picture}"}}"#);
                (format!(r#"[{text},{{"type":"image_url","image_url":{url}}}]"#), false)
            }
        };
        let body = format!(
            r#"{{"model":"openai/gpt-4o-mini","stream":{streamed},"messages":[{{"role":"user","content":{content}}}],"user":"anna"}}"#
        );
        let head = format!(
            "POST /api/v1/chat/completions HTTP/1.1\r\nHost: mai-usage:8787\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nX-OpenWebUI-User-Name: Anna%20%C5%BB%C3%B3%C5%82%C4%87\r\n\
             X-OpenWebUI-User-Id: 8b21c0de-0000-4000-8000-000000000001\r\n\
             X-OpenWebUI-User-Email: anna@example.com\r\nX-OpenWebUI-User-Role: user\r\nAccept: */*\r\n\
             Accept-Encoding: gzip, deflate, br\r\nUser-Agent: Python/3.11 aiohttp/3.12\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head, body].concat().into_bytes()
    }

    /// The answer to the call with this number.
    pub(super) fn answer(self, number: u32) -> Vec<Piece> {
        let id = format!("gen-{GENERATION_SECOND}-guard{number:015}");
        if self == Self::Stream { stream(&id) } else { plain(&id) }
    }
}

fn plain(id: &str) -> Vec<Piece> {
    let body = format!(
        r#"{{"id":"{id}","provider":"OpenAI","model":"openai/gpt-4o-mini","object":"chat.completion","created":{GENERATION_SECOND},"choices":[{{"logprobs":null,"finish_reason":"stop","native_finish_reason":"stop","index":0,"message":{{"role":"assistant","content":"Rust is a language for those who like their programs fast and their nights quiet.","refusal":null}}}}],"usage":{}}}"#,
        usage()
    );
    let length = format!("content-type: application/json\r\ncontent-length: {}", body.len());
    vec![Piece { sent: [head(id, &length), body.clone()].concat().into_bytes(), awaited: body.into_bytes() }]
}

/// The head by itself, as long models think; then event after event.
fn stream(id: &str) -> Vec<Piece> {
    let event = |choices: &str, usage: &str| {
        format!(
            "data: {{\"id\":\"{id}\",\"provider\":\"OpenAI\",\"model\":\"openai/gpt-4o-mini\",\"object\":\"chat.completion.chunk\",\"created\":{GENERATION_SECOND},\"choices\":[{choices}]{usage}}}\n\n"
        )
    };
    let chunks = (0..CHUNKS).map(|number| {
        let content = format!(r#"{{"role":"assistant","content":" word {number}"}}"#);
        event(&format!(r#"{{"index":0,"delta":{content},"finish_reason":null}}"#), "")
    });
    let last = [
        event(r#"{"index":0,"delta":{"content":""},"finish_reason":"stop"}"#, ""),
        event("", &format!(",\"usage\":{}", usage())),
    ];
    let head = head(id, "content-type: text/event-stream\r\ntransfer-encoding: chunked").into_bytes();
    let begin = Piece { sent: head, awaited: b"\r\n\r\n".to_vec() };
    let events = chunks.chain(last).map(|event| Piece { sent: framed(&event), awaited: event.into_bytes() });
    let end = "data: [DONE]\n\n";
    let end = Piece { sent: [framed(end), framed("")].concat(), awaited: end.as_bytes().to_vec() };
    [begin].into_iter().chain(events).chain([end]).collect()
}

fn head(id: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ndate: Thu, 20 Nov 2025 12:00:00 GMT\r\n{body}\r\nx-generation-id: {id}\r\ncf-ray: 9a17b2c3d4e5f607-WAW\r\n\
         server: cloudflare\r\naccess-control-allow-origin: *\r\nx-content-type-options: nosniff\r\n\r\n"
    )
}

fn usage() -> &'static str {
    r#"{"prompt_tokens":12,"completion_tokens":50,"total_tokens":62,"cost":0.0000318,"is_byok":false,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"cost_details":{"upstream_inference_cost":null},"completion_tokens_details":{"reasoning_tokens":0}}"#
}

/// A chunk of the transfer; the empty one ends it.
fn framed(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}
