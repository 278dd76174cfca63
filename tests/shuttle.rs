//! The hand-offs of a job under a model checker: permits, lanes, idle stack and hand, in thousands
//! of interleavings that a scheduler of its own chooses.
//!
//! The code is the pool's own: [`machine`] mounts the crate's source files beside a `sync` module
//! that is made of [shuttle]'s primitives. What the checker sees as sequentially consistent is
//! everything; how weak an ordering may be it cannot tell.

// What a mounted file offers and no test here uses is used in the crate.
#[path = "shuttle/endings.rs"]
mod endings;
#[path = "shuttle/forwarding.rs"]
mod forwarding;
#[allow(dead_code, unused_imports, reason = "mounted files are used in part")]
#[path = "shuttle/machine.rs"]
mod machine;
#[path = "shuttle/reports.rs"]
mod reports;
#[path = "shuttle/rig.rs"]
mod rig;
#[path = "shuttle/wakeups.rs"]
mod wakeups;

/// Where the mounted files look for the crate's.
mod images {
    pub use modelpool::images::ImageError;
}
/// No step is run here.
#[allow(dead_code, reason = "mounted files are used in part")]
mod kernels {
    #[derive(Debug)]
    pub struct Team(usize);

    impl Team {
        pub fn new(threads: usize) -> Self {
            Self(threads.max(1))
        }

        pub fn size(&self) -> usize {
            self.0
        }

        pub fn confine<R>(&self, work: impl FnOnce() -> R) -> R {
            work()
        }
    }
}
mod models {
    pub use modelpool::ModelError;
}
