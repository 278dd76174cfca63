//! How much memory there is, and how much of it is used.

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::MIB;
use super::files::SystemFiles;

/// Tells of the machine's memory. A trait, so that a test can set the machine's size. What cannot
/// be known is `None`, and what depends on it is then left alone.
pub trait MemoryProbe: Send + Sync + 'static {
    /// What the process may use in all, in MiB.
    fn total_mb(&self) -> u64;

    /// What can still be taken before the kernel has to act, in bytes, whoever has taken the rest.
    fn available_bytes(&self) -> Option<u64> {
        None
    }

    /// What of this process is in memory now, in bytes.
    fn resident_bytes(&self) -> Option<u64> {
        None
    }
}

/// The machine as it is: the smaller of physical memory and the container's limit.
#[derive(Debug, Clone, Default)]
pub struct SystemProbe {
    files: SystemFiles,
}

impl SystemProbe {
    /// The machine whose files are `files`. Physical memory is this machine's.
    pub fn with_files(files: SystemFiles) -> Self {
        Self { files }
    }
}

impl MemoryProbe for SystemProbe {
    fn total_mb(&self) -> u64 {
        let physical = physical_bytes();
        let container = self.files.container_limit();
        container.map_or(physical, |limit| limit.min(physical)) / MIB
    }

    fn available_bytes(&self) -> Option<u64> {
        self.files.available()
    }

    fn resident_bytes(&self) -> Option<u64> {
        self.files.resident().or_else(resident_elsewhere)
    }
}

/// A machine of a fixed size, which tells nothing of what is used.
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
/// (cgroup v1 or v2, the process's own group and those above it). Page cache plays no part: this
/// is a size, not what is free.
///
/// Only memory is looked at, so a call costs microseconds. On a system whose memory cannot be read
/// the answer is 0, with which no model fits until the budget is given in megabytes.
pub fn query_system_memory_mb() -> u64 {
    SystemProbe::default().total_mb()
}

fn physical_bytes() -> u64 {
    let memory = MemoryRefreshKind::nothing().with_ram();
    System::new_with_specifics(RefreshKind::nothing().with_memory(memory))
        .map_or(0, |system| system.total_memory())
}

/// The resident set on systems without `/proc`.
#[cfg(not(target_os = "linux"))]
fn resident_elsewhere() -> Option<u64> {
    use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate};

    let mut system = System::new_with_specifics(RefreshKind::nothing()).ok()?;
    let pid = Pid::from_u32(std::process::id());
    let memory = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, memory);
    system.process(pid).map(sysinfo::Process::memory)
}

#[cfg(target_os = "linux")]
fn resident_elsewhere() -> Option<u64> {
    None
}
