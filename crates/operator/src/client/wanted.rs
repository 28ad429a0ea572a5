//! How a client is to be run: what the flags say, else its `.env`, else the server's own settings, else what is usual.

use std::path::{Path, PathBuf};

use super::ports::{MAI_PORTS, PortRange, USAGE_PORTS};
use super::site::{Certificate, Proxy, Site, read_host, read_listen};
use super::{ClientName, PlaceArgs, ProxyArgs};
use crate::console::Wanted as Question;
use crate::env_file::EnvFile;
use crate::{Console, OperatorError, private_file};

/// What new clients of a server have in common, beside their folders; written as `.env` is.
const SERVER_FILE: &str = "server.env";

/// Where certbot puts certificates.
const CERTIFICATES: &str = "/etc/letsencrypt/live";

/// How a client is to be run.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) name: ClientName,
    /// Values of `.env`, ports apart.
    pub(super) values: Vec<(&'static str, String)>,
    pub(super) mai_ports: PortRange,
    pub(super) usage_ports: PortRange,
    pub(super) site: Site,
    pub(super) place: ProxyPlace,
}

/// Where the reverse proxy has its sites, and how it is told of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProxyPlace {
    pub(super) sites: PathBuf,
    pub(super) reload: String,
    /// What makes a certificate for the host name that is put behind it.
    pub(super) certify: Option<String>,
}

/// Who is asked for a value, after the flags.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) env: &'a EnvFile,
    pub(super) server: &'a EnvFile,
}

/// The settings of the server whose clients are in `directory`.
pub(super) fn server(directory: &Path) -> Result<EnvFile, OperatorError> {
    let path = directory.join(SERVER_FILE);
    let text = private_file::read(&path)?.unwrap_or_default();
    EnvFile::parse(&text).map_err(|problem| OperatorError::EnvFile { path, problem })
}

