//! To be written.
pub async fn run() {}
