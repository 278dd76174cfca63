//! One contender, asked by many callers for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use serde::Serialize;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::Contender;
use crate::Failure;
use crate::neighbours::Neighbours;
use crate::summary::percentile;

/// What one round measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    pub(crate) requests_per_second: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    pub(crate) cpu_micros_per_request: f64,
    /// How many cores other processes kept busy meanwhile.
    pub(crate) others_cores: f64,
}

/// Lets `callers` tasks ask one request after the other for `time`.
///
/// # Errors
/// The first request that was not answered, or not with itself.
pub(crate) async fn run<C: Contender>(
    contender: &C,
    callers: usize,
    time: Duration,
    neighbours: &mut Neighbours,
) -> Result<Round, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    // Two gates: between them nobody asks yet, so nothing is served before the clocks run.
    let gates = Arc::new([Barrier::new(callers + 1), Barrier::new(callers + 1)]);
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (contender, stop) = (contender.clone(), Arc::clone(&stop));
        let gates = Arc::clone(&gates);
        tasks.spawn(async move {
            for gate in gates.iter() {
                gate.wait().await;
            }
            ask_until(&contender, caller as u64, &stop).await
        });
    }
    gates[0].wait().await;
    neighbours.busy_cores();
    let (began, cpu_began) = (Instant::now(), ProcessTime::now());
    gates[1].wait().await;
    tokio::time::sleep(time).await;
    let others_cores = neighbours.busy_cores();
    stop.store(true, Ordering::Relaxed);
    let mut latencies: Vec<u32> = Vec::new();
    let mut outcomes = Vec::new();
    while let Some(outcome) = tasks.join_next().await {
        outcomes.push(outcome);
    }
    let (elapsed, cpu) = (began.elapsed(), cpu_began.elapsed());
    for outcome in outcomes {
        latencies.append(&mut outcome??);
    }
    let requests = latencies.len() as f64;
    let mut micros = |quantile| f64::from(percentile(&mut latencies, quantile)) / 1e3;
    Ok(Round {
        requests_per_second: requests / elapsed.as_secs_f64(),
        p50_micros: micros(0.50),
        p99_micros: micros(0.99),
        cpu_micros_per_request: cpu.as_secs_f64() * 1e6 / requests,
        others_cores,
    })
}

/// One caller. The answer is its latencies in nanoseconds.
async fn ask_until<C: Contender>(
    contender: &C,
    caller: u64,
    stop: &AtomicBool,
) -> Result<Vec<u32>, Failure> {
    let mut latencies = Vec::new();
    let mut request = caller << 32;
    let mut sent = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let answer = contender.ask(request).await?;
        // The end of one request is the start of the next: one look at the clock for each.
        let answered = Instant::now();
        if answer != request {
            return Err(format!("{request} was answered with {answer}").into());
        }
        let nanos = answered.duration_since(sent).as_nanos();
        latencies.push(u32::try_from(nanos).unwrap_or(u32::MAX));
        sent = answered;
        request += 1;
    }
    Ok(latencies)
}
