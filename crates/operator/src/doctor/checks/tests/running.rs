//! What can be wrong with what runs, and with clients beside each other.

use super::*;

#[test]
fn what_runs() {
    let id = Ok("mai_client_63a4eb6d");
    let state = |status: &str, reason: &str| {
        answers(Health { status: status.to_owned(), reasons: vec![reason.to_owned()], ..health() }, id)
    };
    check(|facts| facts.sidecar = SidecarFacts::Silent("nobody".into()), Level::Fail, "sidecar", "nobody");
    check(|facts| facts.sidecar = SidecarFacts::Other("<html>".into()), Level::Fail, "sidecar", "<html>");
    check(|facts| facts.sidecar = state("degraded", "bypass"), Level::Warn, "sidecar", "bypass");
    check(|facts| facts.sidecar = state("unavailable", "disk"), Level::Fail, "sidecar", "cannot work: disk");
    let other = Health { version: "0.0.1".to_owned(), ..health() };
    check(|facts| facts.sidecar = answers(other, id), Level::Warn, "version", "0.0.1");
    check(|facts| facts.sidecar = answers(health(), Ok("mai_client_b")), Level::Fail, "port", "mai_client_b");
    check(|facts| facts.sidecar = answers(health(), Err("401")), Level::Fail, "port", "401");
    let silent = MaiFacts::Silent { address: "http://127.0.0.1:8001".into(), why: "refused".into() };
    check(|facts| facts.mai = silent, Level::Fail, "mAI", "8001");
}

#[test]
fn containers() {
    let one = |change: fn(&mut Container)| {
        move |facts: &mut Facts| {
            change(facts.containers.as_mut().unwrap().as_mut().unwrap().first_mut().unwrap());
        }
    };
    check(one(|it| it.state.status = "exited".into()), Level::Fail, "containers", "mai-usage is exited");
    check(one(|it| it.state.health = Some("unhealthy".into())), Level::Fail, "containers", "unhealthy");
    check(one(|it| it.state.restarts = 4), Level::Warn, "restarts", "4 times");
    let publish = |port: &'static str, address: &'static str| {
        move |facts: &mut Facts| {
            let container = facts.containers.as_mut().unwrap().as_mut().unwrap().first_mut().unwrap();
            container.published = vec![(port.to_owned(), address.to_owned())];
        }
    };
    check(publish("8787/tcp", "127.0.0.1"), Level::Fail, "proxy port", "8787");
    check(publish("8788/tcp", "0.0.0.0"), Level::Fail, "usage port", "0.0.0.0");
    check(|facts| facts.containers = Some(Err("odd".into())), Level::Warn, "containers", "odd");
    check(|facts| facts.containers = Some(Ok(Vec::new())), Level::Fail, "containers", "none");
}

#[test]
fn clients_beside_each_other() {
    let other = |name: &str, from: &str, to: &str| {
        let mut facts = sound();
        name.clone_into(&mut facts.client);
        let own = env()
            .replace("9001", "9002")
            .replace("8001", "8002")
            .replace("sk-or-v1-a", "sk-or-v1-b")
            .replace("63a4eb6d", "bbbbbbbb")
            .replace(PROXY, &PROXY.replace('a', "b"))
            .replace(ADMIN, &ADMIN.replace('a', "b"));
        assert!(own.contains(from), "{from}");
        facts.env = Ok(EnvFile::parse(&own.replace(from, to)).unwrap());
        facts
    };
    let found = |docker: Result<(), String>, second: Facts| {
        let server = ServerFacts { docker, clients: vec![sound(), second] };
        wrong(&all(&server).last().unwrap().checks)
    };
    assert_eq!(found(Ok(()), other("company-b", "9002", "9002")), []);
    for (from, to, check, words) in [
        ("9002", "9001", "ports", "port 9001 is used twice: company-a (USAGE_PORT), company-b (USAGE_PORT)"),
        ("8002", "9001", "ports", "company-b (MAI_PORT)"),
        ("USAGE_PORT=9002\n", "", "ports", "9001"),
        ("MAI_PORT=8002", "MAI_PORT=127.0.0.1:8001", "ports", "8001"),
        ("sk-or-v1-b", "sk-or-v1-a", "own secrets", "OPENROUTER_API_KEY is the same in company-a, company-b"),
        ("mai_client_bbbbbbbb", "mai_client_63a4eb6d", "own secrets", "OPENROUTER_EXTERNAL_USER"),
    ] {
        let found = found(Ok(()), other("company-b", from, to));
        assert!(
            matches!(found.as_slice(), [(Level::Fail, told, what)] if *told == check && what.contains(words)),
            "{words}: {found:?}"
        );
        assert!(!found[0].2.contains("sk-or-"), "{found:?}");
    }
    let mut older = other("company-b", "9002", "9002");
    older.containers.as_mut().unwrap().as_mut().unwrap()[0].image_id = "sha256:fedcba9876543210".to_owned();
    let told = found(Ok(()), older);
    assert!(
        told.len() == 1 && told[0].2.contains("mai-usage: 0123456789ab in company-a; fedcba987654"),
        "{told:?}"
    );
    let told = found(Err("no daemon".to_owned()), other("company-b", "9002", "9002"));
    assert!(matches!(told.as_slice(), [(Level::Fail, "docker", _)]), "{told:?}");
}
