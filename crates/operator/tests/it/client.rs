//! `mai-usage client` against a simulated OpenRouter. Docker is a script that says yes: what it really does is tested in `tests/test_clients.py`.

use std::os::unix::fs::MetadataExt as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use clap::Parser;
use futures_util::FutureExt as _;
use metering::Clock;
use operator::{ClientArgs, ClientsError, DockerError, Failure, OperatorError};

use crate::person::Person;
use crate::{Said, World, dotenv};

/// Images are there unless they are called `nowhere`, and run unless they are called `bad`; containers are files of the project's folder, with
/// the image's name in them.
const DOCKER: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
for last; do :; done
case $1 in
version) echo 28 ;;
compose) exit 1 ;;
image) case $last in nowhere*) exit 1 ;; esac; echo "sha256:$last" ;;
pull) echo "pull access denied" >&2; exit 1 ;;
ps) ls "projects/${last##*=}" 2>/dev/null; exit 0 ;;
container)
    shift 2; printf '['; comma=
    for id; do
        printf '%s{"Id":"%s","Name":"/%s","Image":"sha256:x","RestartCount":0,' "$comma" "$id" "$id"
        status=running; grep -qs '^bad' projects/*/"$id" && status=exited
        printf '"State":{"Status":"%s","ExitCode":0},' "$status"
        printf '"Config":{"Image":"mai:1","Labels":{"com.docker.compose.service":"%s"}}}' "$id"
        comma=,
    done; printf ']' ;;
esac
"#;

const COMPOSE: &str = r#"#!/bin/sh
projects=$(dirname "$0")/projects
project=$(sed -n 's/^COMPOSE_PROJECT_NAME=//p' .env)
for last; do :; done
case $1 in
version) echo 1.29 ;;
up) mkdir -p "$projects/$project" && sed -n 's/^MAI_USAGE_IMAGE=//p' .env >"$projects/$project/$last" ;;
down) rm -rf "$projects/$project" ;;
esac
"#;

const ALL: [&str; 6] = ["--organization", "Company A", "--limit", "250", "--host", "a.example"];

#[derive(Parser)]
struct ClientLine {
    #[command(flatten)]
    arguments: ClientArgs,
}

impl World {
    async fn with_docker() -> Self {
        let world = Self::new().await;
        std::fs::create_dir(world.path("bin")).unwrap();
        for (name, text) in [("docker", DOCKER), ("docker-compose", COMPOSE)] {
            world.private_file(&format!("bin/{name}"), text);
            world.set_mode(&format!("bin/{name}"), 0o700);
        }
        std::fs::create_dir(world.path("srv")).unwrap();
        let sites = world.path("sites").display().to_string();
        // Ports of the machine are not to matter here, but for whether somebody listens.
        let settings =
            format!("MAI_PORTS=38001-38099\nUSAGE_PORTS=39001-39099\nMAI_SITES={sites}\nMAI_RELOAD=true\n");
        world.private_file("srv/server.env", &settings);
        world
    }

    async fn client_of(&self, person: Person, arguments: &[&str]) -> Result<Said, OperatorError> {
        let path = |name: &str| self.path(name).display().to_string();
        let (directory, bin) = (path("srv"), path("bin"));
        let line = ["client"].into_iter().chain(arguments.iter().copied());
        let line = line.chain(["--clients", &directory, "--docker-bin", &bin]);
        let arguments = ClientLine::try_parse_from(line).unwrap().arguments;
        let (mut console, printed) = person.console();
        let now = jiff::Timestamp::from_millisecond(self.sim.now_ms()).unwrap();
        let clock = Clock::new(move || now);
        // Whoever pulls the plug panics.
        let done = AssertUnwindSafe(operator::client(arguments, &mut console, &clock)).catch_unwind().await;
        done.unwrap_or(Err(OperatorError::Cancelled))?;
        Ok(printed.said())
    }

    async fn manage(&self, person: Person, arguments: &[&str]) -> Result<Said, OperatorError> {
        let (management, host) = (self.path("management").display().to_string(), self.sim.base_url());
        let account = ["--management-key-file", &management, "--openrouter-host", &host];
        self.client_of(person, &[arguments, &account].concat()).await
    }

    async fn add(&self, name: &str, arguments: &[&str]) -> Result<Said, OperatorError> {
        self.manage(Person::absent(), &[&["add", name], arguments].concat()).await
    }

    fn of(&self, client: &str, name: &str) -> String {
        let variables = dotenv::read(&self.path("srv").join(client).join(".env"));
        variables.into_iter().find(|(known, _)| known == name).map(|(_, value)| value).unwrap_or_default()
    }

    /// Everything that a client consists of, and one key.
    async fn check_complete(&self, client: &str) {
        let folder = self.path("srv").join(client);
        assert_eq!(self.listed().await.len(), 1);
        assert!(self.of(client, "OPENROUTER_API_KEY").starts_with("sk-or-v1-"));
        for file in ["docker-compose.yaml", "data/mai-usage.db", "data/mai-usage.db.lock"] {
            assert!(folder.join(file).exists(), "{file}");
        }
        assert_eq!(std::fs::metadata(folder.join("data/mai-usage.db")).unwrap().uid(), 65532);
        for service in ["mai-usage", "mai"] {
            assert!(self.path(&format!("bin/projects/mai-{client}")).join(service).exists(), "{service}");
        }
        let site = std::fs::read_to_string(self.path("sites").join(format!("mai-{client}.conf"))).unwrap();
        assert!(site.contains("server_name a.example;"), "{site}");
        let left = names_in(&folder);
        assert_eq!(left, [".env", "data", "docker-compose.yaml", "mai"]);
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Only root can give a file to the sidecar's user.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// What a command printed; `None` where the test ends because this is not root.
fn as_root(said: Result<Said, OperatorError>) -> Option<Said> {
    if is_root() {
        return Some(said.unwrap());
    }
    let error = said.unwrap_err();
    assert!(matches!(error, OperatorError::Clients(ClientsError::Owner { .. })), "{error}");
    None
}

#[tokio::test]
async fn an_empty_folder_becomes_a_client_and_stays_one() {
    let world = World::with_docker().await;
    let plan = world.add("company-a", &[&ALL[..], &["--dry-run"]].concat()).await.unwrap();
    assert!(plan.out.lines().all(|line| line.starts_with("would ")), "{}", plan.out);
    assert!(!world.path("srv/company-a").exists() && world.listed().await.is_empty());

    let Some(said) = as_root(world.add("company-a", &ALL).await) else { return };
    assert_eq!(said.out, "company-a is healthy: https://a.example/\n");
    assert!(said.notes.contains("certbot certonly"), "{}", said.notes);
    world.check_complete("company-a").await;
    let secret = world.of("company-a", "OPENROUTER_API_KEY");
    assert!(!said.out.contains(&secret) && !said.notes.contains(&secret));

    let before = std::fs::read_to_string(world.path("srv/company-a/.env")).unwrap();
    world.add("company-a", &[]).await.unwrap();
    assert_eq!(std::fs::read_to_string(world.path("srv/company-a/.env")).unwrap(), before);
    world.add("company-b", &["--organization", "B", "--limit", "5", "--host", "b.example"]).await.unwrap();
    for port in ["MAI_PORT", "USAGE_PORT"] {
        assert_ne!(world.of("company-a", port), world.of("company-b", port), "{port}");
    }
    let listed = world.client_of(Person::absent(), &["list"]).await.unwrap().out;
    assert!(listed.contains("company-a") && listed.contains("https://b.example/"), "{listed}");
    assert_eq!(listed.matches("healthy").count(), 2, "{listed}");
    let shown = world.client_of(Person::absent(), &["show", "company-a", "--json"]).await.unwrap().out;
    assert!(shown.contains("\"spending_limit\": \"250\"") && !shown.contains(&secret), "{shown}");
    world.sim.stop().await;
}

/// Ended after each step, of `setup` and of the client's own.
#[tokio::test]
async fn interrupted_anywhere_the_next_run_finishes() {
    if !is_root() {
        return;
    }
    let world = World::with_docker().await;
    let whole = world.add("company-a", &ALL).await.unwrap();
    let steps = whole.notes.matches("done: ").count();
    world.sim.stop().await;
    assert!(steps >= 12, "{}", whole.notes);
    for after in 1..=steps {
        let world = World::with_docker().await;
        let cut =
            world.manage(Person::who_leaves_after(after), &[&["add", "company-a"], &ALL[..]].concat()).await;
        cut.unwrap_err();
        let (port, token) = (world.of("company-a", "MAI_PORT"), world.of("company-a", "USAGE_PROXY_TOKEN"));
        world.add("company-a", &ALL).await.unwrap();
        world.check_complete("company-a").await;
        assert_eq!(world.of("company-a", "USAGE_PROXY_TOKEN"), token, "a token is made once");
        assert!(port.is_empty() || world.of("company-a", "MAI_PORT") == port, "a port is given once");
        world.sim.stop().await;
    }
}

#[tokio::test]
async fn what_docker_lacks_is_told_before_a_key_is_made() {
    let world = World::with_docker().await;
    let error = world.add("company-a", &[&ALL[..], &["--image", "nowhere:1"]].concat()).await.unwrap_err();
    assert!(matches!(error, OperatorError::Docker(DockerError::NoImage { .. })), "{error}");
    for (name, failure) in
        [("docker-compose", "docker-compose is not installed"), ("docker", "docker is not")]
    {
        std::fs::remove_file(world.path("bin").join(name)).unwrap();
        let error = world.add("company-a", &ALL).await.unwrap_err().to_string();
        assert!(error.contains(failure) && error.contains("hint: apt-get"), "{error}");
    }
    std::fs::write(world.path("bin/docker"), "#!/bin/sh\necho Cannot connect >&2; exit 1\n").unwrap();
    world.set_mode("bin/docker", 0o700);
    let error = world.add("company-a", &ALL).await.unwrap_err().to_string();
    assert!(error.contains("daemon does not answer: Cannot connect"), "{error}");
    assert!(world.listed().await.is_empty());
    world.sim.stop().await;
}

#[tokio::test]
async fn a_site_that_the_proxy_refuses_is_taken_back() {
    let world = World::with_docker().await;
    if as_root(world.add("company-a", &ALL).await).is_none() {
        return;
    }
    let site = world.path("sites/mai-company-a.conf");
    let before = std::fs::read_to_string(&site).unwrap();
    let update = ["update", "company-a", "--host", "c.example"];
    let refused = [&update[..], &["--reload", "echo no such host >&2; false"]].concat();
    let error = world.client_of(Person::absent(), &refused).await.unwrap_err();
    assert!(error.to_string().contains("no such host"), "{error}");
    assert_eq!(std::fs::read_to_string(&site).unwrap(), before);
    world.client_of(Person::absent(), &update).await.unwrap();
    assert!(std::fs::read_to_string(&site).unwrap().contains("c.example"));
    world.sim.stop().await;
}

#[tokio::test]
async fn a_limit_follows_and_a_plan_shows_it() {
    let world = World::with_docker().await;
    if as_root(world.add("company-a", &ALL).await).is_none() {
        return;
    }
    let update = ["update", "company-a", "--limit", "300", "--mai-memory", "2g"];
    let plan = world.manage(Person::absent(), &[&update[..], &["--dry-run"]].concat()).await.unwrap().out;
    assert!(plan.contains("would change the key") && plan.contains("would write MAI_MEMORY=2g"), "{plan}");
    assert_eq!(world.of("company-a", "SPENDING_LIMIT"), "250");
    world.manage(Person::absent(), &update).await.unwrap();
    assert_eq!(world.listed().await[0].limit.as_deref(), Some("300"));
    let of = |name| world.of("company-a", name);
    assert_eq!((of("SPENDING_LIMIT").as_str(), of("MAI_MEMORY").as_str()), ("300", "2g"));
    world.sim.stop().await;
}

/// The name of the old image means another one by now: the client gets the image back, not the name.
#[tokio::test]
async fn an_upgrade_stops_at_the_first_that_is_not_healthy() {
    let world = World::with_docker().await;
    if as_root(world.add("company-a", &ALL).await).is_none() {
        return;
    }
    world.add("company-b", &["--organization", "B", "--limit", "5", "--host", "b.example"]).await.unwrap();
    let error =
        world.client_of(Person::absent(), &["upgrade", "--all", "--image", "bad:1"]).await.unwrap_err();
    let OperatorError::Clients(ClientsError::Upgrade { client, rolled_back, done, left, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!((client.as_str(), done.as_str(), left.as_str()), ("company-a", "none", "company-b"));
    assert!(rolled_back.contains("healthy"), "{error}");
    assert_eq!(world.of("company-a", "MAI_USAGE_IMAGE"), "sha256:x");
    assert_eq!(world.of("company-b", "MAI_USAGE_IMAGE"), "");
    let copies = names_in(&world.path("srv/company-a/backups"));
    assert!(copies.iter().all(|name| name.starts_with("company-a-")) && copies.len() == 2, "{copies:?}");
    assert!(!world.path("srv/company-a/.mai-usage-upgrade.json").exists());
    assert!(!world.path("srv/company-b/backups").exists());

    let said = world.client_of(Person::absent(), &["upgrade", "--all", "--image", "good:1"]).await.unwrap();
    assert_eq!(said.out.matches(": upgraded").count(), 2, "{said:?}");
    assert_eq!(world.of("company-b", "MAI_USAGE_IMAGE"), "good:1");
    world.sim.stop().await;
}

#[tokio::test]
async fn a_client_leaves_after_its_name_was_typed() {
    let world = World::with_docker().await;
    if as_root(world.add("company-a", &ALL).await).is_none() {
        return;
    }
    let remove = ["remove", "company-a"];
    let error = world.manage(Person::absent(), &remove).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Usage, "{error}");
    let error = world.manage(Person::who_answers(["disable", "company-b"]), &remove).await.unwrap_err();
    assert!(matches!(error, OperatorError::Clients(ClientsError::NotConfirmed { .. })), "{error}");
    let plan = world
        .manage(Person::absent(), &["remove", "company-a", "--key", "delete", "--dry-run"])
        .await
        .unwrap();
    assert!(plan.out.contains("would delete its key"), "{}", plan.out);
    assert!(!world.listed().await[0].disabled && world.path("srv/company-a").exists());

    world.manage(Person::who_answers(["disable", "company-a"]), &remove).await.unwrap();
    assert!(world.listed().await[0].disabled);
    assert!(!world.path("srv/company-a").exists() && !world.path("sites/mai-company-a.conf").exists());
    let aside: Vec<PathBuf> = names_in(&world.path("srv/.removed"))
        .iter()
        .map(|name| world.path("srv/.removed").join(name))
        .collect();
    let [kept] = aside.as_slice() else { panic!("{aside:?}") };
    assert_eq!(std::fs::metadata(kept).unwrap().mode() & 0o777, 0o700);
    assert!(kept.join("data/mai-usage.db").exists() && kept.join(".env").exists());
    let listed = world.client_of(Person::absent(), &["list", "--json"]).await.unwrap().out;
    assert_eq!(listed, "[]\n");
    world.sim.stop().await;
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told_without_a_terminal() {
    let world = World::with_docker().await;
    for (arguments, words) in [
        (&["add", "Company_A"][..], "lower-case"),
        (&["add", "company-a", "--organization", "A", "--limit", "5"], "--host"),
        (&["add", "company-a", "--host", "a;b", "--limit", "5"], "host name"),
        (
            &["add", "company-a", "--host", "a.example", "--mai-memory", "lots", "--limit", "5"],
            "--mai-memory",
        ),
        (&["upgrade", "--all"], "--image"),
    ] {
        let error = world.manage_or_not(arguments).await;
        assert!(error.to_string().contains(words) && error.failure() == Failure::Usage, "{error}");
    }
    let error = world.client_of(Person::absent(), &["show", "nobody"]).await.unwrap_err().to_string();
    assert!(error.contains("no client nobody") && error.contains("client list"), "{error}");
    assert!(world.listed().await.is_empty());
    world.sim.stop().await;
}

impl World {
    async fn manage_or_not(&self, arguments: &[&str]) -> OperatorError {
        if arguments.first() == Some(&"add") {
            return self.manage(Person::absent(), arguments).await.unwrap_err();
        }
        self.client_of(Person::absent(), arguments).await.unwrap_err()
    }
}
