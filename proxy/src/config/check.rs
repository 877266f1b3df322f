//! Everything that can be wrong with a configuration's values: [`problems`]. Who reaches the
//! gateway and whom it reaches is in [`super::reach`].
//!
//! Each check adds a [`Problem`] with the JSON Pointer of the value it is about; where that stands
//! in the file is [`super::read`]'s business. Nothing found here repeats a value that may be a
//! secret.

use super::{Auth, Capture, Config, Inspect, PinMode, Pins, Size, Use};

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The JSON Pointer of the value.
    pub pointer: String,
    /// What is wrong with it, and what to write instead.
    pub message: String,
}

impl Problem {
    /// A problem with the value at `pointer`.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

/// No larger message can be parsed: the parser counts in 32 bits, and memory is finite.
const LARGEST_MESSAGE: Size = Size::mib(1024);

/// The HTTP stack reads heads into a buffer of at least this size.
const SMALLEST_HEADERS: Size = Size::new(8 << 10);

/// The parser goes no deeper.
const DEEPEST: usize = 1024;

/// Every problem that `config` has for this use, in no particular order.
pub(crate) fn problems_for(config: &Config, using: Use) -> Vec<Problem> {
    let mut found = Found(problems(config));
    if using == Use::Serve {
        found.addresses(config);
        let message = "no server: name one, or pass --upstream";
        // Where there is a folder, servers may come later.
        let none = config.servers.is_empty() && config.registry.dir.is_none();
        found.at(none, "/servers", message);
    }
    found.0
}

/// Every problem that `config` has for any use, in no particular order.
pub fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    found.auth(config.auth.as_ref());
    found.tls(config);
    found.names(config);
    for (name, server) in &config.servers {
        found.server(name, server);
    }
    for (field, problem) in config.sessions.problems() {
        found.add(format!("/sessions/{field}"), problem);
    }
    for (i, admin) in config.registry.admins.iter().enumerate() {
        let keys = match &config.auth {
            Some(Auth::Keys(keys)) => keys.as_slice(),
            Some(Auth::Open) | None => &[],
        };
        let known = keys.iter().any(|key| key.name == *admin);
        found.at(!known, &format!("/registry/admins/{i}"), "no key in `auth` has this name");
    }
    found.0.extend(super::catalog::problems(config));
    found.inspect(&config.inspect);
    found.pins(&config.pins);
    found.capture(&config.capture);
    found.0.extend(super::capture::problems(config));
    found.limits(config);
    found.timeouts(config);
    for (key, problem) in config.processes.problems() {
        found.add(format!("/processes/{key}"), problem);
    }
    for name in config.bridge.zeros() {
        found.add(format!("/bridge/{name}"), "may not be 0");
    }
    found.0.extend(config.legacy.problems());
    found.log_level(&config.log.level);
    found.0
}

/// Problems found so far.
pub(super) struct Found(Vec<Problem>);

