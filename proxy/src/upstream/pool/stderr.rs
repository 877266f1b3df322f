//! What a server's process writes to its standard error: lines for the log, bounded in length and
//! number, without what the configuration gave it as a secret.

use std::sync::Arc;
use std::time::Duration;

use tokio::process::ChildStderr;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::process::Why;
use crate::lines::{Line, LineReader};
use crate::snapshot::Command;

/// The longest line that is logged, in bytes.
const LONGEST: usize = 2048;
/// Lines that are logged in one span of time.
const MOST: u32 = 50;
/// That span.
const SPAN: Duration = Duration::from_secs(10);
/// How long the last lines are waited for when the process has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A shorter value is no secret, and would be found everywhere.
const SHORTEST_SECRET: usize = 6;

/// Values that are not logged.
#[derive(Debug, Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// What a command was given in its arguments and environment.
    pub(super) fn of(command: &Command) -> Secrets {
        let given = command.args.iter().chain(command.env.values());
        let given = given.map(|value| value.expose().to_owned());
        Secrets(given.filter(|value| value.len() >= SHORTEST_SECRET).collect())
    }

    /// A line as it may be logged: no secret, and no character that a terminal would obey.
    fn shown(&self, line: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(line).into_owned();
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        let mut shown = String::with_capacity(text.len());
        for c in text.chars() {
            if c.is_control() && c != '\t' {
                shown.extend(c.escape_default());
            } else {
                shown.push(c);
            }
        }
        shown
    }
}

/// Logs every line until the end, or until shortly after the process was ended.
pub(super) async fn log(
    server: Arc<str>,
    pipe: ChildStderr,
    secrets: Secrets,
    mut ends: watch::Receiver<Option<Why>>,
) {
    let mut lines = LineReader::new(pipe, LONGEST);
    let all = async {
        let mut rate = Rate::new(Instant::now());
        while let Ok(Some(line)) = lines.next().await {
            let (may, left_out) = rate.one(Instant::now());
            if left_out > 0 {
                tracing::info!(%server, left_out, "lines of a server's standard error left out");
            }
            match line {
                _ if !may => {}
                Line::Whole(line) => tracing::info!(%server, "stderr: {}", secrets.shown(&line)),
                Line::TooLong => tracing::info!(%server, "stderr: a line too long to be shown"),
            }
        }
    };
    let over = async {
        let _ = ends.wait_for(Option::is_some).await;
    };
    let mut all = std::pin::pin!(all);
    tokio::select! {
        () = &mut all => {}
        () = over => {
            let _ = timeout(LAST_WORDS, all).await;
        }
    }
}

/// So many lines in a span of time.
struct Rate {
    since: Instant,
    count: u32,
    left_out: u64,
}

impl Rate {
    fn new(now: Instant) -> Rate {
        Rate { since: now, count: 0, left_out: 0 }
    }

    /// Whether one more line may be logged, and how many were left out until the span that ended.
    fn one(&mut self, now: Instant) -> (bool, u64) {
        let mut left_out = 0;
        if now.duration_since(self.since) >= SPAN {
            left_out = self.left_out;
            *self = Rate::new(now);
        }
        self.count = self.count.saturating_add(1);
        let may = self.count <= MOST;
        self.left_out += u64::from(!may);
        (may, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_secrets_nor_control_characters_are_logged() {
        let secrets = Secrets(vec!["hunter2hunter2".into()]);
        let shown = secrets.shown(b"key hunter2hunter2\x1b[2J\tbad \xff");
        assert_eq!(shown, "key ***\\u{1b}[2J\tbad \u{fffd}");
    }

    #[test]
    fn what_is_too_much_is_told_when_there_is_room_again() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let logged = (0..MOST + 7).filter(|_| rate.one(start).0).count();
        assert_eq!(logged, MOST as usize);
        assert_eq!(rate.one(start + SPAN), (true, 7));
        assert_eq!(rate.one(start + SPAN), (true, 0));
    }
}
