//! Products of activations and quantised weights: modelpool's kernels beside candle's, type by type.

#[cfg(feature = "candle-peer")]
mod candle;

use std::fmt::Write;
use std::time::{Duration, Instant};

use modelpool::testing::kernels::{Linear, block};
use serde::Serialize;

use crate::Failure;
use crate::arguments::Arguments;
use crate::environment::Environment;
use crate::neighbours::Neighbours;
use crate::results::Page;
use crate::summary::Spread;

/// The types, by name and number in GGUF files.
const TYPES: [(&str, u32); 15] = [
    ("F32", 0),
    ("F16", 1),
    ("BF16", 30),
    ("Q4_0", 2),
    ("Q4_1", 3),
    ("Q5_0", 6),
    ("Q5_1", 7),
    ("Q8_0", 8),
    ("Q2_K", 10),
    ("Q3_K", 11),
    ("Q4_K", 12),
    ("Q5_K", 13),
    ("Q6_K", 14),
    ("IQ4_NL", 20),
    ("IQ4_XS", 23),
];
/// Rows of activations: one stream, several, a prompt.
const ROWS: [usize; 5] = [1, 4, 8, 16, 128];
/// Inputs of the layer.
const COLUMNS: usize = 2048;
/// Outputs of the layer for up to 16 rows: more weights than the processor caches.
const OUTPUTS_FOR_FEW: usize = 32_768;
/// Outputs of the layer for more rows.
const OUTPUTS_FOR_MANY: usize = 4096;

/// Everything that one run of the suite found.
#[derive(Debug, Serialize)]
struct Report {
    environment: Environment,
    threads: usize,
    turns: usize,
    scores: Vec<Score>,
}

/// One type and number of rows.
#[derive(Debug, Serialize)]
struct Score {
    kind: &'static str,
    rows: usize,
    outputs: usize,
    /// Bytes of the weights in memory.
    bytes: usize,
    modelpool: Speed,
    /// None where candle does not have the type.
    candle: Option<Speed>,
}

/// What one contender reached.
#[derive(Debug, Serialize)]
struct Speed {
    /// The quickest product of each turn, in seconds.
    seconds: Spread,
    /// Multiplications and additions per second of the quickest product of all, in thousands of
    /// millions.
    gops: f64,
    /// Bytes of weights per second of the same, in thousands of millions.
    gigabytes: f64,
}

/// One way to multiply.
trait Contender {
    fn multiply(&mut self, x: &[f32], m: usize) -> Result<(), Failure>;
}

struct Ours {
    linear: Linear,
    out: Vec<f32>,
}

impl Contender for Ours {
    fn multiply(&mut self, x: &[f32], m: usize) -> Result<(), Failure> {
        let outputs = self.out.len() / ROWS[ROWS.len() - 1];
        self.linear.apply(x, m, &mut self.out[..m * outputs]);
        Ok(())
    }
}

/// Runs the suite, prints its table and keeps it.
///
/// # Errors
/// Weights that cannot be loaded or products that candle refuses.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut environment = Environment::observe(&["modelpool", "candle-core"]);
    let time = arguments.round_time_or(Duration::from_millis(60), Duration::from_millis(20));
    let turns = arguments.rounds_or(3, 2);
    let mut neighbours = Neighbours::watch()?;
    neighbours.check_idle();
    let mut scores = Vec::new();
    for (kind, id) in TYPES {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|only| only == kind) {
            continue;
        }
        for (outputs, rows) in [
            (OUTPUTS_FOR_FEW, &ROWS[..4]),
            (OUTPUTS_FOR_MANY, &ROWS[4..]),
        ] {
            let bytes = weights(id, outputs)?;
            let linear = Linear::new("best", arguments.threads, id, outputs, COLUMNS, &bytes)?;
            let in_memory = linear.bytes();
            let mut ours = Ours {
                linear,
                out: vec![0.0; ROWS[ROWS.len() - 1] * outputs],
            };
            #[cfg(feature = "candle-peer")]
            let mut peer = candle::Candle::new(id, outputs, COLUMNS, &bytes)?;
            #[cfg(not(feature = "candle-peer"))]
            let mut peer: Option<Ours> = None;
            for &m in rows {
                let x: Vec<f32> = (0..m * COLUMNS)
                    .map(|index| (index * 7919 % 1000) as f32 / 500.0 - 1.0)
                    .collect();
                let mut seconds = [Vec::new(), Vec::new()];
                for _ in 0..turns {
                    neighbours.rest();
                    seconds[0].push(quickest(&mut ours, &x, m, time)?);
                    if let Some(peer) = &mut peer {
                        seconds[1].push(quickest(peer, &x, m, time)?);
                    }
                }
                let speed = |seconds: &[f64]| speed(seconds, m, outputs, in_memory);
                let score = Score {
                    kind,
                    rows: m,
                    outputs,
                    bytes: in_memory,
                    modelpool: speed(&seconds[0]),
                    candle: peer.as_ref().map(|_| speed(&seconds[1])),
                };
                eprint!("{}", score.to_markdown());
                scores.push(score);
            }
        }
    }
    environment.conclude();
    let report = Report {
        environment,
        threads: arguments.threads,
        turns,
        scores,
    };
    report.page().publish(arguments.keep_results())
}

