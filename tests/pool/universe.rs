//! A pool in a world of its own, which must leave nothing behind.

use std::ops::Deref;
use std::time::Duration;

use modelpool::pool::core::{
    EventKind, EventStream, FixedProbe, Pool, PoolConfig, PoolEvent, ShutdownReport,
};
use modelpool::testing::Census;

/// Long enough that only a hang exceeds it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A pool for one test. `close` shuts it down and checks that no thread, actor, permit or byte is left.
pub struct Universe {
    pool: Pool,
    pub events: EventStream,
}

impl Deref for Universe {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

/// Settings under which time decides nothing unless a test says so, on a machine of 1000 MB.
pub fn config() -> PoolConfig {
    PoolConfig {
        probe: std::sync::Arc::new(FixedProbe { total_mb: 1000 }),
        max_workers: 8,
        compute_threads: 2,
        idle_after: Duration::from_secs(3600),
        expand_after: Duration::from_secs(3600),
        jitter_seed: Some(7),
        ..PoolConfig::default()
    }
}

impl Universe {
    pub async fn new(config: PoolConfig) -> Self {
        let pool = Pool::start(config).await.expect("the pool starts");
        let events = pool.events();
        Self { pool, events }
    }

    /// Waits for an event and returns it; the ones before it are passed over.
    pub async fn event(&mut self, wanted: impl Fn(&PoolEvent) -> bool) -> PoolEvent {
        let found = async {
            while let Some(event) = self.events.next().await {
                if wanted(&event) {
                    return event;
                }
            }
            panic!("the pool went away");
        };
        within(found).await
    }

    /// Waits until `count` workers (of any model) have reported ready.
    pub async fn ready(&mut self, count: usize) {
        for _ in 0..count {
            self.event(|event| matches!(event.kind, EventKind::Ready { .. }))
                .await;
        }
    }

    pub async fn close(self) -> ShutdownReport {
        let report = within(self.pool.shutdown(PATIENCE)).await;
        assert_eq!(report.abandoned, Vec::<String>::new());
        assert_eq!(self.pool.census(), Census::NOTHING);
        for model in self.pool.status().models {
            let metrics = model.metrics;
            assert_eq!(
                metrics.accepted,
                metrics.ended(),
                "each request of {} has one ending: {metrics:?}",
                model.name
            );
            assert!(model.workers.is_empty());
        }
        report
    }
}

/// Fails a test that hangs.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("the test hangs")
}
