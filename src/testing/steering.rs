//! The steerable model and its controls.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::recital::{Recital, RecitalModel};
use crate::model::{CandleModel, ModelInfo, ModelSpec};
use crate::models::ModelError;
use crate::pool::capabilities::text_embedding::{
    EmbedInput, Embedding, TextEmbedding, TextEmbeddingCapable,
};
use crate::pool::core::StepContext;

/// A visit that waits longer than this has been forgotten by its test.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Where a model can be steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// In the loader, on the worker's thread.
    Load,
    /// At the beginning of a step.
    Step,
    /// When the model is freed.
    Free,
}

/// What a model does at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Goes on.
    Go,
    /// Returns an error. When it is freed: goes on, since that cannot fail.
    Fail,
    /// Panics.
    Panic,
    /// Waits until [released](Steering::release), then goes on.
    Wait,
}

#[derive(Default)]
struct Gate {
    script: VecDeque<Act>,
    always: Option<Act>,
    /// How many waiting visits may go on.
    released: usize,
    open: bool,
}

struct State {
    gates: HashMap<Point, Gate>,
    on_text: HashMap<String, Act>,
    steps: Vec<Vec<String>>,
    threads: Vec<usize>,
}

struct Controls {
    state: Mutex<State>,
    released: Condvar,
    visits: HashMap<Point, watch::Sender<usize>>,
}

/// Steers the models that it makes. Clones steer the same ones. When the last clone outside the
/// pool is dropped, everything that still waits goes on.
#[derive(Clone)]
pub struct Steering {
    controls: Arc<Controls>,
    _opener: Arc<Opener>,
}

struct Opener(Arc<Controls>);

impl Drop for Opener {
    fn drop(&mut self) {
        for gate in self.0.lock().gates.values_mut() {
            gate.open = true;
        }
        self.0.released.notify_all();
    }
}

impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steering")
            .field("loads", &self.visits(Point::Load))
            .field("steps", &self.visits(Point::Step))
            .field("frees", &self.visits(Point::Free))
            .finish()
    }
}

impl Default for Steering {
    fn default() -> Self {
        Self::new()
    }
}

impl Controls {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A steered panic happens outside the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn act_at(&self, point: Point) -> Act {
        let mut state = self.lock();
        let Some(gate) = state.gates.get_mut(&point) else {
            return Act::Go;
        };
        gate.script.pop_front().or(gate.always).unwrap_or(Act::Go)
    }

    fn announce(&self, point: Point) {
        if let Some(visits) = self.visits.get(&point) {
            visits.send_modify(|count| *count += 1);
        }
    }

    fn visit(&self, point: Point) -> Result<(), ModelError> {
        let act = self.act_at(point);
        self.announce(point);
        self.perform(point, act)
    }

    #[allow(clippy::panic, reason = "to panic is what this model is for")]
    fn perform(&self, point: Point, act: Act) -> Result<(), ModelError> {
        match act {
            Act::Go => Ok(()),
            Act::Fail => Err(ModelError::Other(format!("told to fail at {point:?}"))),
            Act::Panic => panic!("told to panic at {point:?}"),
            Act::Wait => {
                self.wait(point);
                Ok(())
            }
        }
    }

    #[allow(clippy::panic, reason = "a test that forgets a gate must not hang")]
    fn wait(&self, point: Point) {
        let state = self.lock();
        let may_not_go = |state: &mut State| {
            state
                .gates
                .get(&point)
                .is_some_and(|gate| !gate.open && gate.released == 0)
        };
        let (mut state, waited) = self
            .released
            .wait_timeout_while(state, FORGOTTEN, may_not_go)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            drop(state);
            panic!("nobody released {point:?} within {FORGOTTEN:?}");
        }
        if let Some(gate) = state.gates.get_mut(&point) {
            gate.released = gate.released.saturating_sub(1);
        }
    }
}

impl Steering {
    /// Controls for models that do what a model should, until told otherwise.
    pub fn new() -> Self {
        let points = [Point::Load, Point::Step, Point::Free];
        let controls = Arc::new(Controls {
            state: Mutex::new(State {
                gates: points.map(|point| (point, Gate::default())).into(),
                on_text: HashMap::new(),
                steps: Vec::new(),
                threads: Vec::new(),
            }),
            released: Condvar::new(),
            visits: points.map(|point| (point, watch::Sender::new(0))).into(),
        });
        Self {
            _opener: Arc::new(Opener(Arc::clone(&controls))),
            controls,
        }
    }

    fn with_gate(&self, point: Point, change: impl FnOnce(&mut Gate)) {
        if let Some(gate) = self.controls.lock().gates.get_mut(&point) {
            change(gate);
        }
        self.controls.released.notify_all();
    }

    /// What the next visits to a point do, one after another.
    pub fn script(&self, point: Point, acts: impl IntoIterator<Item = Act>) {
        self.with_gate(point, |gate| gate.script.extend(acts));
    }

    /// What every visit to a point does that no script covers.
    pub fn always(&self, point: Point, act: Act) {
        self.with_gate(point, |gate| gate.always = Some(act));
    }

