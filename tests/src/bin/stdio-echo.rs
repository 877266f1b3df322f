//! An MCP server on stdio, as small as it can be: before each answer a log message, before the answer to `tools/list`
//! a line that is no JSON. It ends when its input does, and says so on stderr.

use std::io::{self, BufRead, Write};

use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        let (Some(id), Some(method)) = (message.get("id"), message.get("method")) else {
            continue;
        };
        if method == "tools/list" {
            writeln!(out, "this is no JSON")?;
        }
        let text = message["params"]["arguments"]["message"].to_string();
        let log = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "before"}});
        let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}});
        writeln!(out, "{log}\n{answer}")?;
        out.flush()?;
    }
    eprintln!("input ended");
    Ok(())
}
