//! The supervisor as the lanes see it: somebody who is told things.

use super::ids::ModelId;
use super::sync::{Arc, Mutex};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SupervisorMessage {
    Demand { model: ModelId },
    Drained,
    Saturated { model: ModelId, idle_epoch: u64 },
}

/// Keeps what the supervisor was told.
#[derive(Debug, Clone, Default)]
pub struct SupervisorLink(Arc<Mutex<Vec<SupervisorMessage>>>);

impl SupervisorLink {
    pub fn cast(&self, message: SupervisorMessage) {
        self.0.lock().unwrap().push(message);
    }

    pub fn told(&self) -> Vec<SupervisorMessage> {
        self.0.lock().unwrap().clone()
    }
}
