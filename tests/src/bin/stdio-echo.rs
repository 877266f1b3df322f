//! An MCP server on stdio for the tests, of the revisions with sessions and of the one without, in one thread and with
//! no time of its own: what waits, waits for another call.
//!
//! Without `--quiet` it is noisy: before each answer a log message, before the answer to `tools/list` a line that is no
//! JSON. `--legacy` and `--modern` leave out the other revisions; `--hang` answers nothing. It ends when its input does,
//! and says so on stderr.
//!
//! Its tools: `echo` returns its `message`; `who` tells the process, its folder and the names and values of its
//! environment; `slow` answers when `release` is called, with its `message` if it has one; `held` tells the ids of the calls that wait and of those that
//! were cancelled; `progress` reports some first; `elicit` asks the client something; `change` tells that its tools
//! changed; `later` says something after its answer; `stderr` writes its `message` there; `grow` takes `message`
//! mebibytes of memory; `crash` ends the process.

use std::io::{self, BufRead, Write};

use serde_json::{Value, json};

const META: &str = "io.modelcontextprotocol/";
const TOOLS: [&str; 12] = [
    "echo", "who", "slow", "release", "held", "progress", "elicit", "change", "later", "stderr",
    "grow", "crash",
];

#[derive(Default)]
struct Server {
    quiet: bool,
    legacy_only: bool,
    modern_only: bool,
    /// The ids of the calls that wait, and what each will say.
    held: Vec<(Value, Value)>,
    cancelled: Vec<Value>,
    asked: Vec<Value>,
    subscriptions: Vec<Value>,
    memory: Vec<Vec<u8>>,
}

fn main() -> io::Result<()> {
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    let mut server = Server {
        quiet: has("--quiet"),
        legacy_only: has("--legacy"),
        modern_only: has("--modern"),
        ..Server::default()
    };
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        if has("--hang") {
            continue;
        }
        if !server.take(&message, &mut out)? {
            return Err(io::Error::other("it crashed, as it was told"));
        }
        out.flush()?;
    }
    eprintln!("input ended");
    Ok(())
}

fn say(out: &mut impl Write, message: &Value) -> io::Result<()> {
    writeln!(out, "{message}")
}

impl Server {
    /// False when it is to end.
    fn take(&mut self, message: &Value, out: &mut impl Write) -> io::Result<bool> {
        let (id, params) = (&message["id"], &message["params"]);
        let Some(method) = message["method"].as_str() else {
            // The answer to what it asked; the call that asked has its own answer now.
            if let Some(call) = self.asked.pop() {
                self.answer(out, &call, false, text(&message["result"]["action"]))?;
            }
            return Ok(true);
        };
        if id.is_null() {
            if method == "notifications/cancelled" {
                let gone = &params["requestId"];
                self.held.retain(|(held, _)| held != gone);
                self.subscriptions.retain(|held| held != gone);
                self.cancelled.push(gone.clone());
            }
            return Ok(true);
        }
        let modern = params["_meta"].get(format!("{META}protocolVersion")).is_some();
        let other =
            if modern || method == "server/discover" { self.legacy_only } else { self.modern_only };
        if other {
            let error = json!({"code": -32601, "message": "not this revision"});
            say(out, &json!({"jsonrpc": "2.0", "id": id, "error": error}))?;
            return Ok(true);
        }
        if method == "tools/call" {
            return self.call(message, modern, out);
        }
        let info = json!({"name": "stdio-echo", "version": "1"});
        let capabilities = json!({"tools": {"listChanged": true}, "logging": {}});
        match method {
            "initialize" => {
                let version = &params["protocolVersion"];
                let result = json!({"protocolVersion": version, "capabilities": capabilities, "serverInfo": info});
                self.answer(out, id, modern, result)?;
            }
            "server/discover" => {
                let result = json!({"supportedVersions": ["2026-07-28"], "capabilities": capabilities, "ttlMs": 0, "cacheScope": "private"});
                self.answer(out, id, true, result)?;
            }
            "tools/list" => {
                if !self.quiet {
                    writeln!(out, "this is no JSON")?;
                }
                let tool = |name| json!({"name": name, "inputSchema": {"type": "object"}});
                let mut result = json!({"tools": TOOLS.map(tool)});
                if modern {
                    result["ttlMs"] = 0.into();
                    result["cacheScope"] = "private".into();
                }
                self.answer(out, id, modern, result)?;
            }
            "subscriptions/listen" => {
                self.subscriptions.push(id.clone());
                let params = json!({"_meta": {format!("{META}subscriptionId"): id}, "notifications": params["notifications"]});
                let method = "notifications/subscriptions/acknowledged";
                say(out, &json!({"jsonrpc": "2.0", "method": method, "params": params}))?;
            }
            "ping" => self.answer(out, id, modern, json!({}))?,
            _ if self.quiet => {
                let error = json!({"code": -32601, "message": "no such method"});
                say(out, &json!({"jsonrpc": "2.0", "id": id, "error": error}))?;
            }
            _ => self.answer(out, id, modern, text(&Value::Null))?,
        }
        Ok(true)
    }

