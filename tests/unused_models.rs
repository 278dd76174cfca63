//! What a registered model costs that nobody uses. A test binary of its own, since it reads the
//! memory of the whole process.

#[path = "pool/universe.rs"]
#[allow(dead_code, reason = "this test needs only a part of it")]
mod universe;

use modelpool::testing::{Point, Steering};
use universe::{PATIENCE, Universe, config};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_unused_models_cost_no_thread_and_little_memory() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let before = resident_bytes();
    let handles: Vec<_> = (0..1000)
        .map(|n| {
            universe
                .register(steering.embedder(&format!("model-{n}"), 100))
                .unwrap()
        })
        .collect();
    // The supervisor answers when it has entered them all.
    assert!(
        universe
            .health(PATIENCE)
            .await
            .supervisor_answered_in
            .is_some()
    );
    let grown = resident_bytes().saturating_sub(before);
    let status = universe.status();

    assert_eq!(handles.len(), 1000);
    assert_eq!(status.threads, 0);
    assert_eq!(status.memory.reserved_mb, 0);
    assert_eq!(steering.visits(Point::Load), 0);
    println!("{grown} bytes for 1,000 models");
    assert!(grown < 5_000_000, "{grown} bytes");
    universe.close().await;
}

/// The resident set of this process.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * 4096
}
