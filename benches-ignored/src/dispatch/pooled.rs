//! The fourth contender: a pool, with a capability whose models do nothing.

use std::sync::Arc;

use modelpool::model::{CandleModel, ModelInfo, ModelSpec};
use modelpool::models::ModelError;
use modelpool::pool::core::{
    Capability, Engine, ModelHandle, Outbox, Pool, PoolConfig, Slot, StepContext,
};

use super::{Contender, STEP_LIMIT};
use crate::Failure;

/// The capability of answering with the request itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Echo;

/// A model that answers with the request itself.
struct EchoModel {
    info: ModelInfo,
}

impl CandleModel for EchoModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

/// Admits what there is, within the limit, and answers all of it in one step.
pub(crate) struct EchoEngine {
    _model: Box<dyn CandleModel>,
    admitted: Vec<(Slot, Arc<u64>)>,
}

impl Capability for Echo {
    const NAME: &'static str = "echo";
    type Model = dyn CandleModel;
    type Request = u64;
    type Item = u64;
    type CallerSide = ();
    type Engine = EchoEngine;

    fn engine(model: Box<dyn CandleModel>) -> EchoEngine {
        EchoEngine {
            _model: model,
            admitted: Vec::with_capacity(STEP_LIMIT),
        }
    }
}

impl Engine<Echo> for EchoEngine {
    fn has_room_for(&self, _: &u64) -> bool {
        self.admitted.len() < STEP_LIMIT
    }

    fn admit(&mut self, slot: Slot, request: Arc<u64>) {
        self.admitted.push((slot, request));
    }

    fn remove(&mut self, slot: Slot) {
        self.admitted.retain(|(admitted, _)| *admitted != slot);
    }

    fn step(&mut self, _: &StepContext, outbox: &mut Outbox<'_, Echo>) -> Result<(), ModelError> {
        for (slot, request) in self.admitted.drain(..) {
            outbox.finish(slot, *request);
        }
        Ok(())
    }
}

/// Asks through the pool's public face.
#[derive(Clone)]
pub(super) struct Pooled {
    handle: ModelHandle<Echo>,
}

/// Starts a pool that serves one echo with `workers` workers, and waits until all of them serve.
pub(super) async fn start(workers: usize, callers: &[usize]) -> Result<(Pool, Pooled), Failure> {
    let pool = Pool::start(PoolConfig {
        cold_start_workers: workers,
        ..PoolConfig::default()
    })
    .await?;
    let most_callers = callers.iter().copied().max().unwrap_or(1);
    let handle = pool.register(spec("echo".to_owned(), workers, most_callers * 2))?;
    pool.warm(&handle).await?;
    while pool.status().models[0].metrics.loads < workers as u64 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    Ok((pool, Pooled { handle }))
}

/// A model that answers with the request itself, served by `workers` workers.
pub(crate) fn spec(name: String, workers: usize, queue_capacity: usize) -> ModelSpec<Echo> {
    let info = ModelInfo::new(name, 1);
    let model_info = info.clone();
    let loader = Arc::new(move || {
        let model: Box<dyn CandleModel> = Box::new(EchoModel {
            info: model_info.clone(),
        });
        Ok(model)
    });
    ModelSpec::with_caller_side(info, (), loader)
        .min_workers(workers)
        .max_workers(workers)
        .queue_capacity(queue_capacity)
}

impl Contender for Pooled {
    async fn ask(&self, request: u64) -> Result<u64, Failure> {
        Ok(self.handle.ask(request).await?)
    }
}
