//! What can be seen of a pool from outside: events, status, metrics and spans.

#[path = "observe/events.rs"]
mod events;
#[path = "observe/instruments.rs"]
mod instruments;
#[path = "observe/spans.rs"]
mod spans;
#[path = "observe/status.rs"]
mod status;
#[path = "pool/universe.rs"]
mod universe;

use std::time::Duration;

use modelpool::pool::core::{PoolConfig, RestartConfig};

use crate::universe::{config, within};

/// Restarts at once, so that a test need not wait for a backoff.
fn restarting_at_once() -> PoolConfig {
    PoolConfig {
        restart: RestartConfig {
            initial_backoff: Duration::ZERO,
            ..RestartConfig::default()
        },
        ..config()
    }
}

/// Waits until a condition holds that no event tells of.
async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
