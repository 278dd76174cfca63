//! The chaos run in short: some ten thousand requests while all goes wrong by a seeded plan. The
//! long one is `cargo run --release --manifest-path benches-ignored/Cargo.toml -- chaos`.

#[path = "chaos/mod.rs"]
mod chaos;

use chaos::{Plan, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_has_one_ending_whatever_goes_wrong() {
    for seed in [1, 2] {
        let plan = Plan {
            seed,
            requests: 20_000,
            callers: 128,
            requests_between_disruptions: 150,
        };
        let figures = run(plan).await;
        println!("{figures}");
        assert_eq!(figures.violations, Vec::<String>::new(), "seed {seed}");
        // The run was what it claims to be.
        assert!(
            figures.seen.answered > plan.requests as u64 / 4,
            "{figures}"
        );
        assert!(
            figures.seen.gone > 0 && figures.worker_failures > 0,
            "{figures}"
        );
    }
}
