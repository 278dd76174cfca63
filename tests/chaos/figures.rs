//! What the callers saw, and what it came to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use modelpool::pool::core::{PoolError, PoolMetrics};
use tokio::task::JoinSet;

use super::disruption::Disruption;

/// What one caller saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Answered,
    /// It went away.
    Gone,
    /// The queue was full: never accepted.
    Refused,
    Failed,
    Expired,
    Interrupted,
    Poisoned,
    Stalled,
    Unserved,
    ShutDown,
}

impl Seen {
    pub fn of(error: &PoolError) -> Self {
        match error {
            PoolError::Overloaded { .. } | PoolError::TenantOverloaded { .. } => Self::Refused,
            PoolError::Model { .. } => Self::Failed,
            PoolError::DeadlineExceeded { .. } => Self::Expired,
            PoolError::Interrupted { .. } => Self::Interrupted,
            PoolError::Poisoned { .. } => Self::Poisoned,
            PoolError::Stalled { .. } => Self::Stalled,
            PoolError::ShuttingDown => Self::ShutDown,
            _ => Self::Unserved,
        }
    }
}

/// How many callers saw what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub answered: u64,
    pub gone: u64,
    pub refused: u64,
    pub failed: u64,
    pub expired: u64,
    pub interrupted: u64,
    pub poisoned: u64,
    pub stalled: u64,
    pub unserved: u64,
    pub shut_down: u64,
}

impl Counts {
    fn add(&mut self, seen: Seen) {
        *match seen {
            Seen::Answered => &mut self.answered,
            Seen::Gone => &mut self.gone,
            Seen::Refused => &mut self.refused,
            Seen::Failed => &mut self.failed,
            Seen::Expired => &mut self.expired,
            Seen::Interrupted => &mut self.interrupted,
            Seen::Poisoned => &mut self.poisoned,
            Seen::Stalled => &mut self.stalled,
            Seen::Unserved => &mut self.unserved,
            Seen::ShutDown => &mut self.shut_down,
        } += 1;
    }

    pub fn absorb(&mut self, other: &Self) {
        self.answered += other.answered;
        self.gone += other.gone;
        self.refused += other.refused;
        self.failed += other.failed;
        self.expired += other.expired;
        self.interrupted += other.interrupted;
        self.poisoned += other.poisoned;
        self.stalled += other.stalled;
        self.unserved += other.unserved;
        self.shut_down += other.shut_down;
    }

    pub fn all(&self) -> u64 {
        self.accepted() + self.refused
    }

    fn accepted(&self) -> u64 {
        self.heard().iter().map(|(_, count)| count).sum::<u64>() + self.gone + self.expired
    }

    /// Endings that a caller was told by the pool, and that the books must have too.
    fn heard(&self) -> [(&'static str, u64); 7] {
        [
            ("answered", self.answered),
            ("failed", self.failed),
            ("interrupted", self.interrupted),
            ("poisoned", self.poisoned),
            ("stalled", self.stalled),
            ("unserved", self.unserved),
            ("shut_down", self.shut_down),
        ]
    }

    /// Compares with the pool's books. A caller that has gone, or that saw its own deadline pass,
    /// does not know how the job ended: it may have been answered at that moment. All else must be
    /// equal, and the sums too.
    pub fn compare(&self, model: &str, books: &PoolMetrics) -> Result<u64, String> {
        let wrong = |what: &str, callers: u64, books: u64| {
            Err(format!("{model}: {what}: callers {callers}, books {books}"))
        };
        if self.accepted() != books.accepted {
            return wrong("accepted", self.accepted(), books.accepted);
        }
        if books.ended() != books.accepted {
            return wrong("ended", books.accepted, books.ended());
        }
        if self.refused != books.refused {
            return wrong("refused", self.refused, books.refused);
        }
        let written = [
            books.answered,
            books.failed,
            books.interrupted,
            books.poisoned,
            books.stalled,
            books.unserved,
            books.shut_down,
        ];
        let mut raced = 0;
        for ((what, heard), written) in self.heard().into_iter().zip(written) {
            if written < heard {
                return wrong(what, heard, written);
            }
            raced += written - heard;
        }
        let left = self.gone + self.expired;
        if raced + books.cancelled + books.expired != left {
            return wrong(
                "gone or expired",
                left,
                raced + books.cancelled + books.expired,
            );
        }
        Ok(raced)
    }
}

#[derive(Default)]
struct Kept {
    seen: BTreeMap<String, Counts>,
    disruptions: BTreeMap<String, u64>,
    violations: Vec<String>,
    latest: Duration,
    background: JoinSet<()>,
}

/// The callers' own books. Clones write into the same ones.
#[derive(Clone, Default)]
pub struct Tally(Arc<Mutex<Kept>>);

impl Tally {
    fn with<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn saw(&self, model: &str, seen: Seen, late: Duration) {
        self.with(|kept| {
            match kept.seen.get_mut(model) {
                Some(counts) => counts.add(seen),
                None => kept.seen.entry(model.to_owned()).or_default().add(seen),
            }
            kept.latest = kept.latest.max(late);
        });
    }

