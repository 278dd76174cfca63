//! A real model through the pool: SmolLM2-135M-Instruct, from its GGUF file.

use modelpool::models::{CacheFormat, DecoderOptions};
use modelpool::{GenerationParams, ModelHandle, ModelSpec, TextToText};

use crate::real_models;
use crate::universe::{Universe, config, within};

async fn smollm2() -> (Universe, ModelHandle<TextToText>) {
    let mut settings = config();
    settings.probe = std::sync::Arc::new(modelpool::pool::core::FixedProbe { total_mb: 4000 });
    let universe = Universe::new(settings).await;
    let options = DecoderOptions::default()
        .context_tokens(512)
        .cache_tokens(4096)
        .cache_format(CacheFormat::F16);
    let spec = ModelSpec::<TextToText>::gguf(real_models::smollm2(), options).unwrap();
    let model = universe.register(spec.max_workers(1)).unwrap();
    (universe, model)
}

fn up_to(max_tokens: usize) -> GenerationParams {
    GenerationParams::default().max_tokens(max_tokens)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_knows_the_capital_of_france() {
    let (universe, model) = smollm2().await;
    let prompt =
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n";
    let stream = within(model.prompt(prompt, up_to(32))).await.unwrap();
    let generation = within(stream.collect()).await.unwrap();
    assert!(
        generation.answers[0].text.contains("Paris"),
        "{generation:?}"
    );
    universe.close().await;
}
