//! Painting: the capability as a service sees it, by a model that daubs.

#[path = "painting/company.rs"]
mod company;
#[path = "painting/endings.rs"]
mod endings;
#[path = "painting/pictures.rs"]
mod pictures;
#[path = "painting/refusals.rs"]
mod refusals;
#[allow(dead_code, reason = "the pool's own tests use the rest")]
#[path = "pool/universe.rs"]
mod universe;

use modelpool::testing::{Dauber, Steering};
use modelpool::{
    DiffusionDescription, ImageChunk, ImageParams, ImageStream, ModelHandle, Painting, PoolError,
    TextToImage,
};
use universe::{Universe, config, within};

fn description() -> DiffusionDescription {
    Dauber::description().unwrap()
}

/// One worker of the daubing model, in a universe of its own.
async fn one_worker(
    steering: &Steering,
    description: DiffusionDescription,
) -> (Universe, ModelHandle<TextToImage>) {
    let mut settings = config();
    settings.restart.initial_backoff = std::time::Duration::from_millis(1);
    let universe = Universe::new(settings).await;
    let spec = steering.dauber("dauber", 100, description).max_workers(1);
    let dauber = universe.register(spec).unwrap();
    (universe, dauber)
}

fn seeded(seed: u64) -> ImageParams {
    ImageParams::default().seed(seed)
}

async fn begin(
    dauber: &ModelHandle<TextToImage>,
    prompt: &str,
    params: ImageParams,
) -> ImageStream {
    within(dauber.generate_image(prompt, params)).await.unwrap()
}

async fn pictures(
    dauber: &ModelHandle<TextToImage>,
    prompt: &str,
    params: ImageParams,
) -> Vec<Painting> {
    let stream = begin(dauber, prompt, params).await;
    within(stream.collect()).await.unwrap()
}

/// The one picture that is asked for, as a PNG file.
async fn png(dauber: &ModelHandle<TextToImage>, prompt: &str, params: ImageParams) -> Vec<u8> {
    let mut pictures = pictures(dauber, prompt, params).await;
    assert_eq!(pictures.len(), 1);
    pictures.remove(0).png
}

/// Reads until a step is told that ends with this many made.
async fn step(stream: &mut ImageStream, wanted: usize) {
    loop {
        match within(stream.next()).await.unwrap().unwrap() {
            ImageChunk::Step { step, .. } if step >= wanted => return,
            ImageChunk::Image(_) => panic!("a picture, before step {wanted} was told"),
            _ => {}
        }
    }
}

/// Waits until so many requests lie in the queue: what was sent has come there.
async fn queued(universe: &Universe, wanted: usize) {
    let lies_there = || {
        let queue = universe.status().models[0].queue;
        queue.interactive + queue.batch == wanted
    };
    within(async {
        while !lies_there() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn field(error: &PoolError) -> &'static str {
    match error {
        PoolError::InvalidRequest { field, .. } => field,
        other => panic!("{other}"),
    }
}

/// The calls to predict so far, without what else the model did.
fn predictions(steering: &Steering) -> Vec<Vec<String>> {
    let is_prediction = |texts: &Vec<String>| {
        let text = texts[0].as_str();
        !text.starts_with("prompt: ") && !["picture", "decode", "finished"].contains(&text)
    };
    steering.steps().into_iter().filter(is_prediction).collect()
}