    pub fn disrupted(&self, kind: Disruption) {
        self.with(|kept| *kept.disruptions.entry(kind.to_string()).or_default() += 1);
    }

    /// Notes a violation unless `held`.
    pub fn expect(&self, held: bool, what: impl FnOnce() -> String) {
        if !held {
            self.with(|kept| kept.violations.push(what()));
        }
    }

    /// Work that the run waits for at its end.
    pub fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.with(|kept| {
            while kept.background.try_join_next().is_some() {}
            kept.background.spawn(work);
        });
    }

    pub fn take_background(&self) -> JoinSet<()> {
        self.with(|kept| std::mem::take(&mut kept.background))
    }

    pub fn seen_of(&self, model: &str) -> Counts {
        self.with(|kept| kept.seen.get(model).copied().unwrap_or_default())
    }

    pub fn latest(&self) -> Duration {
        self.with(|kept| kept.latest)
    }

    pub fn disruptions(&self) -> BTreeMap<String, u64> {
        self.with(|kept| kept.disruptions.clone())
    }

    pub fn violations(&self) -> Vec<String> {
        self.with(|kept| kept.violations.clone())
    }
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Figures {
    pub seed: u64,
    pub took: Duration,
    pub seen: Counts,
    /// Callers that left or expired at the very moment at which their job ended otherwise.
    pub raced: u64,
    pub redelivered: u64,
    pub worker_failures: u64,
    pub worker_stalls: u64,
    pub loads: u64,
    /// The latest that any caller heard after its deadline.
    pub latest: Duration,
    /// The latest that a timer of the run itself was.
    pub timer_lag: Duration,
    pub disruptions: BTreeMap<String, u64>,
    /// What should hold and did not.
    pub violations: Vec<String>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = &self.seen;
        let per_second = seen.all() as f64 / self.took.as_secs_f64();
        writeln!(
            f,
            "seed {}: {} requests in {:.1?} ({per_second:.0}/s), {} violations",
            self.seed,
            seen.all(),
            self.took,
            self.violations.len()
        )?;
        write!(f, "callers saw:")?;
        for (what, count) in seen.heard() {
            write!(f, " {what} {count},")?;
        }
        writeln!(
            f,
            " expired {}, gone {}, refused {}; raced {}",
            seen.expired, seen.gone, seen.refused, self.raced
        )?;
        writeln!(
            f,
            "redelivered {}, worker failures {}, stalls {}, loads {}",
            self.redelivered, self.worker_failures, self.worker_stalls, self.loads
        )?;
        writeln!(
            f,
            "latest ending {:.1?} after its deadline; latest timer {:.1?}",
            self.latest, self.timer_lag
        )?;
        write!(f, "disruptions:")?;
        for (what, count) in &self.disruptions {
            write!(f, " {what} {count}")?;
        }
        for violation in &self.violations {
            write!(f, "\nVIOLATION: {violation}")?;
        }
        Ok(())
    }
}
