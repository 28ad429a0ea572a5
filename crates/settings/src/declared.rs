//! The list of settings.

/// One setting as people see it.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// The name of the environment variable.
    pub name: &'static str,
    /// What it is when it is not set; `None` where there is no default.
    pub default: Option<&'static str>,
    /// True where the value must never be shown.
    pub secret: bool,
    /// What it means, in Markdown.
    pub doc: &'static str,
}

/// Every setting, in the order of the documentation.
pub const DECLARED: &[Declared] = &[
    Declared {
        name: "OPENROUTER_API_KEY",
        default: None,
        secret: true,
        doc: "The organisation's OpenRouter key. Without it the key that somebody types into Settings → \
              Connections is learned if OpenRouter accepts it; the last one counts.",
    },
    Declared {
        name: "OPENROUTER_HOST",
        default: Some("https://openrouter.ai/api/v1"),
        secret: false,
        doc: "Where OpenRouter is, with the path its API starts at.",
    },
    Declared {
        name: "OPENROUTER_EXTERNAL_USER",
        default: None,
        secret: false,
        doc: "The organisation's id, the prefix of what OpenRouter is told of its users. Without it the recorded \
              organisation keeps its id, and a new one gets `mai_client_` + the first 8 hex digits of the MD5 of \
              its name.",
    },
    Declared {
        name: "ORGANIZATION_NAME",
        default: None,
        secret: false,
        doc: "The organisation's name, at most 200 characters. Without it the recorded name stays; a new one is \
              `My Organization`.",
    },
    Declared {
        name: "SPENDING_LIMIT",
        default: None,
        secret: false,
        doc: "What the organisation may spend a month, in US dollars, or `unlimited`. It is recorded with the \
              organisation; OpenRouter enforces the limit of the key itself.",
    },
    Declared {
        name: "USAGE_PROXY_TOKEN",
        default: None,
        secret: true,
        doc: "What the mAI container presents as its API key, at least 16 characters. With it the OpenRouter key \
              never enters that container.",
    },
    Declared {
        name: "USAGE_ADMIN_TOKEN",
        default: None,
        secret: true,
        doc: "What tools present to the usage API, at least 16 characters. It reads everything, costs included.",
    },
    Declared {
        name: "OPENWEBUI_URL",
        default: None,
        secret: false,
        doc: "Where Open WebUI is, as seen from the sidecar, such as `http://open-webui:8080`. With it whoever is signed \
              in there reads the usage API: admins the organisation, employees their own usage.",
    },
    Declared {
        name: "SHOW_COST",
        default: Some("false"),
        secret: false,
        doc: "`true` shows admins and employees OpenRouter's cost beside what the organisation pays.",
    },
    Declared {
        name: "CURRENCY",
        default: Some("USD"),
        secret: false,
        doc: "The currency the page shows, by its three letters. Amounts are recorded and exported in US dollars.",
    },
    Declared {
        name: "CURRENCY_PER_USD",
        default: None,
        secret: false,
        doc: "What a US dollar is worth in `CURRENCY`, such as `4.05`; needed unless that is `USD`.",
    },
    Declared {
        name: "FRAME_ANCESTORS",
        default: Some("self"),
        secret: false,
        doc: "Which sites may show the page in a frame: `self`, `none`, or addresses such as \
              `https://chat.example.com`, separated by blanks.",
    },
    Declared {
        name: "DATABASE_PATH",
        default: Some("mai-usage.db"),
        secret: false,
        doc: "The database file. It is made with mode 0600; one that others may read is refused.",
    },
    Declared {
        name: "OPENWEBUI_USER_JWT_SECRET",
        default: None,
        secret: true,
        doc: "Open WebUI's `FORWARD_USER_INFO_HEADER_JWT_SECRET`. With it only the signed header names a user.",
    },
    Declared {
        name: "POLL_INTERVAL",
        default: Some("600"),
        secret: false,
        doc: "Seconds between two polls of OpenRouter, 1 to 86400.",
    },
    Declared {
        name: "BILLING_TIMEZONE",
        default: None,
        secret: false,
        doc: "The IANA zone whose days are the billing days. Without it the recorded zone stays; a new \
              organisation gets `Europe/Warsaw`.",
    },
    Declared {
        name: "PROXY_LISTEN",
        default: Some("127.0.0.1:8787"),
        secret: false,
        doc: "Where the proxy listens, address and port. Never publish this port.",
    },
    Declared {
        name: "USAGE_LISTEN",
        default: Some("127.0.0.1:8788"),
        secret: false,
        doc: "Where the usage API and the health check listen, address and port. Publish it on 127.0.0.1 only, \
              for a reverse proxy.",
    },
    Declared {
        name: "CALLS_AT_ONCE",
        default: Some("1024"),
        secret: false,
        doc: "Calls that may be under way, 1 to 10000; one more is refused with 503. Four times as many connections are \
              taken. 1,000 streams need about 70 MiB of memory.",
    },
    Declared {
        name: "APP_URL",
        default: Some("https://openwebui.com/"),
        secret: false,
        doc: "The application's address as OpenRouter shows it (`HTTP-Referer`).",
    },
    Declared {
        name: "APP_TITLE",
        default: Some("Open WebUI"),
        secret: false,
        doc: "The application's name as OpenRouter shows it (`X-Title`).",
    },
    Declared {
        name: "LOG_LEVEL",
        default: Some("info"),
        secret: false,
        doc: "`error`, `warn`, `info`, `debug` or `trace`, or a filter such as `info,proxy=debug`.",
    },
    Declared {
        name: "LOG_FORMAT",
        default: Some("text"),
        secret: false,
        doc: "`text` for people, `json` for machines.",
    },
];
