//! A client's site: its host name at the reverse proxy of this server.

use std::path::{Path, PathBuf};

use super::ClientName;

const CHALLENGE: &str = include_str!("../../../../deploy/nginx/challenge.conf");
const TLS: &str = include_str!("../../../../deploy/nginx/tls.conf");
const PLAIN: &str = include_str!("../../../../deploy/nginx/plain.conf");
const USAGE: &str = include_str!("../../../../deploy/nginx/usage.conf");
const CADDY: &str = include_str!("../../../../deploy/caddy/site.caddy");
const LOADER: &str = include_str!("../../../../deploy/open-webui/loader.js");

/// What stands in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Proxy {
    /// nginx, with certificates of certbot's.
    Nginx,
    /// Caddy, which gets its certificates by itself.
    Caddy,
    /// Nothing: mAI is published on every address of this host.
    None,
}

/// Where the certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Certificate {
    /// In this folder, as certbot leaves it.
    Folder(PathBuf),
    /// Nowhere: something in front of this host ends TLS.
    None,
}

/// A client's site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) proxy: Proxy,
    pub(super) host: String,
    pub(super) certificate: Certificate,
    /// Where plain HTTP is listened to.
    pub(super) listen: String,
}

/// A file and what is to be in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Proxy {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::None => "none",
        }
    }

    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        <Self as clap::ValueEnum>::from_str(text, false).map_err(|_| "must be nginx, caddy or none")
    }

    /// Where its sites are in Debian.
    pub(super) const fn folder(self) -> &'static str {
        match self {
            Self::Caddy => "/etc/caddy/sites",
            Self::Nginx | Self::None => "/etc/nginx/conf.d",
        }
    }

    /// What makes it read them, after a look at whether it can.
    pub(super) const fn reload(self) -> &'static str {
        match self {
            Self::Nginx => "nginx -t -q && nginx -s reload",
            Self::Caddy => {
                "caddy validate --config /etc/caddy/Caddyfile && caddy reload --config /etc/caddy/Caddyfile"
            }
            Self::None => "true",
        }
    }

    /// The file of a client's site in `folder`.
    pub(super) fn file(self, folder: &Path, client: &ClientName) -> Option<PathBuf> {
        match self {
            Self::Nginx => Some(folder.join(format!("mai-{client}.conf"))),
            Self::Caddy => Some(folder.join(format!("mai-{client}.caddy"))),
            Self::None => None,
        }
    }
}

impl Site {
    /// The files that it is made of, in `folder`; `ports` are those of mAI and of the usage listener.
    pub(super) fn files(
        &self,
        client: &ClientName,
        folder: &Path,
        has_certificate: bool,
        (mai, usage): (u16, u16),
    ) -> Vec<Wanted> {
        let Some(path) = self.proxy.file(folder, client) else { return Vec::new() };
        // No site of its own: neither proxy looks into folders of the folder.
        let shared = folder.join("mai-usage");
        let certificate = match &self.certificate {
            Certificate::Folder(folder) => folder.display().to_string(),
            Certificate::None => String::new(),
        };
        let text = self
            .template(has_certificate)
            .replace("@NAME@", client.as_str())
            .replace("@HOST@", &self.host)
            .replace("@ADDRESS@", &self.address())
            .replace("@LISTEN@", &self.listen)
            .replace("@CERTIFICATE@", &certificate)
            .replace("@SHARED@", &shared.display().to_string())
            .replace("@MAI_PORT@", &mai.to_string())
            .replace("@USAGE_PORT@", &usage.to_string());
        let mut files = vec![Wanted { path: shared.join("loader.js"), text: LOADER.to_owned() }];
        if self.proxy == Proxy::Nginx {
            files.push(Wanted { path: shared.join("usage.conf"), text: USAGE.to_owned() });
        }
        files.push(Wanted { path, text });
        files
    }

    /// What people type into their browser.
    pub(super) fn url(&self) -> String {
        let scheme = if self.certificate == Certificate::None && self.proxy == Proxy::Nginx {
            "http"
        } else {
            "https"
        };
        format!("{scheme}://{}/", self.host)
    }

    fn template(&self, has_certificate: bool) -> String {
        match (self.proxy, &self.certificate) {
            (Proxy::None, _) => String::new(),
            (Proxy::Caddy, _) => CADDY.to_owned(),
            (Proxy::Nginx, Certificate::None) => PLAIN.to_owned(),
            // nginx does not start with a certificate that is missing, and then no client is served.
            (Proxy::Nginx, Certificate::Folder(_)) if !has_certificate => CHALLENGE.to_owned(),
            (Proxy::Nginx, Certificate::Folder(_)) => format!("{CHALLENGE}{TLS}"),
        }
    }

