//! The steered model that answers with a stream.

use std::sync::Arc;

use super::act::Point;
use super::controls::{Controls, Hoard};
use crate::model::{CandleModel, ModelInfo};
use crate::models::ModelError;
use crate::testing::recital::RecitalModel;

pub(super) struct SteeredReciter {
    info: ModelInfo,
    controls: Arc<Controls>,
    hoard: Hoard,
}

impl SteeredReciter {
    pub(super) fn load(info: &ModelInfo, controls: &Arc<Controls>) -> Result<Self, ModelError> {
        let mut hoard = Hoard::default();
        controls.visit(Point::Load, &mut hoard)?;
        Ok(Self {
            info: info.clone(),
            controls: Arc::clone(controls),
            hoard,
        })
    }
}

impl CandleModel for SteeredReciter {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl RecitalModel for SteeredReciter {
    fn before_step(&mut self) -> Result<(), ModelError> {
        self.controls.visit(Point::Step, &mut self.hoard)
    }

    fn before_word(&mut self, word: &str) -> Result<(), ModelError> {
        let told = self.controls.lock().on_text.get(word).copied();
        if let Some(act) = told {
            self.controls.perform(Point::Step, act, &mut self.hoard)?;
        }
        self.controls.visit(Point::Emit, &mut self.hoard)
    }
}

impl Drop for SteeredReciter {
    fn drop(&mut self) {
        self.controls.freed(&mut self.hoard);
    }
}
