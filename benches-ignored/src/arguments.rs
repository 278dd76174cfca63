//! The command line.

use std::time::Duration;

/// What `--help` says.
pub const USAGE: &str = "\
Usage: modelpool-benches <SUITE> [OPTIONS]

Suites:
  dispatch             round trip through a model that does nothing

Options:
  --quick              3 short rounds, for a look; results are not written
  --rounds N           how many undisturbed turns to take (default 7)
  --seconds S          how long one round lasts (default 1)
  --callers N[,N..]    concurrent callers (default 1,64,1000)
  --only NAME[,NAME..] measure these contenders alone; results are not written
  --help               this text";

/// Which benchmark to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Round trip through a model that does nothing.
    Dispatch,
}

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub struct Arguments {
    /// The benchmark to run.
    pub suite: Suite,
    /// How many undisturbed turns to take.
    pub rounds: usize,
    /// How long one round lasts.
    pub round_time: Duration,
    /// How many callers ask at once, one sweep for each.
    pub callers: Vec<usize>,
    /// The contenders to measure; empty means all.
    pub only: Vec<String>,
    /// Whether the results are complete enough to be kept.
    pub keep_results: bool,
}

impl Arguments {
    /// Reads the command line; `None` if only help was asked for.
    ///
    /// # Errors
    /// A sentence on the first argument that cannot be understood.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut rest = arguments;
        let suite = match rest.next().as_deref() {
            Some("dispatch") => Suite::Dispatch,
            Some("--help" | "-h") => return Ok(None),
            Some(other) => return Err(format!("there is no suite {other}")),
            None => return Err("a suite is needed".to_owned()),
        };
        let mut parsed = Self {
            suite,
            rounds: 7,
            round_time: Duration::from_secs(1),
            callers: vec![1, 64, 1000],
            only: Vec::new(),
            keep_results: true,
        };
        while let Some(option) = rest.next() {
            let mut value = || rest.next().ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => {
                    parsed.rounds = 3;
                    parsed.round_time = Duration::from_millis(300);
                    parsed.keep_results = false;
                }
                "--rounds" => parsed.rounds = positive(&option, &value()?)?,
                "--seconds" => {
                    let seconds: f64 = number(&option, &value()?)?;
                    parsed.round_time = Duration::try_from_secs_f64(seconds)
                        .ok()
                        .filter(|time| !time.is_zero())
                        .ok_or(format!("{option} must be more than 0"))?;
                }
                "--callers" => {
                    parsed.callers = value()?
                        .split(',')
                        .map(|count| positive(&option, count))
                        .collect::<Result<_, _>>()?;
                }
                "--only" => {
                    parsed.only = value()?.split(',').map(str::to_owned).collect();
                    parsed.keep_results = false;
                }
                other => return Err(format!("there is no option {other}")),
            }
        }
        Ok(Some(parsed))
    }
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
