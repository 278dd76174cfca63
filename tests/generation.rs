//! Text generation: the scheduler, and the capability as a service sees it.

#[path = "generation/answers.rs"]
mod answers;
#[path = "generation/crowd.rs"]
mod crowd;
#[path = "generation/endings.rs"]
mod endings;
#[path = "support/real_models.rs"]
mod real_models;
#[path = "generation/refusals.rs"]
mod refusals;
#[path = "generation/scheduling.rs"]
mod scheduling;
#[path = "generation/smollm2.rs"]
mod smollm2;
#[path = "generation/sources.rs"]
mod sources;
#[allow(dead_code, reason = "the pool's own tests use the rest")]
#[path = "pool/universe.rs"]
mod universe;

use modelpool::testing::{Babbler, Steering};
use modelpool::{DecoderLimits, GenerationParams, ModelHandle, TextToText};
use universe::{Universe, config, within};

/// One worker of the babbling model, in a universe of its own.
async fn one_worker(
    steering: &Steering,
    limits: DecoderLimits,
) -> (Universe, ModelHandle<TextToText>) {
    let universe = Universe::new(config()).await;
    let spec = steering.babbler("babbler", 100, limits).max_workers(1);
    let babbler = universe.register(spec).unwrap();
    (universe, babbler)
}

fn tokens_of(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

/// What the model says to a prompt when it is alone and always takes the likeliest token.
fn alone(prompt: &str, max_tokens: usize) -> String {
    let said = Babbler::continuation(&tokens_of(prompt), max_tokens);
    said.iter()
        .map(|&token| char::from(u8::try_from(token).unwrap()))
        .collect()
}

fn up_to(max_tokens: usize) -> GenerationParams {
    GenerationParams::default().max_tokens(max_tokens)
}

/// Waits until the cache of the only worker of the only model has no block in use.
async fn blocks_come_back(universe: &Universe) {
    let all_free = || {
        let cache = universe.status().models[0].workers[0].cache;
        cache.is_some_and(|cache| cache.used == 0)
    };
    until(all_free).await;
}

async fn until(holds: impl Fn() -> bool) {
    within(async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
