//! Vision-language models: each stage beside transformers, and the capability as a service sees it.

#[path = "vision_language/answers.rs"]
mod answers;
#[path = "vision_language/blip.rs"]
mod blip;
#[path = "vision_language/parity.rs"]
mod parity;
#[path = "vision_language/reference.rs"]
mod reference;
#[path = "vision_language/refusals.rs"]
mod refusals;
#[path = "vision_language/scrap.rs"]
mod scrap;
#[allow(dead_code, reason = "the pool's own tests use the rest")]
#[path = "pool/universe.rs"]
mod universe;

use modelpool::images::{ImageSource, RgbImage};
use modelpool::pool::capabilities::vision::Description;
use modelpool::{Generation, GenerationParams, ModelHandle, ModelSpec, Vision};
use universe::{Universe, config, within};

/// One worker of a family's small model, in a universe of its own.
async fn one_worker(family: &str) -> (Universe, ModelHandle<Vision>) {
    let universe = Universe::new(config()).await;
    let spec =
        ModelSpec::<Vision>::folder(reference::data(family), reference::options(family)).unwrap();
    let model = universe.register(spec.max_workers(1)).unwrap();
    (universe, model)
}

/// The likeliest tokens, as many as the reference has.
fn params() -> GenerationParams {
    GenerationParams::default().max_tokens(10)
}

/// A whole answer.
async fn ask(
    model: &ModelHandle<Vision>,
    picture: &RgbImage,
    query: &str,
    params: GenerationParams,
) -> Generation {
    let source = ImageSource::pixels(picture.clone());
    let stream = within(model.describe_image(source, query, params)).await;
    match within(stream.unwrap().collect()).await.unwrap() {
        Description::Answers(generation) => generation,
        other => panic!("no answer: {other:?}"),
    }
}

/// The ids of the first answer's tokens.
fn ids(generation: &Generation) -> Vec<u32> {
    let tokens = &generation.answers[0].tokens;
    tokens.iter().map(|token| token.id).collect()
}