impl Sources<'_> {
    fn get(&self, flag: Option<&str>, name: &str) -> Option<String> {
        flag.or_else(|| self.env.get(name)).or_else(|| self.server.get(name)).map(str::to_owned)
    }

    /// The value, read; the flag is named where it cannot be.
    fn read<T>(
        &self,
        given: (Option<&str>, &'static str),
        name: &str,
        read: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Result<Option<T>, OperatorError> {
        let (flag, named) = given;
        let value = self.get(flag, name);
        value.map(|value| read(&value).map_err(|rule| OperatorError::Value { flag: named, rule })).transpose()
    }

    /// What stands in front.
    pub(super) fn proxy(&self, flag: Option<Proxy>) -> Result<Proxy, OperatorError> {
        let flag = (flag.map(Proxy::as_str), "--proxy");
        Ok(self.read(flag, "MAI_PROXY", Proxy::read)?.unwrap_or(Proxy::Nginx))
    }

    /// The proxy that is told of a change: where there is to be none, the one that was there.
    fn front(&self, wanted: Proxy) -> Proxy {
        let before = self.env.get("MAI_PROXY").and_then(|before| Proxy::read(before).ok());
        if wanted == Proxy::None { before.unwrap_or(wanted) } else { wanted }
    }
}

impl ProxyPlace {
    pub(super) fn of(args: &ProxyArgs, proxy: Proxy, server: &EnvFile) -> Self {
        let sites = args.sites.clone().or_else(|| server.get("MAI_SITES").map(PathBuf::from));
        let reload = args.reload.as_deref().or_else(|| server.get("MAI_RELOAD"));
        let certify = args.certify.as_deref().or_else(|| server.get("MAI_CERTIFY"));
        Self {
            certify: certify.map(str::to_owned),
            sites: sites.unwrap_or_else(|| proxy.folder().into()),
            reload: reload.unwrap_or(proxy.reload()).to_owned(),
        }
    }
}

impl Wanted {
    pub(super) fn of(
        name: ClientName,
        args: &PlaceArgs,
        sources: Sources<'_>,
        console: &mut Console,
    ) -> Result<Self, OperatorError> {
        let site = site(args, sources, console)?;
        let ports = |flag: Option<&str>, named, name, usual: &str| {
            let given = flag.or_else(|| sources.server.get(name)).unwrap_or(usual);
            PortRange::read(given).map_err(|rule| OperatorError::Value { flag: named, rule })
        };
        let mut values = own_values(&name, &site);
        for (flag, named, name, rule) in args.settings() {
            values.extend(sources.read((flag, named), name, rule)?.map(|value| (name, value)));
        }
        Ok(Self {
            name,
            values,
            mai_ports: ports(args.mai_ports.as_deref(), "--mai-ports", "MAI_PORTS", MAI_PORTS)?,
            usage_ports: ports(args.usage_ports.as_deref(), "--usage-ports", "USAGE_PORTS", USAGE_PORTS)?,
            place: ProxyPlace::of(&args.proxy_args, sources.front(site.proxy), sources.server),
            site,
        })
    }
}

/// What always stands in `.env`.
fn own_values(name: &ClientName, site: &Site) -> Vec<(&'static str, String)> {
    // Without a reverse proxy people come to mAI's own port.
    let address = if site.proxy == Proxy::None { "0.0.0.0" } else { "127.0.0.1" };
    let mut values = vec![
        ("COMPOSE_PROJECT_NAME", format!("mai-{name}")),
        ("MAI_ADDRESS", address.to_owned()),
        ("MAI_PROXY", site.proxy.as_str().to_owned()),
    ];
    if site.proxy == Proxy::None {
        return values;
    }
    values.push(("MAI_HOST", site.host.clone()));
    if let Certificate::Folder(folder) = &site.certificate {
        values.push(("MAI_CERTIFICATE", folder.display().to_string()));
    } else {
        values.push(("MAI_CERTIFICATE", "none".to_owned()));
        values.push(("MAI_LISTEN", site.listen.clone()));
    }
    values
}

fn site(args: &PlaceArgs, sources: Sources<'_>, console: &mut Console) -> Result<Site, OperatorError> {
    let proxy = sources.proxy(args.proxy)?;
    let listen = sources.read((args.listen.as_deref(), "--listen"), "MAI_LISTEN", read_listen)?;
    let listen = listen.unwrap_or_else(|| "80".to_owned());
    if proxy == Proxy::None {
        return Ok(Site { proxy, host: String::new(), certificate: Certificate::None, listen });
    }
    let known = sources.get(args.host.as_deref(), "MAI_HOST");
    let question =
        Question { what: "Host name of the client", flag: "--host", given: known.as_deref(), default: None };
    let host = console.value(&question, read_host)?;
    let certificate =
        sources.read((args.certificate.as_deref(), "--certificate"), "MAI_CERTIFICATE", Certificate::read)?;
    // Another host name has another certificate.
    let is_usual = |certificate: &Certificate| matches!(certificate, Certificate::Folder(folder) if folder.starts_with(CERTIFICATES));
    let certificate = certificate.filter(|known| args.certificate.is_some() || !is_usual(known));
    let usual = || Certificate::Folder(Path::new(CERTIFICATES).join(&host));
    Ok(Site { proxy, certificate: certificate.unwrap_or_else(usual), host, listen })
}

/// How a value of a flag is checked.
type Rule = fn(&str) -> Result<String, &'static str>;

impl PlaceArgs {
    /// What goes into `.env` as it was given: the flag's value and name, the name in `.env`, and the rule.
    fn settings(&self) -> [(Option<&str>, &'static str, &'static str, Rule); 6] {
        [
            (self.image.as_deref(), "--image", "MAI_USAGE_IMAGE", read_image),
            (self.mai_image.as_deref(), "--mai-image", "MAI_IMAGE", read_image),
            (self.usage_memory.as_deref(), "--usage-memory", "USAGE_MEMORY", read_memory),
            (self.mai_memory.as_deref(), "--mai-memory", "MAI_MEMORY", read_memory),
            (self.usage_cpus.as_deref(), "--usage-cpus", "USAGE_CPUS", read_cpus),
            (self.mai_cpus.as_deref(), "--mai-cpus", "MAI_CPUS", read_cpus),
        ]
    }
}

/// The name of an image.
pub(super) fn read_image(text: &str) -> Result<String, &'static str> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-/:@".contains(letter);
    let sound = text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.chars().all(plain);
    if sound { Ok(text.to_owned()) } else { Err("must be the name of an image, such as mai-usage:1.2.0") }
}

