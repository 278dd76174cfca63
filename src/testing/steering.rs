//! The steerable model and its controls.

mod act;
mod babbler;
mod controls;
mod dauber;
mod embedder;
mod onlooker;
mod reciter;

use std::fmt;
use std::sync::Arc;

pub use act::{Act, Point};

use super::Babbler;
use super::recital::{Recital, RecitalModel};
use crate::model::{ModelInfo, ModelSpec};
use crate::pool::capabilities::text_embedding::{Embedding, TextEmbedding};
use crate::pool::capabilities::text_to_image::{DiffusionDescription, TextToImage};
use crate::pool::capabilities::text_to_text::{DecoderLimits, TextToText};
use crate::pool::capabilities::vision::{TextLine, Vision};
use babbler::SteeredBabbler;
use controls::{Controls, Opener};
use dauber::SteeredDauber;
use embedder::SteeredEmbedder;
use onlooker::SteeredOnlooker;
use reciter::SteeredReciter;

/// Steers the models that it makes. Clones steer the same ones. When the last clone outside the
/// pool is dropped, everything that still waits or hangs goes on.
#[derive(Clone)]
pub struct Steering {
    controls: Arc<Controls>,
    _opener: Arc<Opener>,
}

impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steering")
            .field("loads", &self.visits(Point::Load))
            .field("steps", &self.visits(Point::Step))
            .field("items", &self.visits(Point::Emit))
            .field("frees", &self.visits(Point::Free))
            .finish()
    }
}

impl Default for Steering {
    fn default() -> Self {
        Self::new()
    }
}

impl Steering {
    /// Controls for models that do what a model should, until told otherwise.
    pub fn new() -> Self {
        Self::with(Controls::new(true))
    }

    /// The same, but [`steps`](Self::steps) and [`threads`](Self::threads) stay empty: for runs of
    /// a million requests.
    pub fn unrecorded() -> Self {
        Self::with(Controls::new(false))
    }

    fn with(controls: Controls) -> Self {
        let controls = Arc::new(controls);
        Self {
            _opener: Arc::new(Opener(Arc::clone(&controls))),
            controls,
        }
    }

    /// What the next visits to a point do, one after another.
    pub fn script(&self, point: Point, acts: impl IntoIterator<Item = Act>) {
        self.controls
            .with_gate(point, |gate| gate.script.extend(acts));
    }

    /// What every visit to a point does that no script covers.
    pub fn always(&self, point: Point, act: Act) {
        self.controls
            .with_gate(point, |gate| gate.always = Some(act));
    }

    /// Lets `visits` waiting visits go on, those that wait now or will.
    pub fn release(&self, point: Point, visits: usize) {
        self.controls
            .with_gate(point, |gate| gate.released += visits);
    }

    /// Lets every visit go on, now and from now on.
    pub fn open(&self, point: Point) {
        self.controls.with_gate(point, |gate| gate.open = true);
    }

    /// What a step does that has this text in it, or a recital before it says this word. Such an
    /// act waits at [`Point::Step`].
    pub fn on_text(&self, text: impl Into<String>, act: Act) {
        self.controls.lock().on_text.insert(text.into(), act);
    }

    /// How often a point was visited.
    pub fn visits(&self, point: Point) -> usize {
        self.controls.visits(point)
    }

    /// Waits until a point has been visited this often in all.
    pub async fn visited(&self, point: Point, visits: usize) {
        self.controls.visited(point, visits).await;
    }

    /// The texts of every step so far, in order.
    pub fn steps(&self) -> Vec<Vec<String>> {
        self.controls.lock().steps.clone().unwrap_or_default()
    }

    /// How many threads each step was given.
    pub fn threads(&self) -> Vec<usize> {
        self.controls.lock().threads.clone()
    }

    /// How many bytes have been [leaked](Act::Leak).
    pub fn leaked_bytes(&self) -> usize {
        self.controls.leaked_bytes()
    }

    /// A text embedding model of `est_mb` MiB a worker. Its vectors are those of
    /// [`embedding_of`](Self::embedding_of); one step takes 512 tokens, four bytes each.
    pub fn embedder(&self, name: &str, est_mb: u64) -> ModelSpec<TextEmbedding> {
        let info = ModelInfo::new(name, est_mb);
        let controls = Arc::clone(&self.controls);
        ModelSpec::text_embedding(info.clone(), move || {
            SteeredEmbedder::load(&info, &controls)
        })
    }

    /// The vector that a steered model gives a text: its length, and a sum over its bytes.
    pub fn embedding_of(text: &str) -> Embedding {
        embedder::embedding_of(text)
    }

    /// A text generation model of `est_mb` MiB a worker: a [`Babbler`] with these limits and
    /// [its language](Babbler::language). A step's texts are what it runs, those of each sequence.
    pub fn babbler(&self, name: &str, est_mb: u64, limits: DecoderLimits) -> ModelSpec<TextToText> {
        let info = ModelInfo::new(name, est_mb);
        let controls = Arc::clone(&self.controls);
        ModelSpec::text_to_text(info.clone(), move || {
            SteeredBabbler::load(&info, limits, &controls)
        })
        .language(Babbler::language)
    }

    /// A vision model of `est_mb` MiB a worker, which reads in every picture the words of the query, one a
    /// step, as [`line_of`](Self::line_of) has it. A step's text is its word.
    pub fn onlooker(&self, name: &str, est_mb: u64) -> ModelSpec<Vision> {
        let info = ModelInfo::new(name, est_mb);
        let controls = Arc::clone(&self.controls);
        ModelSpec::vision(info.clone(), move || {
            SteeredOnlooker::load(&info, &controls)
        })
    }

    /// The line that a steered model reads for the query's word number `position`, in a picture of this
    /// width and height. The query `refuse` it does not take at all.
    pub fn line_of(word: &str, position: usize, size: [u32; 2]) -> TextLine {
        onlooker::line_of(word, position, size)
    }

    /// A model of `est_mb` MiB a worker that paints: a [`Dauber`](super::Dauber) with this
    /// description. A step is a call of the model to predict, an item is a picture that it decodes; a text
    /// that is to fail makes the prediction for this prompt NaN. Its texts are `prompt: …`, `picture`
    /// and `decode` for what is encoded and decoded, the prompts of a prediction, and `finished`.
    pub fn dauber(
        &self,
        name: &str,
        est_mb: u64,
        description: DiffusionDescription,
    ) -> ModelSpec<TextToImage> {
        let info = ModelInfo::new(name, est_mb);
        let controls = Arc::clone(&self.controls);
        ModelSpec::text_to_image(info.clone(), description.clone(), move || {
            SteeredDauber::load(&info, &description, &controls)
        })
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
                let model: Box<dyn RecitalModel> =
                    Box::new(SteeredReciter::load(&info, &controls)?);
                Ok(model)
            }),
        )
    }
}
