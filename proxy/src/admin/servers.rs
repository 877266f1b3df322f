//! The registry over HTTP: `GET /servers`, and `POST` and `DELETE` of `/servers/NAME`, which write
//! and remove files of the folder. What comes of that is the watcher's doing.
//!
//! There only where `registry.admins` names holders of keys, and for these: a definition may start a
//! program and name variables of the gateway's environment.

use std::path::PathBuf;

use bytes::Bytes;
use http::header::{ALLOW, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;

use super::{Admin, typed};
use crate::config::{Listed, is_server_name};
use crate::registry::definition::Definition;
use crate::registry::{self, folder};
use crate::snapshot::Snapshot;

/// Bytes of a definition.
const LARGEST: usize = 256 << 10;

/// Why nothing was done: the status, a word that stays, and a sentence.
#[derive(Debug)]
struct Refused(StatusCode, &'static str, String);

fn refused<T>(
    status: StatusCode,
    code: &'static str,
    message: impl Into<String>,
) -> Result<T, Refused> {
    Err(Refused(status, code, message.into()))
}

impl Admin {
    /// The answer to a request below `/servers`.
    pub(super) async fn servers<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let (status, body) = match self.registry(request).await {
            Ok(done) => done,
            Err(Refused(status, code, message)) => {
                (status, json!({"error": {"code": code, "message": message}}))
            }
        };
        let mut response = typed(status, "application/json", format!("{body}\n"));
        let headers = response.headers_mut();
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
            }
            _ => {}
        }
        response
    }

    async fn registry<B>(&self, request: Request<B>) -> Result<(StatusCode, Value), Refused>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let snapshot = self.state.snapshot.load_full();
        let admins = &snapshot.config.registry.admins;
        if admins.is_empty() || !snapshot.requires_key() {
            return refused(StatusCode::NOT_FOUND, "off", "no such page");
        }
        // who: the holder of a key, and one of those that may
        match self.holder(&request) {
            None => return refused(StatusCode::UNAUTHORIZED, "no_key", "a key is needed"),
            Some(who) if !admins.iter().any(|admin| **admin == *who) => {
                let why = "this key's holder is none of `registry.admins`";
                return refused(StatusCode::FORBIDDEN, "not_admin", why);
            }
            Some(_) => {}
        }
        // what: all servers, or one
        let path = request.uri().path();
        let name = path.strip_prefix("/servers").unwrap_or_default().trim_start_matches('/');
        if name.is_empty() {
            return match *request.method() {
                Method::GET => Ok((StatusCode::OK, listed(&snapshot))),
                _ => refused(StatusCode::METHOD_NOT_ALLOWED, "method", "only GET"),
            };
        }
        if !is_server_name(name) {
            let why = "a server's name is 1 to 64 of a-z, 0-9 and `-`";
            return refused(StatusCode::BAD_REQUEST, "name", why);
        }
        let Some(dir) = snapshot.config.registry.dir.clone() else {
            let why = "no folder of servers: write `registry.dir`";
            return refused(StatusCode::CONFLICT, "no_folder", why);
        };
        let name = name.to_owned();
        // one at a time: two of the same name would be in each other's way
        let _writing = self.state.writing.lock().await;
        let done = match *request.method() {
            Method::POST => {
                let definition = read(request.into_body()).await?;
                let known = snapshot.config.servers.contains_key(&name);
                blocking(move || write(dir, &name, &definition, known)).await?
            }
            Method::DELETE => blocking(move || remove(dir, &name)).await?,
            _ => return refused(StatusCode::METHOD_NOT_ALLOWED, "method", "only POST and DELETE"),
        };
        self.state.wake.notify_one();
        Ok((StatusCode::ACCEPTED, done))
    }
}

/// The servers in force. Nothing of it is secret.
fn listed(snapshot: &Snapshot) -> Value {
    let servers = snapshot.servers.values().map(|spec| {
        json!({
            "name": spec.name,
            "reached": spec.reached(),
            "vetted": spec.vetted,
            "era": spec.era,
            "health": snapshot.ways.health(&spec.name),
        })
    });
    json!({"servers": servers.collect::<Vec<_>>()})
}

async fn read<B>(body: B) -> Result<Map<String, Value>, Refused>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    let bytes = match Limited::new(body, LARGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return refused(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "larger than 256 KiB");
        }
        Err(_) => return refused(StatusCode::BAD_REQUEST, "body", "the body did not come"),
    };
    match serde_json::from_slice(&bytes) {
        Ok(definition) => Ok(definition),
        // What serde says may repeat a value.
        Err(error) => {
            let why = format!("no JSON object: line {}, column {}", error.line(), error.column());
            refused(StatusCode::BAD_REQUEST, "json", why)
        }
    }
}

async fn blocking(
    work: impl FnOnce() -> Result<Value, Refused> + Send + 'static,
) -> Result<Value, Refused> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "failed", "it could not be done"),
    }
}

