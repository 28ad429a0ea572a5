//! Reading the settings from the environment. All problems are told at once.

use std::collections::HashMap;
use std::env::VarError;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use config::{Config, Environment};
use secrecy::SecretString;

use crate::declared::{DECLARED, Declared};
use crate::values::{Currency, LogFormat, SpendingLimit};

/// Shortest token that is accepted: a shorter one can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Longest text of a setting.
const LONGEST_TEXT: usize = 200;

/// The settings of the daemon. Secrets do not show in its `Debug`.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "every field is documented once, in `DECLARED`")]
pub struct Settings {
    pub openrouter_api_key: Option<SecretString>,
    pub openrouter_host: String,
    pub openrouter_external_user: Option<String>,
    pub organization_name: Option<String>,
    pub spending_limit: Option<SpendingLimit>,
    pub usage_proxy_token: Option<SecretString>,
    pub usage_admin_token: Option<SecretString>,
    pub openwebui_url: Option<String>,
    pub show_cost: bool,
    pub currency: Currency,
    pub frame_ancestors: http::HeaderValue,
    pub database_path: PathBuf,
    pub openwebui_user_jwt_secret: Option<SecretString>,
    pub poll_interval: Duration,
    pub billing_timezone: Option<String>,
    pub proxy_listen: SocketAddr,
    pub usage_listen: SocketAddr,
    pub calls_at_once: usize,
    pub app_url: http::HeaderValue,
    pub app_title: http::HeaderValue,
    pub log_level: String,
    pub log_format: LogFormat,
}

/// One setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting.
    pub name: &'static str,
    /// What is wrong and what would be right. It never shows a secret.
    pub what: String,
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid(
    /// The problems, in the order of [`DECLARED`].
    pub Vec<Problem>,
);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the settings cannot be used", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {}: {}", problem.name, problem.what))
    }
}

impl Settings {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// [`Invalid`] names everything that cannot be used.
    pub fn from_environment() -> Result<Self, Invalid> {
        // Only the declared names: what else is in the environment is nobody's business here, and need not even be text.
        let mut variables = Vec::new();
        let mut problems = Vec::new();
        for Declared { name, .. } in DECLARED {
            match std::env::var(name) {
                Ok(value) => variables.push((*name, value)),
                Err(VarError::NotPresent) => {}
                Err(VarError::NotUnicode(_)) => {
                    problems.push(Problem { name, what: "is not UTF-8 text".to_owned() });
                }
            }
        }
        if problems.is_empty() { Self::from_variables(variables) } else { Err(Invalid(problems)) }
    }

    /// Reads `variables` instead of the environment; those that are not declared count for nothing.
    ///
    /// # Errors
    /// [`Invalid`] names everything that cannot be used.
    pub fn from_variables<K: Into<String>, V: Into<String>>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Invalid> {
        // To `config` a name is a path: `a[0].b` would be a list of objects.
        let is_declared =
            |(name, _): &(String, String)| DECLARED.iter().any(|declared| declared.name == name);
        let variables =
            variables.into_iter().map(|(name, value)| (name.into(), value.into())).filter(is_declared);
        let environment = Environment::default().source(Some(variables.collect())).ignore_empty(true);
        let loaded = Config::builder()
            .add_source(environment)
            .build()
            .and_then(Config::try_deserialize::<HashMap<String, String>>);
        let values = loaded.map_err(|error| {
            Invalid(vec![Problem { name: "environment", what: format!("cannot be read: {error}") }])
        })?;
        let mut reader = Reader { values, problems: Vec::new() };
        let settings = reader.settings();
        match settings {
            Some(settings) if reader.problems.is_empty() => Ok(settings),
            _ => Err(Invalid(reader.problems)),
        }
    }
}

/// Reads one value after the other and remembers what is wrong.
struct Reader {
    values: HashMap<String, String>,
    problems: Vec<Problem>,
}

