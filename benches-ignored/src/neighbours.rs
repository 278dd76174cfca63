//! What else the machine is doing: a shared machine is never quite still, and a round during
//! which others worked says little.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use sysinfo::{CpuRefreshKind, RefreshKind, System};

use crate::Failure;

/// With others using more cores than this, a round counts as disturbed.
pub const DISTURBED: f64 = 0.2;
/// How long to look whether the machine is quiet.
const GLANCE: Duration = Duration::from_millis(250);
/// How long to wait for a quiet moment before going on regardless.
const PATIENCE: Duration = Duration::from_secs(5);

/// Watches how many cores other processes use.
#[derive(Debug)]
pub struct Neighbours {
    system: System,
    since: Instant,
    own: ProcessTime,
}

impl Neighbours {
    /// Begins to watch.
    ///
    /// # Errors
    /// If the system does not tell how busy it is.
    pub fn watch() -> Result<Self, Failure> {
        let cpus = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing().with_usage());
        Ok(Self {
            system: System::new_with_specifics(cpus)?,
            since: Instant::now(),
            own: ProcessTime::now(),
        })
    }

    /// How many cores' worth of work other processes have done since the last look.
    pub fn busy_cores(&mut self) -> f64 {
        self.system.refresh_cpu_usage();
        let cores = self.system.cpus().len() as f64;
        let all = f64::from(self.system.global_cpu_usage()) / 100.0 * cores;
        let own = self.own.elapsed().as_secs_f64() / self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        self.own = ProcessTime::now();
        (all - own).max(0.0)
    }

    /// Waits until the others rest, but not for ever.
    pub async fn rest(&mut self) {
        let began = Instant::now();
        self.busy_cores();
        while began.elapsed() < PATIENCE {
            tokio::time::sleep(GLANCE).await;
            if self.busy_cores() <= DISTURBED {
                return;
            }
        }
    }
}
