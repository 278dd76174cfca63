//! The demonstration: what the small painter paints is recognised by its nearest neighbours among real
//! pictures, in the eyes of a classifier that has never seen a painted one. Both run in one pool.

#[path = "support/clothes.rs"]
mod clothes;
#[path = "support/real_models.rs"]
mod real_models;

use std::path::{Path, PathBuf};
use std::time::Duration;

use modelpool::images::{ImageSource, RgbImage};
use modelpool::{ImageChunk, ImageParams, ModelHandle, ModelSpec, Pool, PoolConfig, TextToImage};

use clothes::{TRAINING, cut, pictures, told};
use real_models::efficientnet_lite0;

const THINGS: [&str; 10] = [
    "a t-shirt",
    "trousers",
    "a pullover",
    "a dress",
    "a coat",
    "a sandal",
    "a shirt",
    "a sneaker",
    "a bag",
    "an ankle boot",
];
const EACH: usize = 10;

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Pictures of a thing, without their margin.
async fn paint(painter: &ModelHandle<TextToImage>, thing: usize) -> Vec<RgbImage> {
    let seed = 1000 * thing as u64;
    let params = ImageParams::default()
        .steps(20)
        .guidance(3.0)
        .images(EACH)
        .seed(seed);
    let mut chunks = painter.generate_image(THINGS[thing], params).await.unwrap();
    let mut made = Vec::new();
    while let Some(chunk) = chunks.next().await {
        if let ImageChunk::Image(painting) = chunk.unwrap() {
            let size = (painting.picture.width(), painting.picture.height());
            assert_eq!(size, (32, 32));
            made.push(cut(&painting.picture, 2, 2));
        }
    }
    assert_eq!(made.len(), EACH);
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn painted_clothes_are_recognised() {
    let pool = Pool::start(PoolConfig::default()).await.unwrap();
    let painter = ModelSpec::<TextToImage>::folder(root("assets/painter")).unwrap();
    let painter = pool.register(painter).unwrap();
    let classifier = ModelSpec::efficientnet_lite0(efficientnet_lite0()).unwrap();
    let classifier = pool.register(classifier).unwrap();

    let (pictures, labels) = pictures();
    let sources = pictures.into_iter().take(TRAINING).map(ImageSource::pixels);
    let known = classifier.embed_image_batch(sources).await.unwrap();
    let mut right = 0;
    for (thing, name) in THINGS.iter().enumerate() {
        let painted = paint(&painter, thing).await;
        let sources = painted.into_iter().map(ImageSource::pixels);
        let vectors = classifier.embed_image_batch(sources).await.unwrap();
        let told = vectors.iter().map(|vector| told(&known, &labels, vector));
        let of_thing = told.filter(|told| usize::from(*told) == thing).count();
        println!("{name}: {of_thing} of {EACH}");
        right += of_thing;
    }
    let share = right as f64 / (THINGS.len() * EACH) as f64;
    println!("{share:.2} of the painted are recognised");
    assert!(share >= 0.75, "{share} of the painted are recognised");
    pool.shutdown(Duration::from_secs(5)).await;
}