impl Reader {
    /// `None` where a value without which there are no settings cannot be used; the problems say why.
    fn settings(&mut self) -> Option<Settings> {
        let openrouter_api_key = self.secret("OPENROUTER_API_KEY", 1);
        let openrouter_host = self.read("OPENROUTER_HOST", base_url);
        let openrouter_external_user = self.read("OPENROUTER_EXTERNAL_USER", external_user);
        let organization_name = self.read("ORGANIZATION_NAME", short_text);
        let spending_limit = self.read("SPENDING_LIMIT", SpendingLimit::read);
        let usage_proxy_token = self.secret("USAGE_PROXY_TOKEN", SHORTEST_TOKEN);
        let usage_admin_token = self.secret("USAGE_ADMIN_TOKEN", SHORTEST_TOKEN);
        let openwebui_url = self.read("OPENWEBUI_URL", base_url);
        let show_cost = self.read("SHOW_COST", yes_or_no);
        let currency = self.currency();
        let frame_ancestors = self.read("FRAME_ANCESTORS", frame_ancestors);
        let database_path = self.read("DATABASE_PATH", |text| Ok(PathBuf::from(text)));
        let openwebui_user_jwt_secret = self.secret("OPENWEBUI_USER_JWT_SECRET", 1);
        let poll_interval = self.read("POLL_INTERVAL", seconds);
        let billing_timezone = self.read("BILLING_TIMEZONE", zone);
        let proxy_listen = self.read("PROXY_LISTEN", address);
        let usage_listen = self.read("USAGE_LISTEN", address);
        let calls_at_once = self.read("CALLS_AT_ONCE", calls);
        let app_url = self.read("APP_URL", header_value);
        let app_title = self.read("APP_TITLE", header_value);
        let log_level = self.read("LOG_LEVEL", |text| Ok(text.to_owned()));
        let log_format = self.read("LOG_FORMAT", log_format);
        Some(Settings {
            openrouter_api_key,
            openrouter_host: openrouter_host?,
            openrouter_external_user,
            organization_name,
            spending_limit,
            usage_proxy_token,
            usage_admin_token,
            openwebui_url,
            show_cost: show_cost?,
            currency: currency?,
            frame_ancestors: frame_ancestors?,
            database_path: database_path?,
            openwebui_user_jwt_secret,
            poll_interval: poll_interval?,
            billing_timezone,
            proxy_listen: proxy_listen?,
            usage_listen: usage_listen?,
            calls_at_once: calls_at_once?,
            app_url: app_url?,
            app_title: app_title?,
            log_level: log_level?,
            log_format: log_format?,
        })
    }

    /// A currency is nothing without what a dollar is worth in it.
    fn currency(&mut self) -> Option<Currency> {
        let code = self.read("CURRENCY", currency_code)?;
        let per_usd = self.read("CURRENCY_PER_USD", rate);
        match (code.as_str(), per_usd) {
            ("USD", None) => Some(Currency { code, per_usd: "1".to_owned() }),
            ("USD", Some(_)) => {
                let what = "is not needed, as CURRENCY is USD".to_owned();
                self.problems.push(Problem { name: "CURRENCY_PER_USD", what });
                None
            }
            (_, Some(per_usd)) => Some(Currency { code, per_usd }),
            (_, None) => {
                // A rate that cannot be read has been told already.
                if !self.problems.iter().any(|problem| problem.name == "CURRENCY_PER_USD") {
                    let what = format!("is needed, as CURRENCY is {code}");
                    self.problems.push(Problem { name: "CURRENCY_PER_USD", what });
                }
                None
            }
        }
    }

    /// The value of the declared setting `name`, or its default, as `read` understands it.
    fn read<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let default = DECLARED.iter().find(|declared| declared.name == name)?.default;
        let value = self.values.get(&name.to_ascii_lowercase()).map(|value| value.trim());
        let text = value.filter(|value| !value.is_empty()).or(default)?;
        match read(text) {
            Ok(value) => Some(value),
            Err(rule) => {
                self.problems.push(Problem { name, what: format!("{text:?} {rule}") });
                None
            }
        }
    }

    fn secret(&mut self, name: &'static str, shortest: usize) -> Option<SecretString> {
        debug_assert!(
            DECLARED.iter().any(|Declared { name: declared, secret, .. }| *declared == name && *secret)
        );
        let value = self.values.get(&name.to_ascii_lowercase())?.trim();
        let rule = if value.is_empty() {
            return None;
        } else if value.len() < shortest {
            Some(format!("must have at least {shortest} characters; hint: openssl rand -hex 32"))
        } else if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            Some("must be printable ASCII without blanks".to_owned())
        } else {
            None
        };
        match rule {
            None => Some(SecretString::from(value)),
            Some(what) => {
                self.problems.push(Problem { name, what });
                None
            }
        }
    }
}