/// Random weights, with scales that are neither tiny nor huge wherever they lie in a block.
fn weights(id: u32, outputs: usize) -> Result<Vec<u8>, Failure> {
    let (columns, bytes) = block(id).ok_or("no such type")?;
    let count = outputs * COLUMNS / columns * bytes;
    let mut state = 1_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // As either byte of a 16-bit float, one between 2⁻⁷ and 1.
        (state >> 32) as u8 & 0x9f | 0x20
    };
    Ok((0..count).map(|_| random()).collect())
}

/// The time of the quickest product within `time`, of at least one.
fn quickest(
    contender: &mut impl Contender,
    x: &[f32],
    m: usize,
    time: Duration,
) -> Result<f64, Failure> {
    let begin = Instant::now();
    let mut quickest = f64::INFINITY;
    loop {
        let start = Instant::now();
        contender.multiply(x, m)?;
        quickest = quickest.min(start.elapsed().as_secs_f64());
        if begin.elapsed() >= time {
            return Ok(quickest);
        }
    }
}

fn speed(seconds: &[f64], m: usize, outputs: usize, bytes: usize) -> Speed {
    let seconds = Spread::of(seconds.iter().copied());
    let operations = 2.0 * (m * outputs * COLUMNS) as f64;
    Speed {
        seconds,
        gops: operations / seconds.min / 1e9,
        gigabytes: bytes as f64 / seconds.min / 1e9,
    }
}

impl Score {
    /// As a line of the table.
    fn to_markdown(&self) -> String {
        let ours = &self.modelpool;
        let (candle, ratio) = match &self.candle {
            Some(candle) => (
                format!("{:.1}", candle.gops),
                format!("{:.1}", ours.gops / candle.gops),
            ),
            None => ("–".to_owned(), "–".to_owned()),
        };
        format!(
            "| {} | {} | {:.1} | {:.1} | {candle} | {ratio} |\n",
            self.kind, self.rows, ours.gigabytes, ours.gops,
        )
    }
}

impl Report {
    fn page(&self) -> Page<'_, Self> {
        let mut markdown = format!(
            "# kernels\n\n\
             A linear layer of {COLUMNS} inputs with quantised weights, times m rows of \
             activations: {OUTPUTS_FOR_FEW} outputs for up to 16 rows, which is more than the \
             processor caches, {OUTPUTS_FOR_MANY} for more. GB/s are bytes of weights, GOP/s \
             multiplications and additions; each figure is of the quickest product in {turns} \
             turns, {threads} threads, candle's kernels in the same process as its default build \
             has them.\n\n{environment}\n\
             | type | m | GB/s | GOP/s | candle GOP/s | modelpool ÷ candle |\n\
             | --- | ---: | ---: | ---: | ---: | ---: |\n",
            turns = self.turns,
            threads = self.threads,
            environment = self.environment.to_markdown(),
        );
        for score in &self.scores {
            // Writing into a string cannot fail.
            let _ = write!(markdown, "{}", score.to_markdown());
        }
        Page {
            name: "kernels",
            report: self,
            markdown,
            plots: Vec::new(),
        }
    }
}