fn read_memory(text: &str) -> Result<String, &'static str> {
    let digits = text.trim_end_matches(['m', 'g']);
    let sound = text.len() == digits.len() + 1 && digits.parse::<u32>().is_ok_and(|size| size > 0);
    if sound { Ok(text.to_owned()) } else { Err("must be a size such as 512m or 4g") }
}

fn read_cpus(text: &str) -> Result<String, &'static str> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|d| d.is_ascii_digit());
    let some = text.bytes().any(|digit| (b'1'..=b'9').contains(&digit));
    if digits(whole) && digits(part) && some {
        return Ok(text.to_owned());
    }
    Err("must be a number of processors such as 2 or 0.5")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Script, console};

    fn env(text: &str) -> EnvFile {
        EnvFile::parse(text).unwrap()
    }

    fn wanted(args: &PlaceArgs, own: &str, server: &str) -> Result<Wanted, OperatorError> {
        let name = ClientName::read("company-a").unwrap();
        let (own, server) = (env(own), env(server));
        Wanted::of(name, args, Sources { env: &own, server: &server }, &mut console(Script::default()).0)
    }

    fn value<'a>(wanted: &'a Wanted, name: &str) -> Option<&'a str> {
        wanted.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_flag_wins_over_env_and_env_over_the_server() {
        let args = PlaceArgs { host: Some("a.example".into()), ..PlaceArgs::default() };
        let server = "MAI_IMAGE=mai:1\nMAI_PORTS=8101-8120\nMAI_MEMORY=2g\nMAI_SITES=/sites\n";
        let found = wanted(&args, "MAI_MEMORY=3g\n", server).unwrap();
        assert_eq!((value(&found, "MAI_IMAGE"), value(&found, "MAI_MEMORY")), (Some("mai:1"), Some("3g")));
        assert_eq!(value(&found, "MAI_USAGE_IMAGE"), None, "the compose file has it");
        assert_eq!(found.mai_ports, PortRange::read("8101-8120").unwrap());
        assert_eq!(found.place.sites, Path::new("/sites"));
        let args = PlaceArgs { mai_memory: Some("5g".into()), ..args };
        assert_eq!(value(&wanted(&args, "MAI_MEMORY=3g\n", server).unwrap(), "MAI_MEMORY"), Some("5g"));
    }

    #[test]
    fn a_host_has_its_own_certificate() {
        let old = "MAI_HOST=a.example\nMAI_CERTIFICATE=/etc/letsencrypt/live/a.example\n";
        let args = PlaceArgs { host: Some("b.example".into()), ..PlaceArgs::default() };
        let found = wanted(&args, old, "").unwrap();
        assert_eq!(value(&found, "MAI_CERTIFICATE"), Some("/etc/letsencrypt/live/b.example"));
        let found = wanted(&args, "MAI_CERTIFICATE=/etc/ours/wildcard\n", "").unwrap();
        assert_eq!(value(&found, "MAI_CERTIFICATE"), Some("/etc/ours/wildcard"));
    }

    #[test]
    fn mai_is_published_to_all_only_where_nothing_stands_in_front() {
        let args = PlaceArgs { host: Some("a.example".into()), ..PlaceArgs::default() };
        assert_eq!(value(&wanted(&args, "", "").unwrap(), "MAI_ADDRESS"), Some("127.0.0.1"));
        let args = PlaceArgs { proxy: Some(Proxy::None), ..PlaceArgs::default() };
        assert_eq!(value(&wanted(&args, "", "").unwrap(), "MAI_ADDRESS"), Some("0.0.0.0"));
        let error = wanted(&PlaceArgs::default(), "", "").unwrap_err().to_string();
        assert!(error.contains("--host"), "{error}");
    }

    #[test]
    fn what_compose_would_stumble_over_is_refused() {
        for (text, sound) in [("512m", true), ("4g", true), ("4", false), ("4gb", false), ("0m", false)] {
            assert_eq!(read_memory(text).is_ok(), sound, "{text}");
        }
        for (text, sound) in [("2", true), ("0.5", true), ("0", false), ("1e3", false), ("", false)] {
            assert_eq!(read_cpus(text).is_ok(), sound, "{text}");
        }
        for (text, sound) in
            [("mai:1", true), ("host:5000/a/b@sha256:00", true), ("a b", false), ("$X", false), ("-a", false)]
        {
            assert_eq!(read_image(text).is_ok(), sound, "{text}");
        }
    }
}