fn base_url(text: &str) -> Result<String, &'static str> {
    const RULE: &str = "must be an http or https address without query, such as https://openrouter.ai/api/v1";
    let trimmed = text.trim_end_matches('/');
    let uri: http::Uri = trimmed.parse().map_err(|_| RULE)?;
    let known_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    if !known_scheme || uri.host().is_none_or(str::is_empty) || text.contains(['?', '#']) {
        return Err(RULE);
    }
    Ok(trimmed.to_owned())
}

/// What `OpenRouter` takes as `user` is at most 128 bytes; `_user_` + 12 characters are added.
fn external_user(text: &str) -> Result<String, &'static str> {
    const LONGEST: usize = 100;
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if text.len() > LONGEST || !text.bytes().all(sound) {
        return Err("must be at most 100 letters, digits, `_`, `-` or `.`");
    }
    Ok(text.to_owned())
}

fn short_text(text: &str) -> Result<String, &'static str> {
    if text.chars().count() > LONGEST_TEXT || text.chars().any(char::is_control) {
        return Err("must be at most 200 printable characters");
    }
    Ok(text.to_owned())
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    match text.parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("must be whole seconds from 1 to 86400"),
    }
}

fn calls(text: &str) -> Result<usize, &'static str> {
    match text.parse() {
        Ok(calls @ 1..=10_000) => Ok(calls),
        _ => Err("must be a whole number from 1 to 10000"),
    }
}

fn zone(text: &str) -> Result<String, &'static str> {
    match jiff::tz::TimeZone::get(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("must be an IANA time zone, such as Europe/Warsaw"),
    }
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "must be an address and a port, such as 127.0.0.1:8787")
}

fn header_value(text: &str) -> Result<http::HeaderValue, &'static str> {
    http::HeaderValue::from_str(text).map_err(|_| "must be printable ASCII")
}

fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    text.parse().map_err(|_| "must be `true` or `false`")
}

fn currency_code(text: &str) -> Result<String, &'static str> {
    let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_code { Ok(text.to_owned()) } else { Err("must be three capital letters, such as EUR") }
}

/// Plain decimal digits: the page reads it as they stand.
fn rate(text: &str) -> Result<String, &'static str> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(whole, 6) || !digits(fraction, 6) || text.bytes().all(|byte| b"0.".contains(&byte)) {
        return Err("must be a decimal number above 0 with at most six places, such as 4.05");
    }
    Ok(text.to_owned())
}

/// It becomes part of a header; a `;` or `,` would begin another rule. An `.env` file loses the quotes around `self`.
fn frame_ancestors(text: &str) -> Result<http::HeaderValue, &'static str> {
    const RULE: &str =
        "must be `self`, `none` or addresses such as https://chat.example.com, separated by blanks";
    let source = |source: &str| match source.trim_matches('\'') {
        word @ ("self" | "none") => Some(format!("'{word}'")),
        _ => is_origin(source).then(|| source.to_owned()),
    };
    let sources: Option<Vec<String>> = text.split_ascii_whitespace().map(source).collect();
    sources.and_then(|sources| http::HeaderValue::from_str(&sources.join(" ")).ok()).ok_or(RULE)
}

fn is_origin(text: &str) -> bool {
    let part_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:*[]".contains(&byte);
    text.split_once("://").is_some_and(|(scheme, host)| {
        matches!(scheme, "http" | "https") && !host.is_empty() && host.bytes().all(part_of_host)
    })
}

