//! Looking at how much memory is left, now and then, while there is anything to retire.

use std::sync::Arc;
use std::time::Instant;

use ractor::ActorRef;
use ractor::concurrency::JoinHandle;

use super::{SupervisorMessage, SupervisorState};
use crate::pool::core::events::EventKind;
use crate::pool::core::memory::{MIB, PressureConfig};

/// When to look next.
pub(super) struct Sampler {
    config: PressureConfig,
    /// A look is due, or under way.
    armed: bool,
    /// When it was last looked before a cold start.
    looked_at: Option<Instant>,
    timer: Option<JoinHandle<Result<(), ractor::MessagingErr<SupervisorMessage>>>>,
}

impl Sampler {
    pub(super) fn new(config: PressureConfig) -> Self {
        Self {
            config,
            armed: false,
            looked_at: None,
            timer: None,
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
    }
}

impl SupervisorState {
    /// Looks again in a while, as long as any worker lives: an idle pool does not wake.
    pub(super) fn arm_sampler(&mut self, myself: &ActorRef<SupervisorMessage>) {
        let Some(sampler) = &mut self.sampler else {
            return;
        };
        if sampler.armed || self.workers.is_empty() {
            return;
        }
        sampler.armed = true;
        sampler.timer = Some(myself.send_after(sampler.config.sample_every, || {
            SupervisorMessage::LookAtMemory
        }));
    }

    /// Looks, off the async threads: reading these files takes the kernel a while when memory is
    /// short.
    pub(super) fn look_at_memory(&self) {
        let probe = Arc::clone(&self.pool.config.probe);
        let supervisor = self.pool.supervisor.clone();
        drop(tokio::task::spawn_blocking(move || {
            supervisor.cast(SupervisorMessage::MemoryLeft(probe.available_bytes()));
        }));
    }

    /// Looks before the first worker starts, which is about to take much longer than the look.
    pub(super) fn look_before_cold_start(&mut self, now: Instant) {
        let Some(sampler) = &mut self.sampler else {
            return;
        };
        let fresh = sampler
            .looked_at
            .is_some_and(|at| now.saturating_duration_since(at) < sampler.config.sample_every);
        if self.workers.is_empty() && !fresh {
            sampler.looked_at = Some(now);
            let available = self.pool.config.probe.available_bytes();
            self.note_memory_left(available);
        }
    }

    pub(super) fn memory_left(&mut self, available: Option<u64>) {
        if let Some(sampler) = &mut self.sampler {
            sampler.armed = false;
        }
        self.note_memory_left(available);
    }

    fn note_memory_left(&mut self, available: Option<u64>) {
        let Some(bytes) = available else {
            // It cannot be known here: there is no use in asking again.
            self.sampler = None;
            return;
        };
        let changed = self.pool.pressure().sample(available);
        let available_mb = bytes / MIB;
        let kind = match changed {
            Some(true) => {
                tracing::warn!(
                    available_mb,
                    "memory is short: nothing grows, who is idle goes"
                );
                EventKind::PressureBegan { available_mb }
            }
            Some(false) => EventKind::PressureEnded { available_mb },
            None => return,
        };
        self.pool.events.emit("", None, kind);
    }
}