    /// Lets `visits` waiting visits go on, those that wait now or will.
    pub fn release(&self, point: Point, visits: usize) {
        self.with_gate(point, |gate| gate.released += visits);
    }

    /// Lets every visit go on, now and from now on.
    pub fn open(&self, point: Point) {
        self.with_gate(point, |gate| gate.open = true);
    }

    /// What a step does that has this text in it.
    pub fn on_text(&self, text: impl Into<String>, act: Act) {
        self.controls.lock().on_text.insert(text.into(), act);
    }

    /// How often a point was visited.
    pub fn visits(&self, point: Point) -> usize {
        self.controls
            .visits
            .get(&point)
            .map_or(0, |visits| *visits.borrow())
    }

    /// Waits until a point has been visited this often in all.
    pub async fn visited(&self, point: Point, visits: usize) {
        if let Some(count) = self.controls.visits.get(&point) {
            // The sender lives in `self`, so the wait ends only when the count is reached.
            drop(count.subscribe().wait_for(|&count| count >= visits).await);
        }
    }

    /// The texts of every step so far, in order.
    pub fn steps(&self) -> Vec<Vec<String>> {
        self.controls.lock().steps.clone()
    }

    /// How many threads each step was given.
    pub fn threads(&self) -> Vec<usize> {
        self.controls.lock().threads.clone()
    }

    /// A text embedding model of `est_mb` MiB a worker. Its vectors are those of
    /// [`embedding_of`](Self::embedding_of); one step takes 512 tokens, four bytes each.
    pub fn embedder(&self, name: &str, est_mb: u64) -> ModelSpec<TextEmbedding> {
        let info = ModelInfo::new(name, est_mb);
        let controls = Arc::clone(&self.controls);
        ModelSpec::text_embedding(info.clone(), move || {
            controls.visit(Point::Load)?;
            Ok(SteeredEmbedder {
                info: info.clone(),
                controls: Arc::clone(&controls),
            })
        })
    }

    /// The vector that a steered model gives a text: its length, and a sum over its bytes.
    pub fn embedding_of(text: &str) -> Embedding {
        let sum: u32 = text
            .bytes()
            .enumerate()
            .map(|(index, byte)| (index as u32 % 97 + 1) * u32::from(byte))
            .sum();
        vec![text.len() as f32, sum as f32]
    }

    /// A streaming model of `est_mb` MiB a worker, which recites the words that it is given, one
    /// a step.
    pub fn reciter(&self, name: &str, est_mb: u64) -> ModelSpec<Recital> {
        let info = ModelInfo::new(name, est_mb);
        let controls = Arc::clone(&self.controls);
        ModelSpec::with_caller_side(
            info.clone(),
            (),
            Arc::new(move || {
                controls.visit(Point::Load)?;
                let model: Box<dyn RecitalModel> = Box::new(SteeredReciter {
                    info: info.clone(),
                    controls: Arc::clone(&controls),
                });
                Ok(model)
            }),
        )
    }
}

struct SteeredEmbedder {
    info: ModelInfo,
    controls: Arc<Controls>,
}

impl CandleModel for SteeredEmbedder {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl TextEmbeddingCapable for SteeredEmbedder {
    fn embed_step(
        &mut self,
        inputs: &[&EmbedInput],
        context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        let texts: Vec<String> = inputs.iter().map(|input| input.text.clone()).collect();
        let told = {
            let mut state = self.controls.lock();
            state.steps.push(texts.clone());
            state.threads.push(context.threads);
            let told: Vec<Option<Act>> = texts
                .iter()
                .map(|text| state.on_text.get(text).copied())
                .collect();
            told
        };
        self.controls.visit(Point::Step)?;
        let answers = texts.iter().zip(told).map(|(text, act)| match act {
            // To fail on a text is that text's own failure; to panic or wait is the step's.
            Some(Act::Fail) => Err(ModelError::Other("told to fail on this text".to_owned())),
            Some(act) => self
                .controls
                .perform(Point::Step, act)
                .map(|()| Steering::embedding_of(text)),
            None => Ok(Steering::embedding_of(text)),
        });
        Ok(answers.collect())
    }
}

impl Drop for SteeredEmbedder {
    fn drop(&mut self) {
        freed(&self.controls);
    }
}

struct SteeredReciter {
    info: ModelInfo,
    controls: Arc<Controls>,
}

impl CandleModel for SteeredReciter {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl RecitalModel for SteeredReciter {
    fn before_step(&mut self) -> Result<(), ModelError> {
        self.controls.visit(Point::Step)
    }
}

impl Drop for SteeredReciter {
    fn drop(&mut self) {
        freed(&self.controls);
    }
}

fn freed(controls: &Controls) {
    let act = controls.act_at(Point::Free);
    controls.announce(Point::Free);
    // A second panic while unwinding would end the process.
    if act == Act::Wait || !std::thread::panicking() {
        drop(controls.perform(Point::Free, act));
    }
}
