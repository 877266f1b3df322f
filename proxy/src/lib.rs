//! The gateway: transports on both faces, and between them the path of one message.
//!
//! The few types everything speaks in: [`envelope::Envelope`] (one message, neutral of transport
//! and revision), [`pipeline::Pipeline`] (what happens to it, in order), [`upstream::Upstream`]
//! (where it goes) and [`snapshot::Snapshot`] (the configuration it is seen under, swapped whole).

pub mod admin;
pub mod audit;
mod batch;
pub mod catalog;
pub mod child;
pub mod cli;
pub mod clients;
pub mod config;
pub mod demo;
pub mod downstream;
pub mod envelope;
pub mod era;
pub mod extent;
pub mod lines;
pub mod linkage;
pub mod packs;
mod peek;
pub mod pins;
pub mod pipeline;
pub mod policy;
mod quic;
pub mod recording;
mod refusal;
pub mod registry;
mod relay;
pub mod reload;
pub mod rulefiles;
pub mod serve;
pub mod session;
pub mod snapshot;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod wrap;
