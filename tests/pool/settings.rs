//! Settings that several themes share.

use std::time::Duration;

use modelpool::pool::core::{PoolConfig, RestartConfig};

use crate::universe::config;

/// Restarts at once, so that a test need not wait for a backoff.
pub fn restarting_at_once() -> PoolConfig {
    PoolConfig {
        restart: RestartConfig {
            initial_backoff: Duration::ZERO,
            ..RestartConfig::default()
        },
        ..config()
    }
}
