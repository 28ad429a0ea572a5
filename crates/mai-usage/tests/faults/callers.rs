//! Employees who chat, and what each of them saw.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::secrets::{ANSWER, EMAIL, PROMPT, TOKEN};

/// A model of the simulator that is told under one name only.
pub(crate) const MODEL: &str = "deepseek/deepseek-chat-v3.1";

/// One answer as its client saw it, from the head on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Seen {
    /// The Open WebUI user who asked.
    pub(crate) user_id: String,
    pub(crate) status: u16,
    /// `X-Generation-Id` of the head.
    pub(crate) generation_id: Option<String>,
    /// The body as far as it came.
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its proper end.
    pub(crate) whole: bool,
}

impl Seen {
    /// Without the body, where nobody will look at it: hours of answers are gigabytes.
    pub(crate) fn without_body(self) -> Self {
        Self { body: Vec::new(), ..self }
    }
}

/// What all clients saw, in the order of the ends.
pub(crate) type History = Arc<Mutex<Vec<Seen>>>;

/// One employee's question. `knobs` are the simulator's, for this call alone.
pub(crate) fn question(
    http: &reqwest::Client,
    proxy: SocketAddr,
    user_id: &str,
    body: &Value,
) -> reqwest::RequestBuilder {
    http.post(format!("http://{proxy}/v1/chat/completions"))
        .bearer_auth(TOKEN)
        .header("x-openwebui-user-id", user_id)
        .header("x-openwebui-user-email", EMAIL)
        .json(body)
}

/// The body of a chat.
pub(crate) fn chat(stream: bool, knobs: &Value) -> Value {
    let mut knobs = knobs.clone();
    if knobs.get("content").is_none() && knobs.get("chunks").is_none() {
        knobs["content"] = ANSWER.into();
    }
    json!({ "model": MODEL, "stream": stream, "sim": knobs, "messages": [{ "role": "user", "content": PROMPT }] })
}

/// Asks and reads to the end, whatever that is. `None` where no head came.
pub(crate) async fn ask(request: reqwest::RequestBuilder, user_id: &str) -> Option<Seen> {
    ask_until(request, user_id, |_| false).await
}

/// Asks, reads until the body is `enough`, and leaves. `None` where no head came.
pub(crate) async fn ask_until(
    request: reqwest::RequestBuilder,
    user_id: &str,
    enough: impl Fn(&[u8]) -> bool,
) -> Option<Seen> {
    Some(read_until(request.send().await.ok()?, user_id, enough).await)
}

/// Reads an answer until its body is `enough`, or to the end.
pub(crate) async fn read_until(
    mut answer: reqwest::Response,
    user_id: &str,
    enough: impl Fn(&[u8]) -> bool,
) -> Seen {
    let generation_id = answer.headers().get("x-generation-id").map(|id| id.to_str().unwrap().to_owned());
    let mut seen = Seen {
        user_id: user_id.to_owned(),
        status: answer.status().as_u16(),
        generation_id,
        body: Vec::new(),
        whole: false,
    };
    while !enough(&seen.body) {
        match answer.chunk().await {
            Ok(Some(piece)) => seen.body.extend_from_slice(&piece),
            Ok(None) => return Seen { whole: true, ..seen },
            Err(_) => return seen,
        }
    }
    seen
}
