use super::*;
use crate::client::PlaceArgs;
use crate::client::name::ClientName;
use crate::client::wanted::Sources;
use crate::testing::{Script, console};

fn env(text: &str) -> EnvFile {
    EnvFile::parse(text).unwrap()
}

fn wanted(args: PlaceArgs, own: &str) -> Wanted {
    let args = PlaceArgs {
        host: Some("a.example".into()),
        proxy_args: crate::client::ProxyArgs {
            sites: Some("/sites".into()),
            reload: Some("true".into()),
            ..args.proxy_args
        },
        ..args
    };
    let (own, server) = (env(own), EnvFile::default());
    let sources = Sources { env: &own, server: &server };
    Wanted::of(ClientName::read("a").unwrap(), &args, sources, &mut console(Script::default()).0).unwrap()
}

fn facts(own: &str, taken: &[u16]) -> Facts {
    Facts {
        folder: "/srv/mai/a".into(),
        env: env(own),
        taken: taken.iter().copied().collect(),
        files: BTreeMap::new(),
        has_certificate: false,
    }
}

/// What the steps leave.
fn done(facts: Facts, plan: &Plan) -> Facts {
    let mut facts = facts;
    for step in &plan.steps {
        match step {
            Step::WriteEnv { values } => {
                for (name, value) in values {
                    facts.env.set(name, value).unwrap();
                }
            }
            Step::WriteFile { path, text, .. } => drop(facts.files.insert(path.clone(), text.clone())),
            Step::RemoveFile { path } => drop(facts.files.remove(path)),
            _ => {}
        }
    }
    facts
}

fn writes(plan: &Plan) -> usize {
    plan.steps.iter().filter(|step| matches!(step, Step::WriteEnv { .. } | Step::WriteFile { .. })).count()
}

#[test]
fn a_new_client_gets_the_next_free_ports() {
    let plan = plan(&wanted(PlaceArgs::default(), ""), &facts("", &[8001, 8002, 9001])).unwrap();
    assert_eq!((plan.mai_port, plan.usage_port), (8003, 9002));
    let first = plan.steps.first().unwrap().to_string();
    for value in ["MAI_PORT=8003", "USAGE_PORT=9002", "MAI_ADDRESS=127.0.0.1", "COMPOSE_PROJECT_NAME=mai-a"] {
        assert!(first.contains(value), "{first}");
    }
    let kept =
        super::plan(&wanted(PlaceArgs::default(), ""), &facts("MAI_PORT=8001\n", &[8001, 9001])).unwrap();
    assert_eq!((kept.mai_port, kept.usage_port), (8001, 9002), "its own port is not taken by another");
}

#[test]
fn one_range_gives_two_ports_and_an_empty_one_is_told() {
    let args = |ports: &str| PlaceArgs {
        mai_ports: Some(ports.into()),
        usage_ports: Some(ports.into()),
        ..PlaceArgs::default()
    };
    let both = plan(&wanted(args("9000-9001"), ""), &facts("", &[])).unwrap();
    assert_eq!((both.mai_port, both.usage_port), (9000, 9001));
    let error = plan(&wanted(args("9000"), ""), &facts("", &[])).unwrap_err().to_string();
    assert!(error.contains("9000-9000") && error.contains("--usage-ports"), "{error}");
}

#[test]
fn a_second_run_writes_nothing_and_still_starts() {
    let first = plan(&wanted(PlaceArgs::default(), ""), &facts("", &[])).unwrap();
    let after = done(facts("", &[]), &first);
    let own = after.env.to_string();
    let again = plan(&wanted(PlaceArgs::default(), &own), &after).unwrap();
    assert!(writes(&first) > 0 && writes(&again) == 0, "{:?}", again.steps);
    let orders: Vec<String> = again.steps.iter().map(ToString::to_string).collect();
    assert_eq!(
        orders,
        [
            "give /srv/mai/a/data to the sidecar's user",
            "start mai-usage and wait until it is healthy",
            "start mai and wait until it is healthy",
            "run `true`",
        ]
    );
}

#[test]
fn a_change_is_shown_line_by_line() {
    let first = plan(&wanted(PlaceArgs::default(), ""), &facts("", &[])).unwrap();
    let mut after = done(facts("", &[]), &first);
    let own = after.env.to_string();
    after.has_certificate = true;
    let args = PlaceArgs { mai_memory: Some("2g".into()), ..PlaceArgs::default() };
    let update = plan(&wanted(args, &own), &after).unwrap();
    let orders: Vec<String> = update.steps.iter().map(ToString::to_string).collect();
    assert_eq!(orders[0], "write MAI_MEMORY=2g to .env");
    let site = orders.iter().find(|order| order.starts_with("change /sites/mai-a.conf:")).unwrap();
    assert!(site.contains("\n  +     listen 443 ssl http2;"), "{site}");
    assert!(!orders.iter().any(|order| order.contains("docker-compose")), "{orders:?}");
}

#[test]
fn the_site_of_another_proxy_goes() {
    let first = plan(&wanted(PlaceArgs::default(), ""), &facts("", &[])).unwrap();
    let after = done(facts("", &[]), &first);
    let own = after.env.to_string();
    let caddy = PlaceArgs { proxy: Some(Proxy::Caddy), ..PlaceArgs::default() };
    let steps = plan(&wanted(caddy, &own), &after).unwrap().steps;
    assert!(steps.contains(&Step::RemoveFile { path: "/sites/mai-a.conf".into() }), "{steps:?}");
    let none = PlaceArgs { proxy: Some(Proxy::None), ..PlaceArgs::default() };
    let steps = plan(&wanted(none, &own), &after).unwrap().steps;
    assert!(steps.contains(&Step::RemoveFile { path: "/sites/mai-a.conf".into() }), "{steps:?}");
    assert!(matches!(steps.last(), Some(Step::Reload { .. })), "{steps:?}");
}

#[test]
fn a_project_that_has_containers_keeps_its_name() {
    let own = "COMPOSE_PROJECT_NAME=by-hand\n";
    let plan = plan(&wanted(PlaceArgs::default(), own), &facts(own, &[])).unwrap();
    assert!(!plan.steps[0].to_string().contains("COMPOSE_PROJECT_NAME"), "{}", plan.steps[0]);
}

#[test]
fn a_missing_certificate_is_made_between_two_sites() {
    let certify = crate::client::ProxyArgs { certify: Some("certbot -d".into()), ..Default::default() };
    let args = PlaceArgs { proxy_args: certify, ..PlaceArgs::default() };
    let new = plan(&wanted(args.clone(), ""), &facts("", &[])).unwrap();
    let orders: Vec<String> = new.steps.iter().map(ToString::to_string).collect();
    let place = orders.iter().position(|order| order == "run `certbot -d a.example`").unwrap();
    let site = |step: &Step| match step {
        Step::WriteFile { path, text, .. } if path.ends_with("mai-a.conf") => {
            Some(text.contains("ssl_certificate "))
        }
        _ => None,
    };
    assert_eq!(new.steps[..place].iter().filter_map(site).collect::<Vec<_>>(), [false]);
    assert_eq!(new.steps[place..].iter().filter_map(site).collect::<Vec<_>>(), [true]);
    assert_eq!(
        (&orders[place - 1], orders.last().unwrap()),
        (&"run `true`".to_owned(), &"run `true`".to_owned())
    );
    let facts = Facts { has_certificate: true, ..facts("", &[]) };
    let steps = plan(&wanted(args, ""), &facts).unwrap().steps;
    assert!(!steps.iter().any(|step| matches!(step, Step::Certify { .. })), "{steps:?}");
}
