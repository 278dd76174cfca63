//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::{SUITES, Suite};

/// The options that every suite knows; a suite ignores those that mean nothing to it.
const OPTIONS: &str = "\
Options:
  --quick              few short rounds, for a look; results are not written
  --rounds N           how many turns to take (each suite has its own default)
  --seconds S          how long one round lasts, where rounds are timed
  --callers N[,N..]    concurrent callers, where a suite varies them
  --only NAME[,NAME..] measure these contenders alone; results are not written
  --seed N             what a seeded run draws from (default 1)
  --requests N         how many requests a run of chaos makes
  --threads N          threads that each contender computes with (default 2)
  --python DIR         a virtual environment that has the Python peers' packages already
  --help               this text";

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// The benchmark to run.
    pub suite: &'static Suite,
    /// Whether a rough look is enough.
    pub quick: bool,
    /// How many turns to take.
    pub rounds: Option<usize>,
    /// How long one round lasts.
    pub round_time: Option<Duration>,
    /// How many callers ask at once, one sweep for each.
    pub callers: Option<Vec<usize>>,
    /// The contenders to measure; empty means all.
    pub only: Vec<String>,
    /// What a seeded run draws from.
    pub seed: u64,
    /// How many requests to make, where a suite counts them.
    pub requests: Option<usize>,
    /// Threads that each contender computes with.
    pub threads: usize,
    /// Where the Python peers' packages are; made by the harness if not given.
    pub python: Option<PathBuf>,
}

impl Arguments {
    /// Reads the command line; `None` if only help was asked for.
    ///
    /// # Errors
    /// A sentence on the first argument that cannot be understood.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut rest = arguments;
        let name = match rest.next() {
            Some(help) if help == "--help" || help == "-h" => return Ok(None),
            Some(name) => name,
            None => return Err("a suite is needed".to_owned()),
        };
        let suite = SUITES
            .iter()
            .find(|suite| suite.name == name)
            .ok_or(format!("there is no suite {name}"))?;
        let mut parsed = Self {
            suite,
            quick: false,
            rounds: None,
            round_time: None,
            callers: None,
            only: Vec::new(),
            seed: 1,
            requests: None,
            threads: 2,
            python: None,
        };
        while let Some(option) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => parsed.quick = true,
                "--rounds" => parsed.rounds = Some(positive(&option, &value()?)?),
                "--seconds" => {
                    let seconds: f64 = number(&option, &value()?)?;
                    let time = Duration::try_from_secs_f64(seconds)
                        .ok()
                        .filter(|time| !time.is_zero())
                        .ok_or(format!("{option} must be more than 0"))?;
                    parsed.round_time = Some(time);
                }
                "--callers" => {
                    let counts = value()?
                        .split(',')
                        .map(|count| positive(&option, count))
                        .collect::<Result<_, _>>()?;
                    parsed.callers = Some(counts);
                }
                "--only" => parsed.only = value()?.split(',').map(str::to_owned).collect(),
                "--seed" => parsed.seed = number(&option, &value()?)?,
                "--requests" => parsed.requests = Some(positive(&option, &value()?)?),
                "--threads" => parsed.threads = positive(&option, &value()?)?,
                "--python" => parsed.python = Some(value()?.into()),
                other => return Err(format!("there is no option {other}")),
            }
        }
        Ok(Some(parsed))
    }

    /// Whether the results are complete enough to be kept.
    pub fn keep_results(&self) -> bool {
        !self.quick && self.only.is_empty()
    }

    /// Whether this contender is to be measured.
    pub fn wants(&self, contender: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == contender)
    }

    /// How many turns to take, if the suite takes `usual` when nothing is said, or `quick` for a
    /// look.
    pub fn rounds_or(&self, usual: usize, quick: usize) -> usize {
        self.rounds
            .unwrap_or(if self.quick { quick } else { usual })
    }

    /// How long a round lasts, likewise.
    pub fn round_time_or(&self, usual: Duration, quick: Duration) -> Duration {
        self.round_time
            .unwrap_or(if self.quick { quick } else { usual })
    }
}

/// What `--help` says.
pub fn usage() -> String {
    let suites: String = SUITES
        .iter()
        .map(|suite| format!("  {:<20} {}\n", suite.name, suite.about))
        .collect();
    format!("Usage: modelpool-benches <SUITE> [OPTIONS]\n\nSuites:\n{suites}\n{OPTIONS}")
}

fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("{option} needs a number, not {text}"))
}

fn positive(option: &str, text: &str) -> Result<usize, String> {
    match number(option, text)? {
        0 => Err(format!("{option} must be at least 1")),
        count => Ok(count),
    }
}
