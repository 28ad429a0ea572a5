//! Row 17: who claims to be whom.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use openrouter_sim::{DEFAULT_KEY, Options, Simulator};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};
use sha2::{Sha256, Sha384, Sha512};

use crate::callers::chat;
use crate::checker::{connect, external_user, verify};
use crate::raw::{exchange, status};
use crate::raw_upstream::{Heard, Pieces, RawUpstream};
use crate::secrets::{ADMIN, EMAIL, JWT_SECRET, TOKEN};
use crate::sidecar::Setup;
use crate::trial::{Outcome, Trial};

/// Who everybody wants to be.
const BOSS: &str = "the-boss";

/// Who really asks, where somebody does.
const ANNA: &str = "8b216b38-ee09-4853-8742-6e136d2295b6";

/// To whom what is not believed is booked.
const NOBODY: &str = "unattributed";

/// The only name of the signed header.
const SIGNED: &str = "X-OpenWebUI-User-Jwt";

/// The plain headers of Open `WebUI`, which say nothing where a secret is set.
const PLAIN: [(&str, &str); 4] = [
    ("X-OpenWebUI-User-Id", BOSS),
    ("X-OpenWebUI-User-Name", "The%20Boss"),
    ("X-OpenWebUI-User-Email", EMAIL),
    ("X-OpenWebUI-User-Role", "admin"),
];

type Headers = Vec<(String, String)>;

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn encode(part: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(part)
}

