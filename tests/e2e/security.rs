//! What an attacker would try, item by item, at either end: each is refused, or changes nothing for anybody else.
//!
//! The items, and where each is tried. A name without a file is of the module in the heading's line.
//!
//! | item | test |
//! |---|---|
//! | **one message, two readings** | `spelling` |
//! | a header and the body differ | `a_header_is_what_the_body_says_or_the_request_is_refused`, `input::headers_must_say_what_the_body_says`, `transports::a_claim_is_judged_on_transports_without_headers` |
//! | base64 in a header, and what is nearly base64 | `base64_in_a_header_is_read_in_one_way`, `input::the_name_may_be_written_in_base64` |
//! | a header said twice | `a_header_said_twice_is_refused`, `face::hosts_are_names_with_or_without_a_port_and_never_two` |
//! | a member said twice | `a_member_said_twice_is_refused`, `input::bad_bodies_are_refused_and_never_reach_the_server` |
//! | a secret in a header alone | `verdicts::a_key_in_a_header_alone_is_refused`, `verdicts::headers_that_a_request_does_not_have_go_nowhere` |
//! | two requests in one | `two_requests_in_one_are_refused` |
//! | a batch where the revision has none, one with something modern in it, with `initialize`, nested, empty | `batches_carry_nothing_past_the_rules_of_their_revision`, `input::batches_are_inspected_or_refused_but_never_passed_unseen`, `verdicts::every_element_of_a_batch_is_judged` |
//! | escapes in a method | `a_method_is_what_it_says_however_it_is_escaped` |
//! | what only looks like a method | `what_only_looks_like_a_method_is_inspected_all_the_same` |
//! | bytes that are no UTF-8, a byte order mark, NUL | `bytes_that_readers_take_in_different_ways_are_refused` |
//! | **one client and another's** | `strangers` |
//! | a session fixed or stolen | `replicas::an_id_is_taken_from_nobody_but_the_gateway`, `replicas::an_id_is_of_one_principal_and_no_authentication`, `replicas::an_id_is_of_one_server`, `transports::a_session_of_http_sse_is_its_principals_alone`, `processes::a_session_is_its_principals_alone` |
//! | `requestState` replayed, tampered with, put to other arguments | `request_state_is_between_the_server_and_whoever_sends_it`, and where it is the gateway's own `bridge_to_legacy::a_state_is_good_once_for_its_own_client_and_request` |
//! | a private list for another key | `lists_of_two_keys_never_mix` |
//! | a subscription's news for another | `news_goes_to_its_own_subscription_only`, `processes::subscriptions_of_two_clients_with_one_id_stay_apart`, `bridge_to_legacy::who_listens_hears_what_it_asked_for_and_leaves_nothing_behind` |
//! | two clients with one id | `answers_find_their_clients_whatever_the_ids`, `answers_of_a_shared_process_find_their_clients_whatever_the_ids`, `bridge_to_legacy::clients_in_one_session_may_use_the_same_ids_and_tokens` |
//! | another's call cancelled | `a_cancellation_stays_in_its_session`, `a_stateless_cancellation_names_nothing_at_a_server`, `a_cancellation_reaches_no_call_of_another_at_a_shared_process` |
//! | **a server against its clients, or the gateway** | `servers` |
//! | metadata at a link-local address | `a_challenge_is_followed_nowhere_and_not_passed_on` |
//! | a redirect | `redirects_are_not_followed` |
//! | addresses in a schema, an icon, a link, a question | `nothing_that_a_server_names_is_fetched` |
//! | an `endpoint` of another origin | `transports::an_endpoint_of_another_origin_is_sent_nothing` |
//! | a server that changes its era | `a_server_that_turns_legacy_gets_nothing_of_a_legacy_client`, `a_change_of_era_is_told`, `relay::the_stateless_revision_passes_with_its_headers` |
//! | requests of a server where there are none, answers of a client where there are none | `who_may_not_ask_or_answer_is_not_heard` |
//! | a client's credentials at a server | `a_clients_credentials_go_to_no_server`, `relay::no_credentials_of_the_client_reach_the_server`, `face::keys_are_asked_for_and_never_go_upstream` |
//! | a server's credentials at a client | `a_servers_credentials_go_to_no_client`, `processes::a_server_gets_little_of_the_environment_and_its_words_are_logged_without_secrets` |
//! | sizes: 413, 431 | `input::limits_are_told_by_their_status`, `http3::large_bodies_pass_and_too_large_ones_are_told_so` |
//! | sizes: an event | `upstream::a_stream_has_a_total_time_and_its_events_a_size`, `upstream::an_answer_without_end_is_cut` |
//! | sizes: an answer, a line of a process | `an_answer_has_a_size_and_so_has_a_line` |
//! | an empty list for a failure | `upstream::an_upstream_failure_is_never_an_empty_list` |

mod servers;
mod spelling;
mod strangers;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::HeaderMap;
use serde_json::json;
use tests::{Client, FakeServer, Gateway};

use crate::replicas::AUTH;

/// A server that answers as `echo` does and remembers what reached it.
struct Witness {
    server: FakeServer,
    heard: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Witness {
    async fn start() -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let server = FakeServer::start(move |exchange| {
            hears.lock().unwrap().push((exchange.headers.clone(), exchange.body.clone()));
            let message = exchange.message();
            match message["method"].as_str() {
                Some("initialize") => exchange.begin("theirs"),
                _ if message["id"].is_null() => exchange.raw(202, &[], ""),
                _ => {
                    let text = message["params"]["arguments"]["message"].clone();
                    exchange.result(json!({"content": [{"type": "text", "text": text}]}));
                }
            }
        })
        .await;
        Self { server, heard }
    }

    /// What reached it since the last time, headers and body.
    fn heard(&self) -> Vec<(HeaderMap, Bytes)> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    /// What reached it since the last time, as text.
    fn bodies(&self) -> Vec<String> {
        self.heard().iter().map(|(_, body)| String::from_utf8_lossy(body).into_owned()).collect()
    }
}

/// Clients of two keys, of a gateway that is configured with [`AUTH`].
fn alice_and_bob(gateway: &Gateway) -> [Client; 2] {
    ["Bearer key-of-alice", "Bearer key-of-bob"]
        .map(|key| Client::new(&gateway.url).with("authorization", key))
}

/// A request as bytes, with these lines among its headers, and the status it gets.
async fn status_with(client: &Client, lines: &str, body: &str) -> u16 {
    let request = String::from_utf8(client.as_bytes("POST", body)).unwrap();
    let more = format!(" HTTP/1.1\r\nconnection: close\r\n{lines}");
    let answer = client.raw(request.replacen(" HTTP/1.1\r\n", &more, 1).as_bytes()).await;
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no answer: {answer:?}"))
}
