use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;

/// What docker-compose 1.29 makes of a file for substitution.
const COMPOSE: &str = "import json, sys\nfrom compose.config.environment import env_vars_from_file\n\
                       print(json.dumps(env_vars_from_file(sys.argv[1])))";

/// What Python's dotenv makes of it.
const DOTENV: &str =
    "import json, sys\nfrom dotenv import dotenv_values\nprint(json.dumps(dotenv_values(sys.argv[1])))";

#[track_caller]
fn read(text: &str) -> Vec<(String, String)> {
    let file = EnvFile::parse(text).unwrap();
    file.variables().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn a_persons_lines_stay_as_they_are() {
    let text = "# mine\n\nexport A = 'old'  # why\n  B=two words # note\nC\n#D=1\nA='last' # this counts\n";
    let mut file = EnvFile::parse(text).unwrap();
    assert_eq!(file.to_string(), text);
    assert_eq!(
        (file.get("A"), file.get("B"), file.get("C"), file.get("D")),
        (Some("last"), Some("two words"), None, None)
    );
    file.set("A", "new # value").unwrap();
    file.set("B", "b").unwrap();
    file.set("D", "").unwrap();
    assert_eq!(
        file.to_string(),
        "# mine\n\nexport A = 'old'  # why\n  B=b # note\nC\n#D=1\nA='new # value' # this counts\nD=\n"
    );
    assert_eq!(file.get("D"), None);
}

#[test]
fn a_file_from_another_system_keeps_its_line_ends() {
    let mut file = EnvFile::parse("\u{feff}A=1\r\nB='x'\r\n").unwrap();
    assert_eq!(file.get("A"), Some("1"));
    file.set("C", "ł").unwrap();
    assert_eq!(file.to_string(), "A=1\r\nB='x'\r\nC='ł'\r\n");
}

#[test]
fn values_are_read_as_dotenv_reads_them() {
    let pairs = [
        ("A=plain#x", "plain#x"),
        ("A=x  # comment", "x"),
        ("A= #h", "#h"),
        ("A=", ""),
        ("A='a b $x #c \"q\" ł\\n'", "a b $x #c \"q\" ł\\n"),
        ("A='it\\'s'", "it's"),
        ("A=\"it's \\\"q\\\" #1\\n\"", "it's \"q\" #1\n"),
        ("A=\"a\\\\b\\q\"", "a\\b\\q"),
        ("A=back\\slash", "back\\slash"),
        ("export A='y' # z", "y"),
        ("'A' = y ", "y"),
    ];
    for (text, value) in pairs {
        assert_eq!(read(text), [("A".to_owned(), value.to_owned())], "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_told_without_being_shown() {
    for text in ["A='secret", "A=\"secret", "A='secret' secret", "=secret", "two secret words"] {
        let error = EnvFile::parse(&format!("\n{text}\n")).unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("secret"), "{error}");
    }
    assert!(!format!("{:?}", EnvFile::parse("A=secret").unwrap()).contains("secret"));
}

#[test]
fn values_that_readers_expand_are_refused_where_it_matters() {
    for (text, ambiguous) in [
        ("A=$B", true),
        ("A=\"$B\"", true),
        ("A='${B}'", true),
        ("A='$B'", false),
        ("A='plain'", false),
        ("A=$B\nA='$B'", false),
    ] {
        let file = EnvFile::parse(text).unwrap();
        assert_eq!(file.refuse_ambiguous(["A", "missing"]).is_err(), ambiguous, "{text}");
        assert!(file.refuse_ambiguous(["B"]).is_ok());
    }
}

#[test]
fn values_without_a_common_form_are_refused() {
    for value in ["two\nlines", "${X}", "it's $5", "it's a \\", "\\\\", "ends \\"] {
        assert!(EnvFile::default().set("A", value).is_err(), "{value}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(value in "[ -~łóż'\"$#\\\\]{0,24}", before in "(#[ -~]{0,9}\n|B=[a-z]{0,5}\n){0,3}") {
        let mut file = EnvFile::parse(&before).unwrap();
        if file.set("A", &value).is_ok() {
            let text = file.to_string();
            prop_assert!(text.starts_with(&before));
            let again = EnvFile::parse(&text).unwrap();
            prop_assert_eq!(again.get("A").unwrap_or_default(), &value);
            prop_assert_eq!(again.to_string(), text);
            prop_assert!(again.refuse_ambiguous(["A"]).is_ok());
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,80}") {
        if let Ok(mut file) = EnvFile::parse(&text) {
            let _ = file.set("A", "x");
            let again = EnvFile::parse(&file.to_string()).unwrap();
            prop_assert_eq!(again.get("A"), Some("x"));
        }
    }
}

/// The variables as a Python program reads them; `None` where it cannot run here.
fn by_python(python: &str, program: &str, path: &Path) -> Option<Vec<(String, String)>> {
    let output = Command::new(python).args(["-c", program]).arg(path).output().ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let map: std::collections::BTreeMap<String, String> = serde_json::from_str(&text).ok()?;
    Some(map.into_iter().collect())
}

fn readers(path: &Path) -> Vec<(&'static str, Vec<(String, String)>)> {
    let found = [
        ("docker-compose", by_python("/usr/bin/python3", COMPOSE, path)),
        ("dotenv", by_python("python3", DOTENV, path)),
    ];
    let readers: Vec<_> = found.into_iter().filter_map(|(name, read)| Some((name, read?))).collect();
    if readers.is_empty() {
        eprintln!("neither docker-compose 1.29 nor Python's dotenv is installed: not compared");
    }
    readers
}

/// Many values in one file, so that Python starts twice and not a thousand times.
#[test]
fn every_reader_reads_what_was_meant() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let letters = "[ -~łóżŻ\"'$#\\\\`!]{0,16}";
    let mut values: Vec<String> =
        (0..400).map(|_| letters.new_tree(&mut runner).unwrap().current()).collect();
    values.extend(
        [
            "",
            " ",
            " lead",
            "trail ",
            "a b",
            "#",
            "a #b",
            "$",
            "$HOME",
            "$$",
            "\"",
            "'",
            "it's \"q\" #1",
            "\\n",
            "Zażółć \"Gęślą\" $5",
        ]
        .map(str::to_owned),
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".env");
    let mut file = EnvFile::default();
    let mut meant = Vec::new();
    for (number, value) in values.iter().enumerate() {
        let name = format!("NAME_{number}");
        if file.set(&name, value).is_ok() {
            meant.push((name, value));
        }
    }
    std::fs::write(&path, file.to_string()).unwrap();
    assert!(meant.len() > values.len() / 2, "most values have a form: {}", meant.len());
    for (reader, read) in readers(&path) {
        for (name, value) in &meant {
            let told = read.iter().find(|(known, _)| known == name).map(|(_, value)| value);
            assert_eq!(told, Some(*value), "{reader} reads {name} otherwise");
        }
    }
}
