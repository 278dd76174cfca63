//! Vision: the capability as a service sees it.

#[path = "vision/crowd.rs"]
mod crowd;
#[path = "vision/endings.rs"]
mod endings;
#[path = "vision/refusals.rs"]
mod refusals;
#[path = "vision/streams.rs"]
mod streams;
#[allow(dead_code, reason = "the pool's own tests use the rest")]
#[path = "pool/universe.rs"]
mod universe;

use modelpool::images::{ImageSource, RgbImage};
use modelpool::testing::Steering;
use modelpool::{GenerationParams, ModelHandle, TextLine, Vision, VisionStream};
use universe::{Universe, config, within};

/// The size of the picture that all look at.
const SIZE: [u32; 2] = [6, 4];

/// One worker of the steered model, in a universe of its own.
async fn one_worker(steering: &Steering) -> (Universe, ModelHandle<Vision>) {
    let universe = Universe::new(config()).await;
    let spec = steering.onlooker("onlooker", 100).max_workers(1);
    let onlooker = universe.register(spec).unwrap();
    (universe, onlooker)
}

fn picture() -> ImageSource {
    let [width, height] = SIZE;
    let bytes = (width * height * 3) as usize;
    ImageSource::pixels(RgbImage::new(width, height, vec![200; bytes]).unwrap())
}

async fn look(onlooker: &ModelHandle<Vision>, words: &str) -> VisionStream {
    let params = GenerationParams::default();
    within(onlooker.describe_image(picture(), words, params))
        .await
        .unwrap()
}

/// What the model reads of these words.
fn lines_of(words: &str) -> Vec<TextLine> {
    words
        .split_whitespace()
        .enumerate()
        .map(|(position, word)| Steering::line_of(word, position, SIZE))
        .collect()
}

async fn until(holds: impl Fn() -> bool) {
    within(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
