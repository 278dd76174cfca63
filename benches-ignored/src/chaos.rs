//! A million requests while all goes wrong by a seeded plan.
//!
//! The run is that of `tests/chaos.rs`, at length. It fails if a single thing does not hold.

#[path = "../../tests/chaos/mod.rs"]
mod runs;

use crate::Failure;
use crate::arguments::Arguments;
use crate::environment::Environment;
use runs::{Plan, run as run_plan};

/// As many as the callers of a busy service.
const CALLERS: usize = 256;
const RUNTIME_THREADS: usize = 2;

/// Runs the plan and prints what it came to.
///
/// # Errors
/// What should have held and did not.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut environment = Environment::observe(&["modelpool", "ractor", "tokio"]);
    let requests = if arguments.quick { 50_000 } else { 1_000_000 };
    let plan = Plan {
        seed: arguments.seed,
        requests: arguments.requests.unwrap_or(requests),
        callers: CALLERS,
        requests_between_disruptions: 250,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()?;
    let figures = runtime.block_on(run_plan(plan));
    environment.conclude();
    println!("{}\n{figures}", environment.to_markdown());
    if figures.violations.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} violations; --seed {} replays the plan",
        figures.violations.len(),
        plan.seed
    )
    .into())
}