    fn call(&mut self, message: &Value, modern: bool, out: &mut impl Write) -> io::Result<bool> {
        let (id, params) = (&message["id"], &message["params"]);
        let said = &params["arguments"]["message"];
        let mut result = text(said);
        match params["name"].as_str().unwrap_or_default() {
            "crash" => return Ok(false),
            "who" => {
                let env: serde_json::Map<String, Value> =
                    std::env::vars().map(|(name, value)| (name, value.into())).collect();
                let cwd = std::env::current_dir()?;
                result = text(&json!({"pid": std::process::id(), "cwd": cwd, "env": env}));
            }
            "slow" => {
                let says = if said.is_null() { "released".into() } else { said.clone() };
                self.held.push((id.clone(), says));
                return Ok(true);
            }
            "release" => {
                // The last first: an answer is not known by its place.
                for (held, says) in std::mem::take(&mut self.held).into_iter().rev() {
                    self.answer(out, &held, modern, text(&says))?;
                }
            }
            "held" => {
                let held: Vec<&Value> = self.held.iter().map(|(id, _)| id).collect();
                result = text(&json!({"held": held, "cancelled": self.cancelled}));
            }
            "progress" => {
                let params =
                    json!({"progressToken": params["_meta"]["progressToken"], "progress": 1});
                say(
                    out,
                    &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}),
                )?;
            }
            "elicit" => {
                let schema = json!({"type": "object", "properties": {}});
                let params = json!({"message": "what now", "requestedSchema": schema});
                say(
                    out,
                    &json!({"jsonrpc": "2.0", "id": format!("ask-{}", self.asked.len()), "method": "elicitation/create", "params": params}),
                )?;
                self.asked.push(id.clone());
                return Ok(true);
            }
            "change" => {
                let method = "notifications/tools/list_changed";
                for held in &self.subscriptions {
                    let params = json!({"_meta": {format!("{META}subscriptionId"): held}});
                    say(out, &json!({"jsonrpc": "2.0", "method": method, "params": params}))?;
                }
                if !modern {
                    say(out, &json!({"jsonrpc": "2.0", "method": method}))?;
                }
            }
            "stderr" => eprintln!("{}", said.as_str().unwrap_or_default()),
            "grow" => {
                // Written to, so that it is there and not only promised.
                let mebibytes = said.as_str().and_then(|n| n.parse::<usize>().ok()).unwrap_or(1);
                self.memory.push(vec![1; mebibytes << 20]);
            }
            _ => {}
        }
        self.answer(out, id, modern, result)?;
        if params["name"] == "later" {
            say(out, &log("later"))?;
        }
        Ok(true)
    }

    fn answer(
        &self,
        out: &mut impl Write,
        id: &Value,
        modern: bool,
        mut result: Value,
    ) -> io::Result<()> {
        if modern {
            result["resultType"] = "complete".into();
        } else if !self.quiet {
            say(out, &log("before"))?;
        }
        say(out, &json!({"jsonrpc": "2.0", "id": id, "result": result}))
    }
}

fn log(data: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": data}})
}

/// A tool's result with this text: a string as it is, anything else as JSON.
fn text(value: &Value) -> Value {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    json!({"content": [{"type": "text", "text": text}]})
}
