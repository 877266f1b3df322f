//! How clients reach the gateway: bytes in, [`crate::envelope::Reply`] out, one file per transport.

pub mod connection;
mod conversation;
pub mod http;
mod legacy_sse;
pub mod quic;
pub mod sse;
pub mod stdio;
mod ws;
