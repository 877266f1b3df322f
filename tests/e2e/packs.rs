//! Signed rule packs: made, refused, held up by a replay, accepted, in effect at the next start, rolled back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Client, Gateway, call, within};
use tokio::process::Command;

use crate::echo;

const TICKET: &str = "about TICKET-123456";
const PROJECT: &str = "about PROJECT-aurora";

/// A folder with a key, rules, a configuration and installed packs.
struct Desk {
    dir: TempDir,
    settings: String,
}

impl Desk {
    async fn new() -> Self {
        let mut desk = Self { dir: tempfile::tempdir().unwrap(), settings: String::new() };
        let made = desk.run(&["keys", "new", "ops", "--sign", "ops.pem"]).await;
        let trusted = stdout(&made).trim().trim_start_matches("- ").to_owned();
        assert!(trusted.starts_with("{ name: \"ops\", key: \"ed25519:"), "{trusted}");
        let shelf = desk.path("shelf");
        desk.settings =
            format!("inspect: {{ packs: {{ dir: {}, trust: [ {trusted} ] }} }}\n", shelf.display());
        let servers = "servers: { upstream: { url: 'http://127.0.0.1:9/mcp' } }\n";
        fs::write(desk.path("wiregate.yaml"), format!("{servers}{}", desk.settings)).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn run(&self, args: &[&str]) -> Output {
        let built = tokio::task::spawn_blocking(tests::binaries).await.unwrap();
        let mut command = Command::new(&built.wiregate);
        command.current_dir(self.dir.path()).env("XDG_STATE_HOME", self.path("state")).args(args);
        within("wiregate", command.output()).await.unwrap()
    }

    /// `wiregate rules` under the desk's configuration: exit code, stdout and stderr.
    async fn rules(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let args = [&["rules"], args, &["--config", "wiregate.yaml"]].concat();
        let output = self.run(&args).await;
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        (output.status.code(), stdout(&output), said)
    }

    /// Writes rules of this version and makes a pack of them: that of tickets, and from 1.1 on one that blocks.
    async fn pack(&self, version: &str, key: &str) -> String {
        let rules = self.path("acme");
        fs::create_dir_all(&rules).unwrap();
        let mut text = format!("set: {{ name: acme, version: '{version}' }}\nrules:\n");
        text += &rule(
            "acme.ticket.number",
            "redact",
            "TICKET-[0-9]{6}",
            ["TICKET-123456", "TICKET-000000"],
        );
        if version != "1.0" {
            text += &rule(
                "acme.project.name",
                "block",
                "PROJECT-[a-z]{6}",
                ["PROJECT-aurora", "PROJECT-zenith"],
            );
        }
        fs::write(rules.join("acme.yaml"), text).unwrap();
        let file = format!("acme-{version}-{key}.pack");
        let made = self.run(&["rules", "pack", "acme", "--key", key, "--out", &file]).await;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        file
    }

    /// What an echo says through a gateway of this configuration, which names its rules; and the capture.
    async fn through(&self, message: &str) -> (Value, String, TempDir) {
        let server = echo().await;
        let gateway = Gateway::configured(&server.url, &self.settings).await;
        let answer =
            Client::new(&gateway.url).post(&call(1, "echo", json!({"message": message}))).await;
        let answer = answer.json().await;
        let ready = Client::new(&format!("{}/readyz", gateway.admin)).get().await.json().await;
        let log = gateway.log();
        assert!(log.contains("rules in use") && log.contains("wiregate-builtin"), "{log}");
        let sets = ready["rules"]["sets"].to_string();
        let (dir, _) = gateway.stop().await;
        (answer["result"].clone(), sets, dir)
    }
}

fn rule(id: &str, action: &str, pattern: &str, examples: [&str; 2]) -> String {
    let [one, other] = examples;
    format!(
        "  - id: {id}\n    title: Something of ours\n    class: unsafe\n    severity: high\n    action: {action}\n    pattern: '{pattern}'\n    docs: {{ finds: It., why: It is ours. }}\n    tests: {{ match: [{one}, {other}], no_match: [nothing, 'TICKET-1 PROJECT-1'] }}\n"
    )
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The state of each version of `acme` that is listed.
async fn listed(desk: &Desk) -> Vec<(String, String)> {
    let (code, list, said) = desk.rules(&["list", "--json"]).await;
    assert_eq!(code, Some(0), "{said}");
    let list: Value = serde_json::from_str(&list).unwrap();
    let sets = list["sets"].as_array().unwrap().iter().filter(|set| set["name"] == "acme");
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    sets.map(|set| (word(&set["version"]), word(&set["state"]))).collect()
}

fn states(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(version, state)| ((*version).to_owned(), (*state).to_owned())).collect()
}

#[tokio::test]
async fn a_pack_is_gated_by_a_replay_takes_effect_at_the_next_start_and_is_rolled_back() {
    let desk = Desk::new().await;
    let first = desk.pack("1.0", "ops.pem").await;
    let second = desk.pack("1.1", "ops.pem").await;

    // Nothing was recorded yet, so nothing speaks for the pack.
    let (code, _, said) = desk.rules(&["update", &first]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("nothing to replay"), "{said}");
    assert!(!desk.path("shelf/acme").exists());
    let (code, _, said) = desk.rules(&["update", &first, "--accept"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(listed(&desk).await, states(&[("1.0", "active")]));

    let (ticket, sets, _dir) = desk.through(TICKET).await;
    assert_eq!(ticket["content"][0]["text"], "about [redacted:acme.ticket.number]");
    assert!(sets.contains(r#"{"name":"acme","version":"1.0"}"#), "{sets}");
    let (project, _, traffic) = desk.through(PROJECT).await;
    assert_eq!(project["content"][0]["text"], PROJECT);

    // The next version would block what was said there.
    let capture = traffic.path().join("capture");
    let update = ["update", &second, "--json", "--capture", capture.to_str().unwrap()];
    let (code, report, said) = desk.rules(&update).await;
    assert_eq!(code, Some(1), "{said}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["new_blocks"], &report["installed"]), (&json!(2), &json!(false)));
    assert_eq!(report["changes"]["added"][0]["id"], "acme.project.name");
    assert_eq!((&report["replaces"], &report["pack"]["signer"]), (&json!("1.0"), &json!("ops")));
    let dry = [&update[..], &["--accept", "--dry-run"]].concat();
    assert_eq!(desk.rules(&dry).await.0, Some(0));
    assert_eq!(listed(&desk).await, states(&[("1.0", "active")]));

    // After a look.
    let (code, text, said) =
        desk.rules(&["update", &second, "--accept", "--capture", update[4]]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(text.starts_with("acme 1.0 -> 1.1, signed by ops: 1 added"), "{text}");
    assert_eq!(listed(&desk).await, states(&[("1.0", "kept"), ("1.1", "active")]));
    let (project, sets, _dir) = desk.through(PROJECT).await;
    assert_eq!(project["isError"], true, "{project}");
    assert!(sets.contains(r#"{"name":"acme","version":"1.1"}"#), "{sets}");
    let (code, _, said) = desk.rules(&["update", &second]).await;
    assert_eq!((code, said.trim()), (Some(0), "acme@1.1 is in use already"));

    let (code, text, _) = desk.rules(&["diff", "acme@1.0", "acme"]).await;
    assert_eq!(code, Some(1));
    assert!(text.starts_with("+ acme.project.name "), "{text}");
    assert_eq!(desk.rules(&["diff", "acme", &second]).await.0, Some(0));

    // Back, which `update` does not do.
    let (code, _, said) = desk.rules(&["update", &first, "--accept"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("1.0 is older than 1.1"), "{said}");
    let (code, text, _) = desk.rules(&["rollback", "acme"]).await;
    assert_eq!((code, text.as_str()), (Some(0), "acme 1.1 -> 1.0\n"));
    assert_eq!(listed(&desk).await, states(&[("1.0", "active"), ("1.1", "kept")]));
    let (project, ..) = desk.through(PROJECT).await;
    assert_eq!(project["content"][0]["text"], PROJECT);
    let (code, _, said) = desk.rules(&["rollback", "acme"]).await;
    assert!(code == Some(2) && said.contains("a version of acme before 1.0"), "{said}");
    assert_eq!(desk.rules(&["rollback", "acme", "--to", "none"]).await.0, Some(0));
    assert_eq!(listed(&desk).await, states(&[("1.0", "kept"), ("1.1", "kept")]));
}

#[tokio::test]
async fn what_no_trusted_key_signed_is_refused_and_leaves_nothing_behind() {
    let desk = Desk::new().await;
    desk.run(&["keys", "new", "mallory", "--sign", "mallory.pem"]).await;
    let good = desk.pack("1.0", "ops.pem").await;
    let text = fs::read_to_string(desk.path(&good)).unwrap();
    let unsigned: Vec<&str> = text.lines().filter(|line| !line.starts_with("signature")).collect();
    fs::write(desk.path("unsigned.pack"), unsigned.join("\n")).unwrap();
    fs::write(desk.path("changed.pack"), text.replace("redact", "allow")).unwrap();
    let foreign = desk.pack("1.0", "mallory.pem").await;
    for (pack, told) in [
        ("unsigned.pack", "it has no signature"),
        ("changed.pack", "the signature is wrong"),
        (foreign.as_str(), "which is not in `inspect.packs.trust`"),
        ("acme/acme.yaml", "its first line is another"),
        ("gone.pack", "cannot be read"),
    ] {
        let (code, out, said) = desk.rules(&["update", pack, "--accept"]).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{pack}: {said}");
        assert!(said.contains(told), "{pack}: {said}");
    }
    assert!(!desk.path("shelf").exists());
    // Without a trusted key no pack is any good.
    let untrusting = desk.run(&["rules", "update", &good, "--accept"]).await;
    assert_eq!(untrusting.status.code(), Some(2));
    // Nobody else may read what signs, and a key is never written over another.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(desk.path("ops.pem"), mode).unwrap();
    let open = desk.run(&["rules", "pack", "acme", "--key", "ops.pem", "--out", "x"]).await;
    assert!(open.status.code() == Some(2) && !desk.path("x").exists());
    assert_eq!(desk.run(&["keys", "new", "ops", "--sign", "ops.pem"]).await.status.code(), Some(2));
}

#[tokio::test]
async fn an_installed_pack_that_was_changed_keeps_the_gateway_from_starting() {
    let desk = Desk::new().await;
    for version in ["1.0", "1.1"] {
        let pack = desk.pack(version, "ops.pem").await;
        assert_eq!(desk.rules(&["update", &pack, "--accept"]).await.0, Some(0));
    }
    let installed = desk.path("shelf/acme/1.1.pack");
    let text = fs::read_to_string(&installed).unwrap();
    fs::write(&installed, text.replace("block", "allow")).unwrap();
    let start = ["serve", "--config", "wiregate.yaml", "--listen", "127.0.0.1:0", "--admin", "off"];
    let refused = desk.run(&start).await;
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("shelf/acme/1.1.pack: the signature is wrong"), "{said}");
    let (code, list, said) = desk.rules(&["list"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(list.contains("active, not usable"), "{list}");
    // The way out.
    assert_eq!(desk.rules(&["rollback", "acme"]).await.0, Some(0));
    let check = desk.run(&["check", "--config", "wiregate.yaml"]).await;
    assert!(check.status.success(), "{}", stdout(&check));
    assert!(Path::new(&installed).exists());
}
