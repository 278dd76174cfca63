//! Work on untrusted input that recurses: on a thread of its own, with a stack that holds it.

use std::thread;

/// Address space; only what is used of it is ever touched.
const STACK_BYTES: usize = 256 << 20;

/// Runs `work` on a large stack and waits for it. `None` if it panicked or no thread could be started.
pub(super) fn run<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .ok()?
            .join()
            .ok()
    })
}