fn hs256(signed: &str, secret: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// A token with any header and claims, signed by HS256.
fn token(header: &str, claims: &str, secret: &str) -> String {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = encode(hs256(&signed, secret));
    format!("{signed}.{signature}")
}

/// What Open `WebUI` says of a user, in the second `now`.
fn claims(user_id: &str, now: i64) -> Value {
    json!({ "sub": user_id, "email": EMAIL, "name": "Anna Żółć", "role": "user", "iss": "open-webui", "iat": now,
        "exp": now + 300 })
}

/// The claims of the boss with one of them changed, or taken away.
fn changed(now: i64, name: &str, value: Option<Value>) -> String {
    let mut claims = claims(BOSS, now);
    match value {
        Some(value) => claims[name] = value,
        None => _ = claims.as_object_mut().unwrap().remove(name),
    }
    claims.to_string()
}

fn sound(user_id: &str, now: i64) -> String {
    token(HEADER, &claims(user_id, now).to_string(), JWT_SECRET)
}

/// Tokens whose signature is not the secret's, or not over what they say.
fn badly_signed(now: i64) -> Vec<String> {
    let boss = claims(BOSS, now).to_string();
    let (of_boss, of_anna) = (sound(BOSS, now), sound(ANNA, now));
    let (signed, signature) = of_boss.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let (_, annas_signature) = of_anna.rsplit_once('.').unwrap();
    let raw = hs256(signed, JWT_SECRET);
    let upper = JWT_SECRET.to_ascii_uppercase();
    let secrets = [
        "",
        " ",
        "other",
        "secret",
        "null",
        &upper,
        &JWT_SECRET[1..],
        TOKEN,
        ADMIN,
        DEFAULT_KEY,
        "t0p-s3cr3t",
    ];
    let mut tokens: Vec<_> = secrets.iter().map(|secret| token(HEADER, &boss, secret)).collect();
    tokens.push(token(HEADER, &boss, &format!("{JWT_SECRET}\n")));
    tokens.push(token(HEADER, &boss, &format!(" {JWT_SECRET}")));
    tokens.push(token(HEADER, &boss, &encode(JWT_SECRET)));
    tokens.extend([0, 1, 15, 31].map(|byte| {
        let mut flipped = raw.clone();
        flipped[byte] ^= 1;
        format!("{signed}.{}", encode(flipped))
    }));
    tokens.extend([0, 1, 16, 31].map(|length| format!("{signed}.{}", encode(&raw[..length]))));
    tokens.extend([
        format!("{signed}.{annas_signature}"),
        format!("{signed}.{}", encode([&raw[..], b"x"].concat())),
        format!("{signed}.{}", encode([0; 32])),
        format!("{signed}.{}", encode(hs256(&format!("{signed}."), JWT_SECRET))),
        format!("{signed}.{}", encode(hs256(&encode(&boss), JWT_SECRET))),
        format!("{signed}.{}", hex(&raw)),
        format!("{signed}.{}", BASE64_URL_SAFE.encode(&raw)),
        format!("{signed}.{}", BASE64_STANDARD.encode([0xff; 32])),
        format!("{header}.{}.{signature}", encode(changed(now, "role", Some("admin".into())))),
        format!("{header}.{}.{annas_signature}", encode(&boss)),
        format!("{}.{}.{signature}", encode(r#"{"alg":"HS256"}"#), encode(&boss)),
    ]);
    tokens
}

/// Tokens that name another algorithm, whatever signs them.
fn other_algorithms(now: i64) -> Vec<String> {
    let boss = claims(BOSS, now).to_string();
    let headers = [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"NONE"}"#,
        r#"{"alg":"nOnE"}"#,
        r#"{"alg":""}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":{"HS256":1}}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":" HS256"}"#,
        r#"{"alg":"HS384"}"#,
        r#"{"alg":"HS512"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"PS256"}"#,
        r#"{"alg":"EdDSA"}"#,
        r#"{"alg":"dir","enc":"A256GCM"}"#,
        r#"{"ALG":"HS256"}"#,
        r#"{"typ":"JWT"}"#,
        "{}",
        "[]",
        "null",
        "",
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
    ];
    let unsigned = |header: &str| format!("{}.{}.", encode(header), encode(&boss));
    let mut tokens: Vec<_> = headers.iter().map(|header| unsigned(header)).collect();
    tokens.extend(headers.iter().map(|header| token(header, &boss, JWT_SECRET)));
    for elsewhere in [
        "\"kid\":\"../../dev/null\"",
        "\"jku\":\"http://127.0.0.1/keys\"",
        "\"jwk\":{\"kty\":\"oct\",\"k\":\"\"}",
    ] {
        tokens.push(token(&format!(r#"{{"alg":"HS256",{elsewhere}}}"#), &boss, ""));
    }
    let longer = |header: &str, sign: &dyn Fn(&str) -> Vec<u8>| {
        let signed = format!("{}.{}", encode(header), encode(&boss));
        let signature = encode(sign(&signed));
        format!("{signed}.{signature}")
    };
    let hs384 = |signed: &str| {
        let mut mac = Hmac::<Sha384>::new_from_slice(JWT_SECRET.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let hs512 = |signed: &str| {
        let mut mac = Hmac::<Sha512>::new_from_slice(JWT_SECRET.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    tokens.extend([
        longer(r#"{"alg":"HS384"}"#, &hs384),
        longer(HEADER, &hs384),
        longer(r#"{"alg":"HS512"}"#, &hs512),
        longer(HEADER, &hs512),
    ]);
    tokens
}

/// Tokens that are signed as they should be, and say what is not believed.
fn badly_claimed(now: i64) -> Vec<String> {
    let text = |text: &str| Some(Value::from(text));
    let mut tokens: Vec<_> = [
        ("exp", None),
        ("exp", Some(Value::Null)),
        ("exp", Some(0.into())),
        ("exp", Some((-1).into())),
        ("exp", Some((now - 120).into())),
        ("exp", Some((now - 86_400).into())),
        ("exp", text("9999999999")),
        ("exp", Some(1e30.into())),
        ("exp", Some(json!([now + 300]))),
        ("iat", None),
        ("iat", Some(Value::Null)),
        ("iat", Some((now + 3600).into())),
        ("iat", Some((now + 180).into())),
        ("iat", text("0")),
        ("iss", None),
        ("iss", Some(Value::Null)),
        ("iss", text("")),
        ("iss", text("Open-WebUI")),
        ("iss", text("open-webui ")),
        ("iss", text("mai")),
        ("iss", Some(json!(["open-webui"]))),
        ("sub", None),
        ("sub", Some(Value::Null)),
        ("sub", text("")),
        ("sub", Some(7.into())),
        ("sub", Some(true.into())),
        ("sub", Some(json!({ "id": BOSS }))),
        ("sub", text(NOBODY)),
        ("sub", text(&"x".repeat(600))),
        ("sub", text("the\nboss")),
        ("sub", text("the\0boss")),
        ("name", text("a\r\nb")),
        ("email", text(&"x".repeat(600))),
        ("role", Some(json!(["admin"]))),
    ]
    .into_iter()
    .map(|(name, value)| token(HEADER, &changed(now, name, value), JWT_SECRET))
    .collect();
    let twice = format!(r#"{{"sub":"{ANNA}",{}"#, &claims(BOSS, now).to_string()[1..]);
    let others =
        [twice, format!("[{}]", claims(BOSS, now)), "{}".to_owned(), "null".to_owned(), String::new()];
    tokens.extend(others.iter().map(|claims| token(HEADER, claims, JWT_SECRET)));
    tokens
}

/// Sound tokens whose text was spoilt.
fn badly_written(now: i64) -> Vec<String> {
    let boss = sound(BOSS, now);
    let (signed, signature) = boss.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let middle = boss.len() / 2;
    vec![
        format!(".{boss}"),
        format!("{boss}."),
        format!("{boss}.."),
        format!("{boss}.{signature}"),
        format!("{header}..{claims}.{signature}"),
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!("{header}.{claims}.{signature}.x.y"),
        format!("{claims}.{header}.{signature}"),
        claims.to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        boss[..boss.len() - 1].to_owned(),
        boss[..middle].to_owned(),
        boss[1..].to_owned(),
        format!("{boss}x"),
        format!("{boss}="),
        format!("{header} .{claims}.{signature}"),
        format!("{header}.{claims}\t.{signature}"),
        format!("{header}. {claims}. {signature}"),
        format!("Bearer {boss}"),
        format!("\"{boss}\""),
        format!("{boss},{boss}"),
        format!("{boss}, {}", sound(ANNA, now)),
        boss.replace('.', "%2e"),
        boss.replace('.', "．"),
        boss.to_ascii_lowercase(),
        json!({ "protected": header, "payload": claims, "signature": signature }).to_string(),
        json!({ "sub": BOSS }).to_string(),
        BOSS.to_owned(),
        format!("{boss}{}", "x".repeat(40_000)),
        format!("{header}.{}.{signature}", "x".repeat(40_000)),
        "x".repeat(50_000),
        // More than a head may have; nothing of it is sent.
        "x".repeat(100_000),
    ]
}

/// Every way to claim to be somebody without the secret.
fn forgeries(now: i64) -> Vec<Headers> {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let plain: Headers = PLAIN.iter().map(|(name, value)| header(name, value)).collect();
    let tokens = [badly_signed(now), other_algorithms(now), badly_claimed(now), badly_written(now)].concat();
    let mut forgeries = Vec::new();
    for (place, token) in tokens.iter().enumerate() {
        let signed = header(SIGNED, token);
        forgeries.push(vec![signed.clone()]);
        forgeries.push(match place % 4 {
            0 => [&plain[..], &[signed]].concat(),
            1 => [&[signed], &plain[..]].concat(),
            2 => vec![signed.clone(), header(SIGNED, &sound(BOSS, now))],
            _ => vec![header(SIGNED, &sound(BOSS, now)), signed],
        });
    }
    let (boss, anna) = (sound(BOSS, now), sound(ANNA, now));
    forgeries.push(vec![header(SIGNED, &boss), header(SIGNED, &boss)]);
    forgeries.push(vec![header(SIGNED, &anna), header(SIGNED, &boss)]);
    forgeries.push(vec![header(SIGNED, ""), header(SIGNED, &boss)]);
    // Plain headers alone: all of them, each one, and the id again and again.
    forgeries.push(plain.clone());
    forgeries.extend(plain.iter().map(|one| vec![one.clone()]));
    forgeries.push([&plain[..], &plain[..]].concat());
    forgeries.push([&plain[..], &[header(SIGNED, "")]].concat());
    for id in ["", " ", "admin", "0", "*", ANNA, NOBODY, "ANNA", "%74he-boss", "ż", "' OR 1=1 --", "../../x"]
    {
        forgeries.push(vec![header("X-OpenWebUI-User-Id", id)]);
    }
    // Names that are not the header's, with a token that would be believed there.
    for name in [
        "X_OpenWebUI_User_Jwt",
        "X-OpenWebUI-Jwt",
        "X-OpenWebUI-User-Token",
        "X-OpenWebUI-UserJwt",
        "X-User-Jwt",
        "Forwarded",
        "Proxy-Authorization",
        "X-Auth-Token",
        "X-Original-X-OpenWebUI-User-Jwt",
    ] {
        forgeries.push(vec![header(name, &boss)]);
    }
    forgeries.push(vec![header("Cookie", &format!("token={boss}; {SIGNED}={boss}"))]);
    for name in
        ["X-Forwarded-User", "Remote-User", "X-User-Id", "X-External-User", "From", "OpenAI-User", "User"]
    {
        forgeries.push(vec![header(name, BOSS)]);
    }
    forgeries
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Sends a body with these headers; the status of the answer.
async fn send(proxy: SocketAddr, path: &str, headers: &Headers, body: &[u8]) -> u16 {
    let mut bytes = format!(
        "POST /api/v1/{path} HTTP/1.1\r\nhost: mai-usage\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\
         content-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        bytes.extend([name, ": ", value, "\r\n"]);
    }
    let bytes = [bytes.as_bytes(), b"\r\n", body].concat();
    status(&exchange(proxy, &bytes).await).unwrap_or(400)
}

/// How many calls each user has.
async fn calls_of(setup: &Setup) -> Vec<(String, i64)> {
    let mut connection = connect(&setup.database).await;
    let counts = "SELECT user_id, count(*) FROM calls GROUP BY user_id ORDER BY user_id";
    sqlx::query_as(counts).fetch_all(&mut connection).await.unwrap()
}

/// What the headers claim: against the simulator, whose bill names the user. How many were booked, and how many refused.
async fn in_headers(trial: &Trial) -> (i64, i64) {
    const CONTROLS: i64 = 3;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let setup = Setup::new(trial, &simulator).with("OPENWEBUI_USER_JWT_SECRET", JWT_SECRET);
    let sidecar = setup.start().await;
    let body = chat(false, &json!({})).to_string();
    let json = ("content-type".to_owned(), "application/json".to_owned());
    let now = || simulator.now_ms() / 1000;
    let (mut booked, mut refused) = (0, 0);
    for mut headers in forgeries(now()) {
        headers.push(json.clone());
        let before = simulator.requests().len();
        match send(sidecar.proxy, "chat/completions", &headers, body.as_bytes()).await {
            200 => {
                booked += 1;
                let seen = simulator.requests().split_off(before);
                let call = seen.iter().find(|seen| seen.method == "POST").unwrap();
                assert_eq!(call.user, Some(external_user(NOBODY)), "believed: {headers:?}");
                let told =
                    call.headers.iter().any(|(name, _)| name.contains("openwebui") || name == "cookie");
                assert!(!told, "an identity left the house: {:?}", call.headers);
            }
            400..500 => refused += 1,
            other => panic!("{other} for {headers:?}"),
        }
    }
    // As Open WebUI signs it; with blanks around it, as HTTP allows; beside plain headers that say something else.
    let anna = sound(ANNA, now());
    let plain = PLAIN.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let alone = vec![json.clone(), (SIGNED.to_owned(), anna.clone())];
    let blanks = vec![json.clone(), (SIGNED.to_ascii_lowercase(), format!(" \t{anna} "))];
    let beside = [&alone[..], &plain[..]].concat();
    for headers in [alone, blanks, beside] {
        assert_eq!(send(sidecar.proxy, "chat/completions", &headers, body.as_bytes()).await, 200);
    }
    let bill = simulator.truth();
    let of_anna = bill.iter().filter(|charge| charge.external_user == Some(external_user(ANNA))).count();
    assert_eq!(of_anna, 3, "a sound signature is not believed");
    assert_eq!(calls_of(&setup).await, [(ANNA.to_owned(), CONTROLS), (NOBODY.to_owned(), booked)]);
    assert_eq!(bill.len(), usize::try_from(booked + CONTROLS).unwrap());
    verify(&setup.database);
    (booked, refused)
}

/// The members of an object, repeated ones too.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// Bodies with a user of their own that are sound JSON: sent, with ours in its place.
const USERS: [&str; 24] = [
    r#"{"user":"the-boss"}"#,
    r#"{"model":"a/b","user":"the-boss"}"#,
    r#"{"user":"the-boss","model":"a/b"}"#,
    r#"{"user":"the-boss","user":"the-boss"}"#,
    r#"{"user":"the-boss","model":"a/b","user":"x","user":null}"#,
    r#"{"\u0075ser":"the-boss"}"#,
    r#"{"\u0075\u0073\u0065\u0072":"the-boss"}"#,
    r#"{"us\u0065r":"the-boss","user":"the-boss"}"#,
    r#"{"user":"the-boss","use\u0072":"the-boss"}"#,
    r#"{"user":null}"#,
    r#"{"user":7}"#,
    r#"{"user":true}"#,
    r#"{"user":["the-boss"]}"#,
    r#"{"user":{"id":"the-boss","user":"the-boss"}}"#,
    r#"{"user":""}"#,
    r#"{"user":"the\"boss\\","a":"}"}"#,
    "{ \"user\" :\t\"the-boss\"\r\n, \"a\" : \"b\" }",
    "\n\n  {\"user\":\"the-boss\"}  \n",
    r#"{"metadata":{"user":"the-boss"},"messages":[{"user":"the-boss"}]}"#,
    r#"{"messages":[{"role":"user","content":"\"user\":\"the-boss\""}]}"#,
    r#"{"a":"{\"user\":\"the-boss\"}","user ":"x","User":"x","user\u0000":"x"}"#,
    r#"{"prompt":"\\","user":"the-boss"}"#,
    r#"{"a":"\u0022,\u0022user\u0022:\u0022the-boss"}"#,
    "{}",
];

/// Bodies that some readers understand and some do not: never sent.
const UNSOUND: [&[u8]; 20] = [
    b"{\"user\":\"the-boss\"}{\"user\":\"the-boss\"}",
    b"{}\n{\"user\":\"the-boss\"}",
    b"[{\"user\":\"the-boss\"}]",
    b"\"user\"",
    b"\xef\xbb\xbf{\"user\":\"the-boss\"}",
    b"{'user':'the-boss'}",
    b"{user:\"the-boss\"}",
    b"{\"user\":\"the-boss\",}",
    b"{\"a\":1 \"user\":\"the-boss\"}",
    b"{/**/\"user\":\"the-boss\"}",
    b"{\"user\":\"the-boss\"} // x",
    b"{\"user\":\"the-\nboss\"}",
    b"{\"us\\ud800er\":\"the-boss\"}",
    b"{\"us\xff\":1,\"user\":\"the-boss\"}",
    b"{\"us\0er\":\"the-boss\"}",
    b"{\0\"\0u\0s\0e\0r\0\"\0:\0\"\0x\0\"\0}\0",
    b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0\x43\xbf\xa6\xa3\x02\0\0\0",
    b"user=the-boss",
    b"{\"a\":NaN,\"user\":\"the-boss\"}",
    b"",
];

const JSON_ENDPOINTS: [&str; 10] = [
    "chat/completions",
    "completions",
    "responses",
    "messages",
    "embeddings",
    "rerank",
    "images",
    "images/generations",
    "audio/speech",
    "audio/transcriptions",
];

/// Forms with a user of their own, or in which one could be seen by another reader. `~` is a line's end.
const FORMS: [(&str, &str); 22] = [
    ("boundary=B", "--B~Content-Disposition: form-data; name=\"user\"~~the-boss~--B--~"),
    ("boundary=B", "--B~content-disposition: FORM-DATA; name=\"user\"~~the-boss~--B--~"),
    ("boundary=B", "--B~Content-Disposition: form-data; name=\"User\"~~the-boss~--B--~"),
    ("boundary=B", "--B~Content-Disposition: form-data; name=user~~the-boss~--B--~"),
    ("boundary=B", "--B~Content-Disposition: form-data; name='user'~~the-boss~--B--~"),
    ("boundary=B", "--B~Content-Disposition: form-data; name*=UTF-8''user~~the-boss~--B--~"),
    ("boundary=B", "--B~Content-Disposition: form-data; name=\"a\"; name=\"user\"~~the-boss~--B--~"),
    ("boundary=B", "--B~Content-Disposition: form-data; name=\"us\\er\"~~the-boss~--B--~"),
    ("boundary=B", "--B~Content-Disposition: form-data;~ name=\"user\"~~the-boss~--B--~"),
    ("boundary=B", "--B~X: y\nContent-Disposition: form-data; name=\"user\"~~the-boss~--B--~"),
    ("boundary=B", "--B\nContent-Disposition: form-data; name=\"user\"\n\nthe-boss\n--B--\n"),
    (
        "boundary=B",
        "--B~Content-Disposition: form-data; name=\"a\"~Content-Disposition: form-data; name=\"user\"~~x~--B--~",
    ),
    ("boundary=B", "preamble~--B~Content-Disposition: form-data; name=\"user\"~~the-boss~--B--~"),
    ("boundary=B", "--B~Content-Disposition: form-data; a=\"--B\"; name=\"user\"~~the-boss~--B--~"),
    // Behind an end that is none for everybody.
    (
        "boundary=B",
        "--B~Content-Disposition: form-data; name=\"a\"~~x~--B--x~--B~Content-Disposition: form-data; name=\"user\"~~x~--B--~",
    ),
    (
        "boundary=B",
        "--B~Content-Disposition: form-data; name=\"a\"~~x~--B--~--B~Content-Disposition: form-data; name=\"user\"~~x~--B--~",
    ),
    // Two boundaries.
    (
        "boundary=A; boundary=B",
        "--A~Content-Disposition: form-data; name=\"a\"~~x~--B~Content-Disposition: form-data; name=\"user\"~~the-boss~--B--~--A--~",
    ),
    (
        "boundary=A; Boundary=B",
        "--A~Content-Disposition: form-data; name=\"a\"~~x~--B~Content-Disposition: form-data; name=\"user\"~~the-boss~--B--~--A--~",
    ),
    (
        "boundary=A; boundary*=B",
        "--A~Content-Disposition: form-data; name=\"a\"~~x~--B~Content-Disposition: form-data; name=\"user\"~~the-boss~--B--~--A--~",
    ),
    ("boundary=\"A;B\"", "--A;B~X: y~~x~--A;B~Content-Disposition: form-data; name=\"a\"~~x~--A;B--~"),
    (
        "x=\";boundary=A;\"; boundary=B",
        "--A~Content-Disposition: form-data; name=\"a\"~~x~--B~Content-Disposition: form-data; name=\"user\"~~the-boss~--B--~--A--~",
    ),
    (
        "boundary=A\r\ncontent-type: multipart/form-data; boundary=B",
        "--A~Content-Disposition: form-data; name=\"a\"~~x~--B~Content-Disposition: form-data; name=\"user\"~~the-boss~--B--~--A--~",
    ),
];

/// What is heard of it has our user, once for every time it names one, and at least once.
fn assert_user(heard: &Heard, user_id: &str) {
    let Members(members) = serde_json::from_slice(&heard.body).unwrap();
    let users: Vec<_> = members.iter().filter(|(name, _)| name == "user").map(|(_, value)| value).collect();
    let ours = Value::from(external_user(user_id));
    let body = String::from_utf8_lossy(&heard.body);
    assert!(!users.is_empty() && users.iter().all(|user| **user == ours), "sent with {users:?}: {body}");
}

/// A plain answer with an id of its own.
fn answer(_: &Heard) -> Pieces {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let body = format!(r#"{{"id":"gen-1790000000-{id}","usage":{{"cost":0.001}}}}"#);
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    vec![[head, body].concat().into_bytes()]
}

/// What the body claims: against an upstream that keeps every byte. How many were sent with our user, how many refused.
async fn in_bodies(trial: &Trial, simulator: &Simulator) -> (i64, i64) {
    let upstream = RawUpstream::start(answer).await;
    let mut setup = Setup::new(trial, simulator).with("OPENWEBUI_USER_JWT_SECRET", JWT_SECRET);
    (setup.upstream, setup.database) = (upstream.base_url(), trial.path("bodies.db"));
    let sidecar = setup.start().await;
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let kind = header("content-type", "application/json");
    let (mut of_anna, mut of_nobody, mut refused) = (0, 0, 0);
    for (turn, path) in JSON_ENDPOINTS.into_iter().enumerate() {
        for (place, body) in USERS.iter().enumerate() {
            let named = (turn + place) % 2 == 0;
            let mut headers = vec![kind.clone()];
            if named {
                headers.push(header(SIGNED, &sound(ANNA, simulator.now_ms() / 1000)));
            }
            assert_eq!(send(sidecar.proxy, path, &headers, body.as_bytes()).await, 200, "{path} {body}");
            assert_user(upstream.heard().last().unwrap(), if named { ANNA } else { NOBODY });
            *(if named { &mut of_anna } else { &mut of_nobody }) += 1;
        }
        for body in UNSOUND {
            let status = send(sidecar.proxy, path, &vec![kind.clone()], body).await;
            assert_eq!(status, 400, "{path} {:?}", String::from_utf8_lossy(body));
            refused += 1;
        }
    }
    for (boundary, body) in FORMS {
        let headers = vec![header("content-type", &format!("multipart/form-data; {boundary}"))];
        let body = body.replace('~', "\r\n");
        let status = send(sidecar.proxy, "audio/transcriptions", &headers, body.as_bytes()).await;
        assert_eq!(status, 400, "{boundary} {body}");
        refused += 1;
    }
    let form = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"user.mp3\"\r\n\r\nuser\r\n--B--\r\n";
    let headers = vec![header("content-type", "multipart/form-data; boundary=B")];
    assert_eq!(
        send(sidecar.proxy, "audio/transcriptions", &headers, form.as_bytes()).await,
        200,
        "a sound form"
    );
    let part = format!("name=\"user\"\r\n\r\n{}\r\n", external_user(NOBODY));
    let heard = upstream.heard();
    assert!(String::from_utf8_lossy(&heard.last().unwrap().body).contains(&part), "a form without our user");
    of_nobody += 1;
    assert_eq!(calls_of(&setup).await, [(ANNA.to_owned(), of_anna), (NOBODY.to_owned(), of_nobody)]);
    assert_eq!(heard.len(), usize::try_from(of_anna + of_nobody).unwrap());
    verify(&setup.database);
    (of_anna + of_nobody, refused)
}

/// Row 17.
pub(crate) async fn forgeries_of_all_kinds(trial: Trial) -> Outcome {
    let (booked, refused) = in_headers(&trial).await;
    assert!(booked >= 200 && refused == 2, "{booked} forgeries, {refused} refused");
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let (replaced, not_sent) = in_bodies(&trial, &simulator).await;
    Outcome::Counts(format!(
        "{} forged headers: 0 believed, {booked} booked to nobody, {refused} refused; {} bodies with a user: {replaced} \
         sent with ours, {not_sent} refused; sound signatures believed",
        booked + refused,
        replaced + not_sent
    ))
}
