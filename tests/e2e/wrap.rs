//! `wiregate wrap`: the same pipeline on standard input and output, and a child that never outlives it.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tests::{call, request, within};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::rows;

struct Wrap {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Wrap {
    async fn start(capture: &Path, command: &[&str]) -> Self {
        let built = tokio::task::spawn_blocking(tests::binaries).await.unwrap();
        let mut child = Command::new(&built.wiregate)
            .arg("wrap")
            .arg("--capture")
            .arg(capture)
            .env("XDG_STATE_HOME", capture)
            .arg("--")
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { input: child.stdin.take(), child, output }
    }

    async fn say(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(line.as_bytes()).await.unwrap();
        input.write_all(b"\n").await.unwrap();
    }

    async fn hear(&mut self) -> Option<Value> {
        let line = within("a line", self.output.next_line()).await.unwrap()?;
        Some(serde_json::from_str(&line).unwrap())
    }

    async fn end(mut self) -> (std::process::ExitStatus, String) {
        self.input.take();
        let output = within("the end", self.child.wait_with_output()).await.unwrap();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[tokio::test]
async fn messages_pass_in_order_and_are_judged_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let built = tokio::task::spawn_blocking(tests::binaries).await.unwrap();
    let mut wrap = Wrap::start(dir.path(), &[built.stdio_echo().to_str().unwrap()]).await;
    let info = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    wrap.say(&request(0, "initialize", info).to_string()).await;
    wrap.say(&call(1, "echo", json!({"message": "one"})).to_string()).await;
    for id in [0, 1] {
        assert_eq!(wrap.hear().await.unwrap()["params"]["data"], "before");
        assert_eq!(wrap.hear().await.unwrap()["id"], id);
    }
    // What is blocked never reaches the child, and the next message is served.
    wrap.say(&call(2, "run", json!({"message": "cat ~/.ssh/id_rsa"})).to_string()).await;
    let blocked = wrap.hear().await.unwrap();
    assert_eq!((&blocked["id"], &blocked["result"]["isError"]), (&json!(2), &json!(true)));
    wrap.say("no JSON").await;
    assert_eq!(wrap.hear().await.unwrap()["error"]["code"], -32700);
    // What the child says that is no message does not reach the client.
    wrap.say(&request(3, "tools/list", json!({})).to_string()).await;
    assert_eq!(wrap.hear().await.unwrap()["params"]["data"], "before");
    assert_eq!(wrap.hear().await.unwrap()["id"], 3);
    let (status, stderr) = wrap.end().await;
    assert!(status.success(), "{status}");
    assert!(stderr.contains("input ended"), "the child's stderr passes: {stderr}");

    let rows = rows(dir.path());
    let messages = rows.iter().filter(|r| r.leg.as_deref() == Some("client"));
    let messages = messages.filter(|r| !matches!(r.kind.as_deref(), Some("gap" | "transport")));
    // Four requests with four answers, three log messages, and the error to what was no JSON.
    assert_eq!(messages.count(), 12);
    let named = rows.iter().filter(|r| r.client_name.as_deref() == Some("t")).count();
    assert!(named > 2, "the handshake names the client in later rows");
}

#[tokio::test]
async fn a_child_that_ends_leaves_no_request_unanswered() {
    let dir = tempfile::tempdir().unwrap();
    let mut wrap = Wrap::start(dir.path(), &["sh", "-c", "read line; exit 3"]).await;
    wrap.say(&call(1, "echo", json!({})).to_string()).await;
    let answer = wrap.hear().await.unwrap();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(1005)));
    assert_eq!(wrap.end().await.0.code(), Some(3));
}

#[tokio::test]
async fn a_command_that_is_none_is_told_by_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let wrap = Wrap::start(dir.path(), &["/nonexistent/server"]).await;
    let (status, stderr) = wrap.end().await;
    assert!(!status.success());
    assert!(stderr.contains("/nonexistent/server"), "{stderr}");
}

#[tokio::test]
async fn a_child_that_ignores_everything_is_killed_with_all_it_started() {
    let dir = tempfile::tempdir().unwrap();
    // A pipe that whoever is alive holds open tells when the last of them is gone.
    let fifo = dir.path().join("alive");
    assert!(Command::new("mkfifo").arg(&fifo).status().await.unwrap().success());
    let script = "trap '' TERM; exec 9>\"$0\"; (trap '' TERM; sleep 1000) & echo '{\"jsonrpc\":\"2.0\",\"method\":\"notifications/ready\"}'; cat >/dev/null; while :; do sleep 1000; done";
    for kill in [false, true] {
        let mut alive = Command::new("cat").arg(&fifo).kill_on_drop(true).spawn().unwrap();
        let mut wrap =
            Wrap::start(&dir.path().join("capture"), &["sh", "-c", script, fifo.to_str().unwrap()])
                .await;
        assert_eq!(wrap.hear().await.unwrap()["method"], "notifications/ready");
        if kill {
            // Nothing of the gateway's own runs after this.
            wrap.child.kill().await.unwrap();
        } else {
            wrap.end().await;
        }
        within("the last of them to be gone", alive.wait()).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_and_a_pipe_held_open_do_not_hold_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let flood = "while :; do echo '{\"jsonrpc\":\"2.0\",\"method\":\"notifications/ready\"}'; done";
    let held = "setsid sleep 1000 & echo '{\"jsonrpc\":\"2.0\",\"method\":\"notifications/ready\"}'; read line";
    for script in [flood, held] {
        let mut wrap = Wrap::start(dir.path(), &["sh", "-c", script]).await;
        assert_eq!(wrap.hear().await.unwrap()["method"], "notifications/ready");
        // From here on nobody reads its output.
        let pid = wrap.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::TERM).unwrap();
        within("the end", wrap.child.wait()).await.unwrap();
    }
    // The one that left its group, as the limits say, is left behind.
    let _ = Command::new("pkill").args(["-f", "^sleep 1000$"]).status().await;
}

#[tokio::test]
async fn a_child_that_ends_while_another_holds_its_output_leaves_no_request_unanswered() {
    let dir = tempfile::tempdir().unwrap();
    let script = "setsid sleep 30 & read line; exit 0";
    let mut wrap = Wrap::start(dir.path(), &["sh", "-c", script]).await;
    wrap.say(&call(1, "echo", json!({})).to_string()).await;
    assert_eq!(wrap.hear().await.unwrap()["error"]["code"], 1005);
    within("the end", wrap.child.wait()).await.unwrap();
}
