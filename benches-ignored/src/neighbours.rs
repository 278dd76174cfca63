//! What else the machine is doing: a shared machine is never quite still, and a round during
//! which others worked says little.

use std::thread;
use std::time::{Duration, Instant};

use cpu_time::ProcessTime;
use sysinfo::{CpuRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

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
    /// Processes that belong to the benchmark besides this one.
    own: Vec<Pid>,
    since: Instant,
    own_time: Duration,
}

impl Neighbours {
    /// Begins to watch.
    ///
    /// # Errors
    /// If the system does not tell how busy it is.
    pub fn watch() -> Result<Self, Failure> {
        let cpus = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing().with_usage());
        let mut watch = Self {
            system: System::new_with_specifics(cpus)?,
            own: Vec::new(),
            since: Instant::now(),
            own_time: Duration::ZERO,
        };
        watch.own_time = watch.own_time();
        Ok(watch)
    }

    /// Counts this process, a peer's, as part of the benchmark.
    pub fn count_as_own(&mut self, process: u32) {
        self.own.push(Pid::from_u32(process));
        self.own_time = self.own_time();
    }

    /// How many cores' worth of work other processes have done since the last look.
    pub fn busy_cores(&mut self) -> f64 {
        self.system.refresh_cpu_usage();
        let cores = self.system.cpus().len() as f64;
        let all = f64::from(self.system.global_cpu_usage()) / 100.0 * cores;
        let own_time = self.own_time();
        let own = own_time.saturating_sub(self.own_time).as_secs_f64();
        let busy = all - own / self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        self.own_time = own_time;
        busy.max(0.0)
    }

    /// Waits until the others rest, but not for ever.
    pub fn rest(&mut self) {
        let began = Instant::now();
        self.busy_cores();
        while began.elapsed() < PATIENCE {
            thread::sleep(GLANCE);
            if self.busy_cores() <= DISTURBED {
                return;
            }
        }
    }

    /// Looks at the machine before anything is measured, and says aloud if it is busy.
    pub fn check_idle(&mut self) {
        self.busy_cores();
        thread::sleep(Duration::from_secs(1));
        let busy = self.busy_cores();
        if busy > DISTURBED {
            eprintln!(
                "WARNING: other processes keep {busy:.1} cores busy. What is measured now is of \
                 little worth; ratios suffer less than times, and neither is to be quoted."
            );
        }
    }

    /// CPU time of this process and of those counted as its own.
    fn own_time(&mut self) -> Duration {
        let kind = ProcessRefreshKind::nothing().with_cpu();
        let wanted = ProcessesToUpdate::Some(&self.own);
        self.system.refresh_processes_specifics(wanted, false, kind);
        let peers = self.own.iter().filter_map(|id| self.system.process(*id));
        let millis: u64 = peers.map(sysinfo::Process::accumulated_cpu_time).sum();
        ProcessTime::now().as_duration() + Duration::from_millis(millis)
    }
}
