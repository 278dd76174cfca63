//! The cores that threads can be pinned to.

/// A core, by the system's number.
pub(crate) type Core = usize;

/// The cores that the calling thread may run on, within what the process, its container or a
/// `taskset` was given; `None` where the system does not tell or can't pin.
#[cfg(target_os = "linux")]
pub(crate) fn allowed() -> Option<Vec<Core>> {
    use rustix::thread::{CpuSet, sched_getaffinity};

    let set = sched_getaffinity(None).ok()?;
    let cores = (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core));
    Some(cores.collect())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn allowed() -> Option<Vec<Core>> {
    None
}

/// Keeps the calling thread on one core. A core that was taken from the process since it was
/// counted leaves the thread where it may run now.
#[cfg(target_os = "linux")]
pub(super) fn pin(core: Core) {
    use rustix::thread::{CpuSet, sched_setaffinity};

    let mut set = CpuSet::new();
    set.set(core);
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!(core, %error, "a compute thread could not be pinned");
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn pin(_core: Core) {}
