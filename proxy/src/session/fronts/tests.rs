//! Ids of sessions from their making to their end. The time is an argument: none passes here.

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::config::{Config, Period, Secret};
use crate::envelope::{McpHeaders, Transport};
use crate::snapshot::{ServerSpec, Snapshot};

const KEY: &str = "a key of thirty-two bytes or more";
const HOUR: u64 = 3_600_000;

fn snapshot(key: &str) -> Arc<Snapshot> {
    let mut config = Config::default();
    config.inspect.builtin = false;
    config.sessions.keys = vec![Secret::new(key)];
    config.sessions.lifetime = Period::secs(3600);
    config.sessions.kept = 2;
    Arc::new(Snapshot::for_child(config, Arc::new(ServerSpec::child("files"))).unwrap())
}

/// A request to a server of somebody's, as the HTTP face makes it.
fn request(snapshot: &Arc<Snapshot>, server: &str, principal: Option<&str>) -> Context {
    Context {
        snapshot: Arc::clone(snapshot),
        server: Arc::new(ServerSpec::child(server)),
        transport: Transport::Http1,
        http_method: Some("POST".into()),
        headers: McpHeaders::default(),
        conn_id: "c".into(),
        session: None,
        principal: principal.map(Into::into),
        negotiated: OnceLock::new(),
        front: OnceLock::new(),
        owned: false,
        arrival: crate::linkage::Arrival::default(),
        rows: crate::audit::Rows::default(),
    }
}

fn files(snapshot: &Arc<Snapshot>) -> Context {
    request(snapshot, "files", Some("alice"))
}

fn with(mut cx: Context, session: &HeaderValue) -> Context {
    cx.headers.session = Some(session.clone());
    cx
}

fn answer(session: Option<&str>) -> Reply {
    let mut reply = Reply::one(StatusCode::OK, Bytes::from_static(b"{}"));
    reply.session = session.map(|s| HeaderValue::from_str(s).unwrap());
    reply
}

fn initialize(capabilities: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{capabilities},"clientInfo":{{"name":"c","version":"1"}}}}}}"#
    )
}

/// The id a client gets whose server gave `upstream`.
fn begin(fronts: &Fronts, cx: &Context, capabilities: &str, upstream: Option<&str>) -> HeaderValue {
    let shown = Handshake { client_name: Some("c".into()), client_version: Some("1".into()) };
    let said = Front::said(initialize(capabilities).as_bytes(), shown);
    cx.front.set(Arc::new(said)).unwrap();
    let mut reply = answer(upstream);
    reply.begins = upstream.is_none();
    fronts.leave(cx, None, &mut reply, 0);
    reply.session.unwrap()
}

fn enter(fronts: &Fronts, cx: &mut Context, now: u64) -> Option<Entered> {
    match fronts.enter(cx, now) {
        Ok(entered) => Some(entered.unwrap()),
        Err(denied) => {
            assert_eq!((denied.status.as_u16(), denied.code), (404, NO_SESSION));
            assert!(cx.headers.session.is_none(), "it would go to the server");
            None
        }
    }
}