    /// As Caddy has it: with a scheme it makes no certificate.
    fn address(&self) -> String {
        match self.certificate {
            Certificate::None => format!("http://{}", self.host),
            Certificate::Folder(_) => self.host.clone(),
        }
    }
}

impl Certificate {
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
        match text {
            "none" => Ok(Self::None),
            path if path.starts_with('/') && path.chars().all(plain) => Ok(Self::Folder(path.into())),
            _ => Err("must be a folder such as /etc/letsencrypt/live/chat.example.com, or `none`"),
        }
    }

    /// Whether there is one to be used.
    pub(super) fn exists(&self) -> bool {
        match self {
            Self::Folder(folder) => folder.join("fullchain.pem").exists(),
            Self::None => false,
        }
    }
}

/// A host name in lower case.
pub(super) fn read_host(text: &str) -> Result<String, &'static str> {
    const RULE: &str = "must be a host name such as usage.company-a.example";
    let host = text.to_ascii_lowercase();
    let sound = |label: &str| {
        let plain = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() > 253 || !host.split('.').all(sound) { Err(RULE) } else { Ok(host) }
}

/// A port, or an address with a port.
pub(super) fn read_listen(text: &str) -> Result<String, &'static str> {
    let is_port = text.parse::<u16>().is_ok_and(|port| port > 0);
    let is_address = text.parse::<std::net::SocketAddr>().is_ok_and(|address| address.port() > 0);
    if is_port || is_address { Ok(text.to_owned()) } else { Err("must be a port or ADDRESS:PORT") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(proxy: Proxy, certificate: &str) -> Site {
        let certificate = Certificate::read(certificate).unwrap();
        Site { proxy, host: "usage.company-a.example".into(), certificate, listen: "80".into() }
    }

    fn text(site: &Site, has_certificate: bool) -> String {
        let name = ClientName::read("company-a").unwrap();
        let files = site.files(&name, Path::new("/sites"), has_certificate, (8003, 9003));
        let text = files.last().unwrap().text.clone();
        for token in ["@NAME", "@HOST", "@CERT", "@SHARED", "@MAI", "@USAGE_", "@LISTEN", "@ADDRESS"] {
            assert!(!text.contains(token), "{token} in {text}");
        }
        text
    }

    #[test]
    fn nginx_names_no_certificate_that_is_missing() {
        let nginx = site(Proxy::Nginx, "/etc/letsencrypt/live/a");
        let before = text(&nginx, false);
        assert!(before.contains("acme-challenge") && !before.contains("ssl"), "{before}");
        assert!(!before.contains("proxy_pass") && !before.contains("include"), "nothing passes unencrypted");
        let after = text(&nginx, true);
        for line in [
            "server_name usage.company-a.example;",
            "ssl_certificate /etc/letsencrypt/live/a/fullchain.pem;",
            "set $mai_usage 127.0.0.1:9003;",
            "set $open_webui 127.0.0.1:8003;",
            "include /sites/mai-usage/usage.conf;",
        ] {
            assert!(after.contains(line), "{line} in {after}");
        }
        assert!(text(&site(Proxy::Nginx, "none"), false).contains("listen 80;"));
    }

    #[test]
    fn both_ways_to_the_usage_reach_the_sidecar() {
        for path in ["/usage/", "/api/v1/usage/", "/api/v1/usage-tracking/"] {
            assert!(USAGE.contains(&format!("location {path} {{")), "{path}");
            assert!(CADDY.contains(&format!("{path}*")), "{path}");
        }
        assert!(text(&site(Proxy::Caddy, "/c"), true).contains("\nusage.company-a.example {"));
        assert!(text(&site(Proxy::Caddy, "none"), true).contains("\nhttp://usage.company-a.example {"));
    }

    #[test]
    fn what_would_be_written_into_a_site_is_checked() {
        assert_eq!(read_host("Chat.Example.com").unwrap(), "chat.example.com");
        for wrong in ["", "a b", "a;b", "-a.b", "a..b", "a.b}", "a/b"] {
            assert!(read_host(wrong).is_err(), "{wrong}");
        }
        for wrong in ["relative", "/a b", "/a;", "/$x"] {
            assert!(Certificate::read(wrong).is_err(), "{wrong}");
        }
        for (text, sound) in [("80", true), ("127.0.0.1:8080", true), ("[::1]:80", true), ("80;", false)] {
            assert_eq!(read_listen(text).is_ok(), sound, "{text}");
        }
        assert!(read_listen("0").is_err() && read_listen("localhost:80").is_err());
    }
}
