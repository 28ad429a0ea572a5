//! Mistakes in a compose file that cost calls, money or names. Read by its indentation, as far as these questions need.

use super::check::Check;

/// SIGTERM lets calls under way finish for so long.
const DRAIN_SECONDS: u64 = 120;

/// The lines of one service.
struct Service<'a> {
    name: &'a str,
    lines: Vec<&'a str>,
}

pub(super) fn checks(text: &str) -> Vec<Check> {
    let services = services(text);
    let mut wrong = Vec::new();
    for service in &services {
        if service.is_sidecar() {
            wrong.extend(grace(service));
            wrong.extend(proxy_port(service));
        } else {
            wrong.extend(key_in_mai(service));
            wrong.extend(nameless(service));
        }
    }
    if wrong.is_empty() { vec![Check::ok("compose file", "none of the known mistakes")] } else { wrong }
}

fn grace(sidecar: &Service<'_>) -> Option<Check> {
    // Docker's own default is ten seconds.
    let told = sidecar.value("stop_grace_period").unwrap_or("10s");
    let seconds = seconds(told)?;
    let found = format!("stop_grace_period is {told}; calls under way are given {DRAIN_SECONDS} s to finish");
    (seconds <= DRAIN_SECONDS).then(|| {
        Check::warn("compose file", found, "stop_grace_period: 150s, or calls are cut at every stop")
    })
}

fn proxy_port(sidecar: &Service<'_>) -> Option<Check> {
    let published =
        sidecar.lines.iter().any(|line| line.trim().trim_matches(['-', ' ', '"', '\'']).ends_with(":8787"));
    published.then(|| {
        let found = "the proxy's port 8787 is published: whoever reaches it can spend";
        Check::fail("compose file", found, "take it out of `ports`")
    })
}

fn key_in_mai(mai: &Service<'_>) -> Option<Check> {
    const FIX: &str = "list what mAI needs under `environment`, and no OPENROUTER_API_KEY";
    if mai.names("OPENROUTER_API_KEY") {
        let found = format!("{} is given OPENROUTER_API_KEY: it can go past the sidecar", mai.name);
        return Some(Check::fail("compose file", found, FIX));
    }
    if mai.is_open_webui() && mai.value("env_file").is_some() {
        let found = format!("{} is given the whole .env, with OPENROUTER_API_KEY in it", mai.name);
        return Some(Check::fail("compose file", found, FIX));
    }
    None
}

fn nameless(mai: &Service<'_>) -> Option<Check> {
    let nameless = mai.is_open_webui() && !mai.names("ENABLE_FORWARD_USER_INFO_HEADERS");
    nameless.then(|| {
        let found = format!("{} does not tell who asks: every call is booked to `unattributed`", mai.name);
        Check::fail(
            "compose file",
            found,
            "ENABLE_FORWARD_USER_INFO_HEADERS: \"true\" under its `environment`",
        )
    })
}

/// The services, by the indentation of their names. Comments are left out.
fn services(text: &str) -> Vec<Service<'_>> {
    let mut services: Vec<Service<'_>> = Vec::new();
    let (mut inside, mut depth) = (false, None);
    for line in text.lines() {
        let words = line.trim();
        if words.is_empty() || words.starts_with('#') {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        if indent == 0 {
            (inside, depth) = (words == "services:", None);
            continue;
        }
        if !inside {
            continue;
        }
        match words.strip_suffix(':') {
            Some(name) if indent <= *depth.get_or_insert(indent) => {
                services.push(Service { name, lines: Vec::new() });
            }
            _ => {
                if let Some(service) = services.last_mut() {
                    service.lines.push(line);
                }
            }
        }
    }
    services
}

impl Service<'_> {
    fn is_sidecar(&self) -> bool {
        self.name == "mai-usage" || self.value("image").is_some_and(|image| image.contains("mai-usage"))
    }

    /// Whether it is what is set up to ask a sidecar.
    fn is_open_webui(&self) -> bool {
        self.names("OPENAI_API_BASE_URL")
            || self.names("OPENAI_API_BASE_URLS")
            || self.names("WEBUI_SECRET_KEY")
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| {
            let rest = line.trim().strip_prefix(name)?.strip_prefix(':')?;
            let value = rest.split(" #").next().unwrap_or(rest);
            Some(value.trim().trim_matches(['"', '\'']))
        })
    }

    /// Whether `name` is a name of its environment, in either form.
    fn names(&self, name: &str) -> bool {
        self.lines.iter().any(|line| {
            let line = line.trim().trim_start_matches(['-', ' ', '"', '\'']);
            line.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '=', '"', '\'']))
        })
    }
}

/// A time as Compose writes it, `1m30s`; `None` where it is none.
fn seconds(text: &str) -> Option<u64> {
    let (mut total, mut number) = (0_u64, String::new());
    for letter in text.chars() {
        let unit = match letter {
            '0'..='9' => {
                number.push(letter);
                continue;
            }
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        total = total.checked_add(std::mem::take(&mut number).parse::<u64>().ok()?.checked_mul(unit)?)?;
    }
    number.is_empty().then_some(total)
}

#[cfg(test)]
mod tests {
    use super::super::check::Level;
    use super::*;

    fn wrong(text: &str) -> String {
        let checks = checks(text).into_iter().filter(|check| check.level != Level::Ok);
        checks.map(|check| check.found).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_file_of_this_house_has_no_mistake() {
        let own = include_str!("../../../../docker-compose.customization.yaml");
        assert_eq!(wrong(own), "");
        assert_eq!(
            services(own).iter().map(|service| service.name).collect::<Vec<_>>(),
            ["mai-usage", "mai"]
        );
    }

    #[test]
    fn each_mistake_is_found() {
        let own = include_str!("../../../../docker-compose.customization.yaml");
        for (from, to, words) in [
            ("stop_grace_period: 150s", "stop_grace_period: 1m30s", "stop_grace_period is 1m30s"),
            ("    stop_grace_period: 150s\n", "", "stop_grace_period is 10s"),
            ("\"127.0.0.1:${USAGE_PORT:-9001}:8788\"", "\"8787:8787\"", "8787 is published"),
            (
                "      OPENAI_API_BASE_URL:",
                "      OPENROUTER_API_KEY: x\n      OPENAI_API_BASE_URL:",
                "given OPENROUTER_API_KEY",
            ),
            ("      ENABLE_FORWARD_USER_INFO_HEADERS: \"true\"\n", "", "unattributed"),
            ("  mai:\n", "  mai:\n    env_file: .env\n", "whole .env"),
        ] {
            assert!(own.contains(from), "{from}");
            let told = wrong(&own.replace(from, to));
            assert!(told.contains(words) && told.lines().count() == 1, "{words}: {told}");
        }
        let list = "services:\n    open-webui:\n        environment:\n            - 'OPENAI_API_BASE_URL=x'\n            - OPENROUTER_API_KEY\n";
        let told = wrong(list);
        assert!(told.contains("open-webui is given") && told.contains("unattributed"), "{told}");
        assert_eq!(wrong(""), "");
    }

    #[test]
    fn a_time_is_read_as_compose_reads_it() {
        for (text, told) in
            [("150s", Some(150)), ("1m30s", Some(90)), ("2h", Some(7_200)), ("1.5m", None), ("9", None)]
        {
            assert_eq!(seconds(text), told, "{text}");
        }
    }
}