#[test]
fn an_id_brings_back_what_its_session_is() {
    let snapshot = snapshot(KEY);
    let id = begin(&Fronts::default(), &files(&snapshot), r#"{"roots": {}}"#, Some("of-theirs"));
    let text = id.to_str().unwrap();
    assert!(text.len() <= LONGEST && text.bytes().all(|b| b.is_ascii_graphic()));

    // at another replica, or after a restart
    let fronts = Fronts::default();
    let mut cx = with(files(&snapshot), &id);
    enter(&fronts, &mut cx, HOUR - 1).unwrap();
    assert_eq!(cx.headers.session.as_ref().unwrap(), "of-theirs");
    assert_eq!(cx.headers.sealed.as_ref().unwrap(), &id);
    let front = cx.front.get().unwrap();
    assert_eq!(
        (&*front.capabilities, &*front.shown.client_name.clone().unwrap()),
        (r#"{"roots": {}}"#, "c")
    );
    assert_eq!(front.client.as_ref(), r#"{"name":"c","version":"1"}"#);

    // the same session each time, and not its id
    let mut again = with(files(&snapshot), &id);
    enter(&fronts, &mut again, 1).unwrap();
    assert_eq!(cx.session, again.session);
    assert!(!text.contains(&**cx.session.as_ref().unwrap()));
    // its server's own id is nobody's
    assert!(
        enter(&fronts, &mut with(files(&snapshot), &HeaderValue::from_static("of-theirs")), 1)
            .is_none()
    );
}

#[test]
fn an_id_is_of_one_principal_endpoint_key_and_time() {
    let ours = snapshot(KEY);
    let fronts = Fronts::default();
    let id = begin(&fronts, &files(&ours), "{}", Some("s"));
    let theirs = snapshot("another key of thirty-two bytes..");
    let mut strangers = [
        ("principal", request(&ours, "files", Some("bob")), 1),
        ("no principal", request(&ours, "files", None), 1),
        ("endpoint", request(&ours, "mail", Some("alice")), 1),
        ("key", request(&theirs, "files", Some("alice")), 1),
        ("time", files(&ours), HOUR),
    ];
    for (what, cx, now) in &mut strangers {
        cx.headers.session = Some(id.clone());
        assert!(enter(&fronts, cx, *now).is_none(), "{what}");
    }
    assert!(enter(&fronts, &mut with(files(&ours), &id), 1).is_some());
}

#[test]
fn what_has_no_room_in_an_id_is_kept_where_it_was_made() {
    let snapshot = snapshot(KEY);
    let fronts = Fronts::default();
    let large = json!({"experimental": {"x": "y".repeat(10_000)}}).to_string();
    let id = begin(&fronts, &files(&snapshot), &large, Some("s"));
    assert!(id.len() <= LONGEST);
    let capabilities = |fronts: &Fronts, id: &HeaderValue| {
        let mut cx = with(files(&snapshot), id);
        enter(fronts, &mut cx, 1)?;
        assert_eq!(cx.headers.session.unwrap(), "s");
        Some(cx.front.get().unwrap().capabilities.clone())
    };
    assert_eq!(capabilities(&fronts, &id).as_deref(), Some(&*large));
    // elsewhere the session goes on, and its client can do nothing that it would be asked to
    assert_eq!(capabilities(&Fronts::default(), &id).as_deref(), Some("{}"));
    // the table is bounded, in number …
    for _ in 0..2 {
        begin(&fronts, &files(&snapshot), &large, Some("s"));
    }
    assert_eq!(capabilities(&fronts, &id).as_deref(), Some("{}"));
    // … and in bytes
    let huge = json!({"experimental": {"x": "y".repeat(MOST_KEPT)}}).to_string();
    let id = begin(&fronts, &files(&snapshot), &huge, Some("s"));
    assert_eq!(capabilities(&fronts, &id).as_deref(), Some("{}"));
}

#[test]
fn an_id_of_a_server_that_is_too_long_stays_here() {
    let snapshot = snapshot(KEY);
    let fronts = Fronts::default();
    let long = "s".repeat(5000);
    let id = begin(&fronts, &files(&snapshot), "{}", Some(&long));
    assert!(id.len() <= LONGEST);
    let mut cx = with(files(&snapshot), &id);
    enter(&fronts, &mut cx, 1).unwrap();
    assert_eq!(cx.headers.session.unwrap(), long);
    assert!(enter(&Fronts::default(), &mut with(files(&snapshot), &id), 1).is_none());
}

/// What a client gets of a `DELETE` that its server answers with `status`.
fn delete(fronts: &Fronts, cx: Context, id: &HeaderValue, status: u16) -> StatusCode {
    let mut cx = with(cx, id);
    cx.http_method = Some("DELETE".into());
    let entered = enter(fronts, &mut cx, 1).unwrap();
    let mut reply = Reply::empty(StatusCode::from_u16(status).unwrap());
    fronts.leave(&cx, Some(&entered), &mut reply, 1);
    reply.status.unwrap()
}

#[test]
fn a_session_that_was_ended_is_over() {
    let snapshot = snapshot(KEY);
    let fronts = Fronts::default();
    let id = begin(&fronts, &files(&snapshot), "{}", Some("s"));
    // the server keeps it, or did not hear of it
    for status in [405, 502] {
        assert_eq!(delete(&fronts, files(&snapshot), &id, status).as_u16(), status);
        assert!(enter(&fronts, &mut with(files(&snapshot), &id), 1).is_some());
    }
    assert_eq!(delete(&fronts, files(&snapshot), &id, 204).as_u16(), 204);
    assert!(enter(&fronts, &mut with(files(&snapshot), &id), 1).is_none());
    // known where it was ended
    assert!(enter(&Fronts::default(), &mut with(files(&snapshot), &id), 1).is_some());

    let id = begin(&fronts, &files(&snapshot), "{}", Some("s"));
    assert_eq!(delete(&fronts, files(&snapshot), &id, 404).as_u16(), 404);
    assert!(enter(&fronts, &mut with(files(&snapshot), &id), 1).is_none());

    // one that the gateway began by itself
    let id = begin(&fronts, &files(&snapshot), "{}", None);
    assert_eq!(delete(&fronts, files(&snapshot), &id, 405).as_u16(), 204);
    assert!(enter(&fronts, &mut with(files(&snapshot), &id), 1).is_none());
}

#[test]
fn a_servers_id_reaches_no_client() {
    let snapshot = snapshot(KEY);
    let fronts = Fronts::default();
    let id = begin(&fronts, &files(&snapshot), "{}", Some("s"));
    let mut cx = with(files(&snapshot), &id);
    let entered = enter(&fronts, &mut cx, 1);
    let given = |session| {
        let mut reply = answer(session);
        fronts.leave(&cx, entered.as_ref(), &mut reply, 1);
        reply.session
    };
    // many servers repeat it
    assert_eq!(given(Some("s")), Some(id.clone()));
    assert_eq!(given(None), None);
    // another of theirs is another of ours
    let other = given(Some("s2")).unwrap();
    let mut cx = with(files(&snapshot), &other);
    enter(&fronts, &mut cx, 1).unwrap();
    assert_eq!(cx.headers.session.unwrap(), "s2");
    // one on an answer that begins nothing
    let mut reply = answer(Some("s"));
    fronts.leave(&files(&snapshot), None, &mut reply, 1);
    assert_eq!(reply.session, None);
}

#[test]
fn no_id_is_given_where_none_begins() {
    let snapshot = snapshot(KEY);
    let fronts = Fronts::default();
    let cx = files(&snapshot);
    assert_eq!(fronts.enter(&mut files(&snapshot), 1).unwrap(), None);
    cx.front.set(Arc::default()).unwrap();
    for mut reply in [answer(None), Reply::empty(StatusCode::BAD_REQUEST)] {
        fronts.leave(&cx, None, &mut reply, 1);
        assert_eq!(reply.session, None);
    }
}

#[test]
fn a_session_that_a_server_lost_is_not_found() {
    let snapshot = snapshot(KEY);
    let told = |session: bool, status: u16, body: &'static str| {
        let mut cx = files(&snapshot);
        cx.headers.session = session.then(|| HeaderValue::from_static("s"));
        let mut reply = Reply::empty(StatusCode::from_u16(status).unwrap());
        if !body.is_empty() {
            reply.body = Body::One(Bytes::from_static(body.as_bytes()));
        }
        tell_lost(&cx, &mut reply);
        reply.status.unwrap().as_u16()
    };
    let lost = r#"{"error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}"#;
    let other = r#"{"error":{"code":-32602,"message":"Invalid params"}}"#;
    assert_eq!(told(true, 400, lost), 404);
    assert_eq!(told(true, 400, ""), 404);
    assert_eq!(told(true, 400, other), 400);
    assert_eq!(told(false, 400, lost), 400);
    assert_eq!(told(true, 500, lost), 500);
}
