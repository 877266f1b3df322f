//! The executable itself: exit codes, and what goes to which stream.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::process::{Command, Output};

fn wiregate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wiregate"))
        .args(args)
        .env("HOME", "/nonexistent")
        .env_remove("XDG_STATE_HOME")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn check_ends_with_0_1_or_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wiregate.yaml");
    let file = file.to_str().unwrap();

    let missing = wiregate(&["check", "--config", file]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).starts_with("wiregate: ") && missing.stdout.is_empty());

    fs::write(file, "servers: { a: { url: 'http://127.0.0.1:9/mcp' } }\n").unwrap();
    let fine = wiregate(&["check", "--config", file, "--json"]);
    assert_eq!(fine.status.code(), Some(0), "{}", stderr(&fine));
    let report: serde_json::Value = serde_json::from_str(&stdout(&fine)).unwrap();
    assert_eq!(report["ok"], true);
    assert_eq!(report["servers"][0], "a");

    fs::write(file, "servers: { a: { url: 'ftp://a' } }\nlimits: { batch: 0 }\n").unwrap();
    let wrong = wiregate(&["check", "--config", file]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stdout(&wrong).contains(&format!("{file}:1:")), "{}", stdout(&wrong));
    assert!(stdout(&wrong).contains(&format!("{file}:2:")), "{}", stdout(&wrong));

    let wrong = wiregate(&["check", "--config", file, "--json"]);
    assert_eq!(wrong.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_str(&stdout(&wrong)).unwrap();
    assert_eq!(report["errors"].as_array().unwrap().len(), 2);
}

#[test]
fn serve_refuses_what_check_would() {
    let refused = wiregate(&["serve"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("command line: no server"), "{}", stderr(&refused));

    let server = "http://127.0.0.1:9/mcp";
    let open = wiregate(&["serve", "--upstream", server, "--listen", "0.0.0.0:0"]);
    assert_eq!(open.status.code(), Some(2));
    assert!(stderr(&open).contains("--listen: reachable from other machines"), "{}", stderr(&open));
}

#[test]
fn wrap_refuses_a_name_no_server_can_have() {
    let refused = wiregate(&["wrap", "--no-capture", "--name", "My Files", "--", "cat"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("a server's name is"), "{}", stderr(&refused));
}

#[test]
fn data_goes_to_stdout() {
    let schema: serde_json::Value = serde_json::from_str(&stdout(&wiregate(&["schema"]))).unwrap();
    assert_eq!(schema["additionalProperties"], false);

    let list = |args: &[&str]| -> serde_json::Value {
        let listed = wiregate(&[&["rules", "list", "--json"], args].concat());
        serde_json::from_str(&stdout(&listed)).unwrap()
    };
    let sets = list(&[]);
    let first = &sets["sets"][0];
    assert_eq!((&first["name"], &first["state"]), (&"wiregate-builtin".into(), &"active".into()));
    assert_eq!((&first["digest"], &first["rules"]), (&sets["digest"], &sets["rules"]));
    let states = sets["sets"].as_array().unwrap().iter().filter(|set| set["state"] == "offered");
    assert_eq!(states.count(), 2);
    assert_eq!(list(&["--each"]).as_array().unwrap().len() as u64, sets["rules"]);
}

#[test]
fn each_key_is_another_and_is_named() {
    let one = wiregate(&["keys", "new", "alice"]);
    let other = wiregate(&["keys", "new", "alice"]);
    assert_eq!(one.status.code(), Some(0));
    assert_ne!(one.stdout, other.stdout);
    let text = stdout(&one);
    let (key, line) = text.trim_end().split_once('\n').unwrap();
    // 256 bits in 43 letters behind the prefix.
    assert_eq!(key.len(), "wgk_".len() + 43);
    assert!(line.starts_with("- { name: \"alice\", sha256: \"") && !line.contains(key));
    assert_eq!(wiregate(&["keys", "new", "a b"]).status.code(), Some(2));
}

#[test]
fn replay_is_another_program() {
    // A copy in a folder of its own, where nothing stands beside it.
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("wiregate");
    fs::copy(env!("CARGO_BIN_EXE_wiregate"), &own).unwrap();
    let run = |args: &[&str]| Command::new(&own).arg("replay").args(args).output().unwrap();

    let missing = run(&["scan"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("cargo build --release --package replay"));

    let script = "#!/bin/sh\necho \"$@\"\nexit 7\n";
    let replay = folder.path().join("wiregate-replay");
    fs::write(&replay, script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&replay, executable).unwrap();
    let found = run(&["scan", "--help"]);
    assert_eq!((found.status.code(), stdout(&found).as_str()), (Some(7), "scan --help\n"));
}

#[test]
fn servers_are_added_listed_and_removed_and_nothing_wrong_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("servers");
    let dir = dir.to_str().unwrap();
    let run = |args: &[&str]| wiregate(&[&["servers"], args, &["--dir", dir]].concat());
    let added =
        wiregate(&["servers", "add", "files", "--dir", dir, "--owner", "me", "--", "f", "-x"]);
    assert_eq!(added.status.code(), Some(0), "{}", stderr(&added));
    assert_eq!(run(&["add", "files", "--url", "http://a/"]).status.code(), Some(2), "it is there");
    let wrong = run(&["add", "web", "--url", "ftp://a/"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("web.yaml:1:6: not http://"), "{}", stderr(&wrong));

    let import = folder.path().join(".mcp.json");
    fs::write(&import, r#"{"mcpServers": {"Far": {"url": "https://a.example/${env:A}"}}}"#)
        .unwrap();
    let imported = run(&["add", "--from", import.to_str().unwrap(), "--json"]);
    assert_eq!(imported.status.code(), Some(0), "{}", stderr(&imported));

    let listed = run(&["list", "--json"]);
    assert_eq!(listed.status.code(), Some(2), "a variable is not set: {}", stdout(&listed));
    let report: serde_json::Value = serde_json::from_str(&stdout(&listed)).unwrap();
    assert_eq!(report["servers"][0]["name"], "files");
    assert_eq!(report["servers"][0]["owner"], "me");
    assert!(report["errors"][0].as_str().unwrap().contains("far.yaml"), "{report}");

    assert_eq!(run(&["remove", "far"]).status.code(), Some(0));
    assert_eq!(run(&["remove", "far"]).status.code(), Some(2));
    assert_eq!(run(&["list"]).status.code(), Some(0));
}

#[test]
fn a_client_is_connected_after_a_dry_run_and_brought_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.json");
    let before = "{\n  // mine\n  \"mcpServers\": {}\n}\n";
    fs::write(&file, before).unwrap();
    let run = |args: &[&str]| {
        wiregate(&[&["connect", "cursor", "--file", file.to_str().unwrap()], args].concat())
    };
    let dry = run(&["--dry-run"]);
    assert_eq!(dry.status.code(), Some(1));
    assert!(stdout(&dry).contains("+"), "{}", stdout(&dry));
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    assert_eq!(run(&[]).status.code(), Some(0));
    assert!(fs::read_to_string(&file).unwrap().contains("// mine"));
    let again = run(&["--dry-run"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(run(&["--rollback", "--json"]).status.code(), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    assert_eq!(run(&["--rollback"]).status.code(), Some(2), "there is nothing to bring back");
    fs::write(&file, "{").unwrap();
    assert_eq!(run(&[]).status.code(), Some(2));
    let nowhere = wiregate(&["connect", "windsurf", "--scope", "project"]);
    assert_eq!(nowhere.status.code(), Some(2), "{}", stdout(&nowhere));
}
