//! Real models through the pool: embedded, from folders, from a hub, and broken ones.

#[path = "serving/broken.rs"]
mod broken;
#[path = "support/checkpoints.rs"]
mod checkpoints;
#[path = "serving/embedded.rs"]
mod embedded;
#[path = "serving/hub.rs"]
mod hub;
#[allow(dead_code, reason = "the hub's own tests use the rest")]
#[path = "support/hub_server.rs"]
mod hub_server;
#[path = "serving/minilm.rs"]
mod minilm;
#[path = "support/real_models.rs"]
mod real_models;
#[path = "pool/universe.rs"]
mod universe;

use std::error::Error;

use modelpool::{ModelError, PoolError};

/// The model's error behind a pool's, found as a service would: by `source()`.
fn model_error(error: &PoolError) -> &ModelError {
    let source = error
        .source()
        .unwrap_or_else(|| panic!("no source: {error:?}"));
    source
        .downcast_ref()
        .unwrap_or_else(|| panic!("another source: {source:?}"))
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|value| value * value).sum::<f32>().sqrt()
}
