//! EfficientNet-Lite0's real weights give what onnxruntime gives (`scripts/reference/efficientnet.py`).

use std::time::Duration;

use modelpool::images::ImageSource;
use modelpool::{ImageEmbedding, ModelSpec, Pool, PoolConfig};
use safetensors::SafeTensors;

use crate::real_models::{efficientnet_lite0, imagenet_names, photos};

/// The photos, and what class onnxruntime finds likeliest: a tiger cat, an espresso, …
const PHOTOS: [(&str, usize); 6] = [
    ("chelsea.png", 282),
    ("coffee.png", 967),
    ("astronaut.png", 560),
    ("rocket.jpg", 657),
    ("page.png", 458),
    ("motorcycle_left.png", 665),
];

/// The largest difference of a probability.
fn tolerance(name: &str) -> f32 {
    // JPEG decoders differ by a step or two of 255.
    if name.ends_with(".jpg") { 5e-3 } else { 1e-4 }
}

fn reference() -> Vec<u8> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/efficientnet/reference.safetensors"
    );
    std::fs::read(path).expect("the reference values")
}

fn floats(file: &[u8], name: &str) -> Vec<f32> {
    let tensors = SafeTensors::deserialize(file).expect("safetensors");
    let tensor = tensors.tensor(name).expect("a reference tensor");
    let (words, _) = tensor.data().as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

pub fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}

fn photo(name: &str) -> ImageSource {
    ImageSource::path(photos().join(name))
}

fn names() -> Vec<String> {
    let file = std::fs::read(imagenet_names()).expect("the names");
    let value: serde_json::Value = serde_json::from_slice(&file).expect("JSON");
    let name = |name: &serde_json::Value| name.as_str().expect("a name").to_owned();
    match &value {
        serde_json::Value::Array(names) => names.iter().map(name).collect(),
        serde_json::Value::Object(names) => (0..1000)
            .map(|index| name(&names[&index.to_string()]))
            .collect(),
        _ => panic!("neither a list nor a table"),
    }
}

fn lite0() -> ModelSpec<ImageEmbedding> {
    ModelSpec::efficientnet_lite0(efficientnet_lite0()).expect("the real weights")
}

#[tokio::test]
async fn photos_are_what_onnxruntime_says() {
    let pool = Pool::start(PoolConfig::default()).await.unwrap();
    let names = names();
    assert_eq!(names[967], "espresso");
    let model = pool.register(lite0().class_names(names.clone())).unwrap();
    let file = reference();
    for (name, class) in PHOTOS {
        let vector = model.embed_image(photo(name)).await.unwrap();
        let length = vector.iter().map(|value| value * value).sum::<f32>();
        assert!((length - 1.0).abs() < 1e-5, "{name} has length {length}");
        let wanted = floats(&file, &format!("{name}.features"));
        let alike = cosine(&vector, &wanted);
        assert!(alike >= 0.9999, "{name}: cosine {alike}");

        let classes = model.classify_image(photo(name), 1000).await.unwrap();
        assert_eq!(classes[0].index, class, "{name}");
        assert_eq!(classes[0].name.as_ref(), Some(&names[class]), "{name}");
        assert!(classes.is_sorted_by(|a, b| a.probability >= b.probability));
        let wanted = floats(&file, &format!("{name}.probabilities"));
        for class in &classes {
            let difference = (class.probability - wanted[class.index]).abs();
            assert!(
                difference <= tolerance(name),
                "{name}, {class:?}: {difference}"
            );
        }
    }
    pool.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_batch_gives_what_single_pictures_give() {
    let pool = Pool::start(PoolConfig::default()).await.unwrap();
    let model = pool.register(lite0()).unwrap();
    let batch = model
        .embed_image_batch(PHOTOS.map(|(name, _)| photo(name)))
        .await
        .unwrap();
    assert_eq!(batch.len(), PHOTOS.len());
    for ((name, _), vector) in PHOTOS.iter().zip(batch) {
        let alone = model.embed_image(photo(name)).await.unwrap();
        // However many threads there were, each value is the sum of the same terms in the same order.
        assert_eq!(alone, vector, "{name}");
    }
    pool.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn workers_share_their_weights_in_the_ledger() {
    let pool = Pool::start(PoolConfig::default()).await.unwrap();
    let model = pool.register(lite0()).unwrap();
    pool.warm(&model).await.unwrap();
    let status = pool.status();
    let weights = modelpool::models::EfficientNetWeights::BYTES;
    let worker = modelpool::models::EfficientNet::WORKER_BYTES.next_multiple_of(1 << 20);
    let workers = status.models[0].workers.len() as u64;
    assert_eq!(workers, 2);
    assert_eq!(
        status.memory.reserved_mb,
        (weights + workers * worker) >> 20
    );
    pool.probe(&model).await.unwrap();
    pool.shutdown(Duration::from_secs(5)).await;
}
