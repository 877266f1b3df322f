//! stub

pub mod template;
