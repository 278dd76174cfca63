//! Giving freed memory back to the system.

/// Asks the allocator to give back to the system whatever pages it keeps unused.
///
/// glibc keeps what was freed in small pieces for as long as something above it in the same arena
/// is in use: after a large model is gone, the process stays as large as it was. What lies at the
/// very end of an arena it keeps even so, up to twice the largest block that was freed before (64
/// MiB at most), and uses for the next load. Other allocators give pages back by themselves, or
/// not at all; of them nothing is asked.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "there is no safe way to ask")]
pub(crate) fn trim() {
    // SAFETY: `malloc_trim` takes no pointer and may be called from any thread at any time: it
    // takes the allocator's own locks, and touches only pages in which nothing is allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators look after that themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn trim() {}
