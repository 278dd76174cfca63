//! FLUX through the pool.

use std::time::Duration;

use modelpool::models::{DiffusionOptions, FluxFolder};
use modelpool::pool::core::PoolError;
use modelpool::{
    ImageChunk, ImageParams, ImageStream, ModelHandle, ModelSpec, Pool, PoolConfig, TextToImage,
};

use super::folders::Pipeline;

fn params(seed: u64) -> ImageParams {
    ImageParams::default().size(40, 24).seed(seed)
}

/// The PNG, and how many steps it took.
async fn picture(mut chunks: ImageStream) -> (Vec<u8>, usize) {
    let mut steps = 0;
    while let Some(chunk) = chunks.next().await {
        match chunk.expect("a chunk") {
            ImageChunk::Step { of, .. } => steps = of,
            ImageChunk::Image(painting) => return (painting.png, steps),
            _ => {}
        }
    }
    panic!("the stream ended without a picture");
}

async fn paint(model: &ModelHandle<TextToImage>, params: ImageParams) -> (Vec<u8>, usize) {
    let prompt = "The quick brown fox";
    let chunks = model.generate_image(prompt, params).await;
    picture(chunks.expect("a request")).await
}

#[tokio::test]
async fn a_seed_gives_one_picture_alone_and_in_company() {
    let pipeline = Pipeline::dev();
    let folder =
        FluxFolder::open(pipeline.path(), &DiffusionOptions::default()).expect("a sound folder");
    let pool = Pool::start(PoolConfig::default()).await.expect("a pool");
    let model = pool
        .register(ModelSpec::<TextToImage>::flux(&folder))
        .expect("a model");
    let (alone, steps) = paint(&model, params(3)).await;
    assert_eq!(steps, 28);
    let (again, other) = tokio::join!(paint(&model, params(3)), paint(&model, params(4)));
    assert_eq!(again.0, alone);
    assert_ne!(other.0, alone);
    let (stronger, _) = paint(&model, params(3).guidance(9.0)).await;
    assert_ne!(stronger, alone);
    let steps = params(3).steps(5);
    assert_eq!(paint(&model, steps).await.1, 5);
    pool.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_the_model_cannot_do_is_refused_at_once() {
    let pipeline = Pipeline::schnell();
    let pool = Pool::start(PoolConfig::default()).await.expect("a pool");
    let spec = ModelSpec::<TextToImage>::folder(pipeline.path()).expect("a sound folder");
    let model = pool.register(spec).expect("a model");
    // A token is eight pixels wide here.
    for (params, wanted) in [
        (params(1).size(44, 24), "width"),
        (params(1).size(40, 20), "height"),
        (params(1).steps(0), "steps"),
    ] {
        let refused = model.generate_image("a fox", params).await;
        assert!(
            matches!(&refused, Err(PoolError::InvalidRequest { field, .. }) if *field == wanted),
            "{wanted}: {refused:?}"
        );
    }
    pool.shutdown(Duration::from_secs(5)).await;
}
