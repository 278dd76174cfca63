//! How much memory there is.

use sysinfo::{
    MemoryRefreshKind, Pid, Process, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System,
};

use super::MIB;

/// Tells how much memory the process may use. A trait, so that a test can set the machine's size.
pub trait MemoryProbe: Send + Sync + 'static {
    /// What the process may use in all, in MiB.
    fn total_mb(&self) -> u64;
}

/// The machine as it is: the smaller of physical memory and the container's limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemProbe;

impl MemoryProbe for SystemProbe {
    fn total_mb(&self) -> u64 {
        query_system_memory_mb()
    }
}

/// A machine of a fixed size.
#[derive(Debug, Clone, Copy)]
pub struct FixedProbe {
    /// What the process may use in all, in MiB.
    pub total_mb: u64,
}

impl MemoryProbe for FixedProbe {
    fn total_mb(&self) -> u64 {
        self.total_mb
    }
}

/// What this process may use, in MiB: the smaller of physical memory and the container's limit
/// (cgroup v1 or v2). Page cache plays no part: this is a size, not what is free.
///
/// Only memory and this one process are refreshed, so a call costs microseconds. On a system whose memory cannot be
/// read the answer is 0, with which no model fits until the budget is given in megabytes.
pub fn query_system_memory_mb() -> u64 {
    let Ok(mut system) = System::new_with_specifics(
        RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()),
    ) else {
        return 0;
    };
    let pid = Pid::from_u32(std::process::id());
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        false,
        ProcessRefreshKind::nothing().without_tasks(),
    );
    // A container's limit is on the root of its own hierarchy, a service's on its own group.
    let groups = [
        system.cgroup_limits(),
        system.process(pid).and_then(Process::cgroup_limits),
    ];
    groups
        .into_iter()
        .flatten()
        .map(|limits| limits.total_memory)
        // sysinfo answers 0 where there is no limit.
        .filter(|&bytes| bytes > 0)
        .fold(system.total_memory(), u64::min)
        / MIB
}