fn write(
    dir: PathBuf,
    name: &str,
    definition: &Map<String, Value>,
    known: bool,
) -> Result<Value, Refused> {
    let file = folder::file_of(&dir, name);
    let there = file.exists();
    if known && !there {
        let why = "the configuration file has a server of this name";
        return refused(StatusCode::CONFLICT, "there", why);
    }
    if !there && registry::is_full(&dir) {
        return refused(StatusCode::CONFLICT, "full", "the folder takes no more servers");
    }
    let text = Definition::of(definition.clone()).to_yaml();
    // With the environment it will be read in: what is not set would stop every later change.
    let env = |name: &str| std::env::var(name).ok();
    if let Err(errors) = folder::check(&file, name, &text, &env) {
        let told = Listed(&errors).to_string();
        return refused(StatusCode::UNPROCESSABLE_ENTITY, "definition", told);
    }
    match folder::put(&file, &text) {
        Ok(()) => Ok(json!({"name": name, "written": true, "replaced": there})),
        Err(error) => failed(&error),
    }
}

fn remove(dir: PathBuf, name: &str) -> Result<Value, Refused> {
    match folder::remove(&dir, name) {
        Ok(true) => Ok(json!({"name": name, "removed": true})),
        Ok(false) => refused(StatusCode::NOT_FOUND, "no_server", "no such server in the folder"),
        Err(error) => failed(&error),
    }
}

fn failed<T>(error: &std::io::Error) -> Result<T, Refused> {
    tracing::error!(%error, "the folder of servers can't be changed");
    let why = format!("the folder can't be changed: {}", error.kind());
    refused(StatusCode::INTERNAL_SERVER_ERROR, "failed", why)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{KEY, state};
    use super::*;
    use crate::config::{Auth, Key};
    use http::header::AUTHORIZATION;
    use std::sync::Arc;

    async fn ask(admin: &Admin, method: &str, path: &str, key: &str, body: &str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let (head, body) = admin.servers(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn only_admins_add_and_remove_and_only_what_could_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_owned();
        let admin = |admins: &[&str]| {
            let admins: Vec<String> = admins.iter().map(|&admin| admin.into()).collect();
            let state = state(true, |config| {
                config.registry.dir = Some(dir.clone());
                config.registry.admins = admins;
                if let Some(Auth::Keys(keys)) = &mut config.auth {
                    keys.push(Key { name: "other".into(), sha256: "0".repeat(64) });
                }
            });
            Admin { state: Arc::new(state), is_open: false }
        };
        assert_eq!(ask(&admin(&[]), "GET", "/servers", KEY, "").await.0, 404);
        let other = admin(&["other"]);
        let (status, body) = ask(&other, "GET", "/servers", KEY, "").await;
        assert_eq!((status, &body["error"]["code"]), (403, &json!("not_admin")));
        let admin = admin(&["probe"]);
        assert_eq!(ask(&admin, "GET", "/servers", "wgk_wrong", "").await.0, 401);
        let (status, body) = ask(&admin, "GET", "/servers", KEY, "").await;
        assert_eq!(status, 200);
        let files = json!({"name": "files", "reached": "http://127.0.0.1:9/mcp", "vetted": true,
                           "era": "auto", "health": "unknown"});
        assert_eq!(body, json!({"servers": [files]}));

        let good = r#"{"url": "http://127.0.0.1:9/mcp", "headers": {"x-key": "hunter2: #"}}"#;
        let large = format!(r#"{{"description": "{}"}}"#, "a".repeat(LARGEST));
        for (method, path, body, status, code) in [
            ("POST", "/servers/Bad!", good, 400, "name"),
            ("POST", "/servers/new", "{", 400, "json"),
            ("POST", "/servers/new", "[]", 400, "json"),
            ("POST", "/servers/new", r#"{"url": "ftp://a/"}"#, 422, "definition"),
            ("POST", "/servers/new", r#"{"uri": "http://a/"}"#, 422, "definition"),
            ("POST", "/servers/new", r#"{"url": "http://${WG_UNSET_EVER}/"}"#, 422, "definition"),
            ("POST", "/servers/new", &large, 413, "too_large"),
            ("POST", "/servers/files", good, 409, "there"),
            ("DELETE", "/servers/new", "", 404, "no_server"),
            ("DELETE", "/servers", "", 405, "method"),
            ("PUT", "/servers/new", good, 405, "method"),
        ] {
            let (got, answer) = ask(&admin, method, path, KEY, body).await;
            assert_eq!((got, &answer["error"]["code"]), (status, &json!(code)), "{path} {answer}");
        }
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        assert_eq!(ask(&admin, "POST", "/servers/new", KEY, good).await.0, 202);
        let read = registry::read(&dir.join("new.yaml"), &|_| None).unwrap().1;
        assert_eq!(read.headers["x-key"].expose(), "hunter2: #");
        let again = ask(&admin, "POST", "/servers/new", KEY, good).await;
        assert_eq!(again, (202, json!({"name": "new", "written": true, "replaced": true})));
        assert_eq!(ask(&admin, "DELETE", "/servers/new", KEY, "").await.0, 202);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
    }
}
