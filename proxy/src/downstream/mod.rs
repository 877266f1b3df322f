//! How clients reach the gateway: bytes in, [`crate::envelope::Reply`] out, one file per transport.

pub mod connection;
pub mod http;
pub mod quic;
pub mod sse;
pub mod stdio;