impl Found {
    pub(super) fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(pointer, message));
    }

    pub(super) fn at(&mut self, wrong: bool, pointer: &str, message: &str) {
        if wrong {
            self.add(pointer, message);
        }
    }

    fn inspect(&mut self, inspect: &Inspect) {
        let levels = (1..=4).contains(&inspect.paranoia);
        self.at(!levels, "/inspect/paranoia", "paranoia is 1, 2, 3 or 4");
        self.at(inspect.budget.get() == 0, "/inspect/budget", "0 would scan nothing");
        self.at(inspect.flag_at == Some(0), "/inspect/flag_at", "0 would flag every message");
        self.at(inspect.block_at == Some(0), "/inspect/block_at", "0 would block every message");
        let short = inspect.mask_key.as_ref().is_some_and(|key| key.expose().len() < 16);
        self.at(short, "/inspect/mask_key", "a key of placeholders has at least 16 bytes");
        for (i, one) in inspect.suppress.iter().enumerate() {
            if let Some((field, problem)) = one.problem() {
                self.add(format!("/inspect/suppress/{i}/{field}"), problem);
            }
        }
        for (field, problem) in inspect.packs.problems() {
            self.add(format!("/inspect/packs/{field}"), problem);
        }
        for (i, folder) in inspect.rules.iter().enumerate() {
            if let Err(error) = std::fs::read_dir(folder) {
                let what = folder.display();
                self.add(format!("/inspect/rules/{i}"), format!("folder {what}: {}", error.kind()));
            }
        }
    }

    fn pins(&mut self, pins: &Pins) {
        if pins.mode == PinMode::Off {
            return;
        }
        self.at(
            pins.kinds.is_empty(),
            "/pins/kinds",
            "nothing would be watched: write `mode: off`",
        );
        for (name, value) in [
            ("max_items", pins.max_items as u64),
            ("max_definition", pins.max_definition.get()),
            ("max_bytes", pins.max_bytes.get()),
            ("queue", pins.queue as u64),
            ("queue_bytes", pins.queue_bytes.get()),
        ] {
            self.at(value == 0, &format!("/pins/{name}"), "may not be 0");
        }
        // The queue has its places from the start.
        self.at(pins.queue > 1 << 20, "/pins/queue", "more than 1048576 cannot be had");
    }

    fn capture(&mut self, capture: &Capture) {
        if !capture.enabled {
            return;
        }
        for (name, value) in [
            ("max_bytes", capture.max_bytes.get()),
            ("rotate_bytes", capture.rotate_bytes.get()),
            ("rotate_every", capture.rotate_every.get().as_nanos().min(1) as u64),
            ("queue_rows", capture.queue_rows as u64),
            ("queue_bytes", capture.queue_bytes.get()),
        ] {
            self.at(value == 0, &format!("/capture/{name}"), "may not be 0");
        }
        for (name, problem) in capture.store.iter().flat_map(|store| store.problems()) {
            self.at(true, &format!("/capture/store/{name}"), &problem);
        }
        let long = capture.rotate_every.get().as_secs() > 3600;
        self.at(long, "/capture/rotate_every", "at most an hour");
        if let Some(problem) = capture.escrow_problem() {
            self.add("/capture/escrow/recipients", problem);
        }
        for (pointer, problem) in super::capture_rules::problems(&capture.rules) {
            self.add(format!("/capture/rules{pointer}"), problem);
        }
        let whole = capture.rotate_bytes <= capture.max_bytes;
        self.at(!whole, "/capture/rotate_bytes", "one file may not be larger than `max_bytes`");
    }

    fn limits(&mut self, config: &Config) {
        let limits = &config.limits;
        for (name, value) in [
            ("body", limits.body.get()),
            ("headers", limits.headers.get()),
            ("json_depth", limits.json_depth as u64),
            ("json_values", limits.json_values as u64),
            ("sse_event", limits.sse_event.get()),
            ("stdio_line", limits.stdio_line.get()),
            ("concurrent_requests", limits.concurrent_requests as u64),
            ("connections", limits.connections as u64),
            ("batch", limits.batch as u64),
            ("exchanges", limits.exchanges as u64),
            ("streams", limits.streams as u64),
            ("channels", limits.channels as u64),
            ("channel_requests", limits.channel_requests as u64),
        ] {
            self.at(value == 0, &format!("/limits/{name}"), "a limit of 0 would let nothing pass");
        }
        for (name, value) in [
            ("body", limits.body),
            ("sse_event", limits.sse_event),
            ("stdio_line", limits.stdio_line),
        ] {
            let large = value > LARGEST_MESSAGE;
            self.at(large, &format!("/limits/{name}"), "no message may be larger than 1GiB");
        }
        let small = limits.headers.get() > 0 && limits.headers < SMALLEST_HEADERS;
        self.at(small, "/limits/headers", "less than 8KiB cannot be had");
        self.at(limits.json_depth > DEEPEST, "/limits/json_depth", "more than 1024 cannot be had");
    }

    fn timeouts(&mut self, config: &Config) {
        let timeouts = &config.timeouts;
        for (name, value) in [
            ("connect", timeouts.connect),
            ("first_byte", timeouts.first_byte),
            ("idle", timeouts.idle),
            ("total", timeouts.total),
            ("header_read", timeouts.header_read),
            ("body_read", timeouts.body_read),
            ("write", timeouts.write),
            ("keep_alive", timeouts.keep_alive),
            ("channel_idle", timeouts.channel_idle),
            ("drain", timeouts.drain),
        ] {
            let never = value.get().is_zero();
            self.at(never, &format!("/timeouts/{name}"), "a wait of 0 would end everything");
        }
    }

    fn log_level(&mut self, level: &str) {
        // The filter takes a lone word for the name of a module, so a typo would mean silence.
        let words = level.split(',').all(|directive| {
            directive.contains('=')
                || ["off", "error", "warn", "info", "debug", "trace"].contains(&directive.trim())
        });
        if !words || crate::telemetry::filter(level).is_err() {
            self.add(
                "/log/level",
                "not a level: error, warn, info, debug, trace, or module=level, with commas between",
            );
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Period, Server};

    pub(in crate::config) fn fine() -> Config {
        Config::of_one_server("files", "http://127.0.0.1:9000/mcp")
    }

    /// The pointers of the problems after `change`.
    pub(in crate::config) fn after(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = fine();
        change(&mut config);
        let mut pointers: Vec<String> =
            problems_for(&config, Use::Serve).into_iter().map(|problem| problem.pointer).collect();
        pointers.sort();
        pointers
    }

    pub(in crate::config) fn server(config: &mut Config) -> &mut Server {
        config.servers.get_mut("files").unwrap()
    }

    #[test]
    fn the_plain_configuration_is_fine() {
        assert_eq!(problems_for(&fine(), Use::Serve), []);
    }

    #[test]
    fn nothing_is_zero_and_nothing_beyond_reach() {
        assert_eq!(after(|config| config.limits.batch = 0), ["/limits/batch"]);
        assert_eq!(after(|config| config.limits.body = Size::mib(2048)), ["/limits/body"]);
        assert_eq!(after(|config| config.limits.headers = Size::new(4096)), ["/limits/headers"]);
        assert_eq!(after(|config| config.limits.json_depth = 1025), ["/limits/json_depth"]);
        assert_eq!(after(|config| config.timeouts.idle = Period::secs(0)), ["/timeouts/idle"]);
        assert_eq!(after(|config| config.inspect.budget = Size::new(0)), ["/inspect/budget"]);
        assert_eq!(after(|config| config.inspect.paranoia = 0), ["/inspect/paranoia"]);
        assert_eq!(after(|config| config.capture.queue_rows = 0), ["/capture/queue_rows"]);
        let turn = after(|config| config.capture.rotate_every = Period::secs(0));
        assert_eq!(turn, ["/capture/rotate_every"]);
        assert_eq!(
            after(|config| config.capture.max_bytes = Size::mib(1)),
            ["/capture/rotate_bytes"]
        );
    }

    #[test]
    fn pins_have_something_to_watch_and_room_for_it() {
        let pins = |change: fn(&mut Pins)| {
            after(|config| {
                config.pins.mode = PinMode::Flag;
                change(&mut config.pins);
            })
        };
        assert_eq!(pins(|_| ()), [""; 0]);
        assert_eq!(pins(|pins| pins.kinds.clear()), ["/pins/kinds"]);
        assert_eq!(pins(|pins| pins.queue = 0), ["/pins/queue"]);
        assert_eq!(pins(|pins| pins.queue = usize::MAX), ["/pins/queue"]);
        assert_eq!(pins(|pins| pins.max_items = 0), ["/pins/max_items"]);
    }

    #[test]
    fn files_must_be_there() {
        let gone = PathBuf::from("/nonexistent/file");
        let found = after(|config| {
            config.inspect.rules = vec![gone.clone()];
            config.tls = Some(crate::config::Tls {
                cert: gone.clone(),
                key: gone.clone(),
                client_ca: Some(gone.clone()),
                client_auth: None,
            });
            let pair = crate::config::CertKey { cert: gone.clone(), key: gone.clone() };
            server(config).client_cert = Some(pair);
            server(config).ca = Some(gone);
        });
        assert_eq!(
            found,
            [
                "/inspect/rules/0",
                "/servers/files/ca",
                "/servers/files/client_cert",
                "/servers/files/client_cert/cert",
                "/servers/files/client_cert/key",
                "/tls/cert",
                "/tls/client_ca",
                "/tls/key",
            ]
        );
    }

    #[test]
    fn a_mistyped_level_is_no_silence() {
        for bad in ["inof", "", "info,", "proxy=loud"] {
            assert_eq!(after(|config| config.log.level = bad.into()), ["/log/level"], "{bad}");
        }
        assert_eq!(after(|config| config.log.level = "warn,proxy::upstream=debug".into()), [""; 0]);
    }
}
