//! The files in which Linux tells of memory.

use std::path::{Path, PathBuf};

use super::cgroup::limited_groups;

/// The files in which Linux tells of memory: `/proc`, and the cgroups under `/sys`. Where they are
/// not there, or say nothing that makes sense, every answer is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemFiles {
    root: PathBuf,
}

impl Default for SystemFiles {
    fn default() -> Self {
        Self::at("/")
    }
}

impl SystemFiles {
    /// The files under `root` in place of `/`, as a test lays them out.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// What the container, or the service's group, may use in all, in bytes: the smallest limit of
    /// its groups, of cgroup v1 or v2.
    pub fn container_limit(&self) -> Option<u64> {
        let groups = limited_groups(&self.root);
        groups.iter().map(|group| group.limit).min()
    }

    /// How far the container is from its limits, in bytes. Page cache does not count as used: the
    /// kernel drops it when memory is needed.
    pub fn container_available(&self) -> Option<u64> {
        let groups = limited_groups(&self.root);
        groups
            .iter()
            .filter_map(|group| Some(group.limit.saturating_sub(group.used?)))
            .min()
    }

    /// What can still be taken before the kernel has to act, in bytes: the smaller of what the
    /// machine and the container have left.
    pub fn available(&self) -> Option<u64> {
        let machine = self.kilobytes("proc/meminfo", "MemAvailable:");
        machine.into_iter().chain(self.container_available()).min()
    }

    /// What of this process is in memory now, in bytes.
    pub fn resident(&self) -> Option<u64> {
        self.kilobytes("proc/self/status", "VmRSS:")
    }

    /// The value of a line such as `VmRSS:   1234 kB`, in bytes.
    fn kilobytes(&self, file: &str, field: &str) -> Option<u64> {
        let text = read(&self.root.join(file))?;
        let value = text.lines().find_map(|line| line.strip_prefix(field))?;
        let kilobytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kilobytes.checked_mul(1024)
    }
}

/// The text of a file, if there is one.
pub(super) fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// An absolute path, seen from another root.
pub(super) fn under(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}