fn log_format(text: &str) -> Result<LogFormat, &'static str> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("must be `text` or `json`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_currency_needs_its_rate_and_a_frame_its_rule() {
        let of = |variables: &[(&str, &str)]| Settings::from_variables(variables.iter().copied());
        let zloty = of(&[("CURRENCY", "PLN"), ("CURRENCY_PER_USD", "4.05")]).unwrap();
        assert_eq!((zloty.currency.code.as_str(), zloty.currency.per_usd.as_str()), ("PLN", "4.05"));
        assert_eq!(of(&[]).unwrap().currency.per_usd, "1");
        for wrong in [
            &[("CURRENCY", "PLN")][..],
            &[("CURRENCY_PER_USD", "4.05")],
            &[("CURRENCY", "zł"), ("CURRENCY_PER_USD", "4.05")],
            &[("CURRENCY", "PLN"), ("CURRENCY_PER_USD", "4,05")],
            &[("CURRENCY", "PLN"), ("CURRENCY_PER_USD", "0.0")],
            &[("SHOW_COST", "yes")],
            &[("OPENWEBUI_URL", "open-webui:8080")],
            &[("FRAME_ANCESTORS", "*")],
            &[("FRAME_ANCESTORS", "https://a.example; script-src *")],
            &[("FRAME_ANCESTORS", "https://a.example/path")],
        ] {
            assert_eq!(of(wrong).unwrap_err().0.len(), 1, "{wrong:?}");
        }
        assert_eq!(
            of(&[("FRAME_ANCESTORS", "'self' https://*.example.com:8443")]).unwrap().frame_ancestors,
            "'self' https://*.example.com:8443"
        );
    }

    #[test]
    fn nothing_set_is_enough_to_start() {
        let settings = Settings::from_variables::<String, String>([]).unwrap();
        assert_eq!(settings.openrouter_host, "https://openrouter.ai/api/v1");
        assert_eq!(settings.poll_interval, Duration::from_mins(10));
        assert_eq!(settings.proxy_listen.port(), 8787);
        assert_eq!(settings.calls_at_once, 1_024);
        assert!(settings.openrouter_api_key.is_none());
    }

    #[test]
    fn empty_is_not_set_and_blanks_do_not_count() {
        let settings = Settings::from_variables([
            ("OPENROUTER_API_KEY", ""),
            ("ORGANIZATION_NAME", "  Company_A "),
            ("OPENROUTER_HOST", "http://127.0.0.1:9/api/v1/"),
            ("SPENDING_LIMIT", "Unlimited"),
        ])
        .unwrap();
        assert!(settings.openrouter_api_key.is_none());
        assert_eq!(settings.organization_name.as_deref(), Some("Company_A"));
        assert_eq!(settings.openrouter_host, "http://127.0.0.1:9/api/v1");
        assert_eq!(settings.spending_limit, Some(SpendingLimit::Unlimited));
    }

    #[test]
    fn all_problems_are_told_at_once_and_no_secret_is_shown() {
        let invalid = Settings::from_variables([
            ("OPENROUTER_API_KEY", "sk-or-v1-two words"),
            ("OPENROUTER_HOST", "openrouter.ai"),
            ("OPENROUTER_EXTERNAL_USER", "a b"),
            ("SPENDING_LIMIT", "-5"),
            ("USAGE_PROXY_TOKEN", "hunter2"),
            ("POLL_INTERVAL", "0"),
            ("BILLING_TIMEZONE", "Europe/Warszawa"),
            ("PROXY_LISTEN", "8787"),
            ("CALLS_AT_ONCE", "10001"),
            ("LOG_FORMAT", "xml"),
        ])
        .unwrap_err();
        assert_eq!(invalid.0.len(), 10);
        let text = invalid.to_string();
        for (name, shown) in
            [("PROXY_LISTEN", "127.0.0.1:8787"), ("BILLING_TIMEZONE", "Warszawa"), ("POLL_INTERVAL", "86400")]
        {
            assert!(text.contains(name) && text.contains(shown), "{text}");
        }
        assert!(!text.contains("hunter2") && !text.contains("two words"), "{text}");
    }

    #[test]
    fn names_that_are_not_declared_count_for_nothing() {
        for name in ["PROXY_LISTEN[0].x", "A.B", "", "proxy_listen"] {
            let settings = Settings::from_variables([(name, "x")]).unwrap();
            assert_eq!(settings.proxy_listen.port(), 8787, "{name}");
        }
    }

    #[test]
    fn limits_are_plain_dollars() {
        for text in ["1", "250.00", "0.01", "9999999"] {
            assert_eq!(SpendingLimit::read(text), Ok(SpendingLimit::Usd(text.into())), "{text}");
        }
        for text in ["0", "0.00", "1.", ".5", "1e3", "1,5", "100000000", "1.001", "abc"] {
            assert!(SpendingLimit::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let settings = Settings::from_variables([("USAGE_ADMIN_TOKEN", "canary-canary-canary")]).unwrap();
        assert!(!format!("{settings:?}").contains("canary"));
    }
}
