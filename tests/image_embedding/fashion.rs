//! The vectors are good for something: clothes are told from each other by their nearest neighbours.

use std::time::Duration;

use modelpool::images::ImageSource;
use modelpool::{ModelSpec, Pool, PoolConfig};

use crate::clothes::{TRAINING, pictures, told};
use crate::real_models::efficientnet_lite0;

#[tokio::test]
async fn five_neighbours_tell_clothes_apart() {
    let pool = Pool::start(PoolConfig::default()).await.unwrap();
    let spec = ModelSpec::efficientnet_lite0(efficientnet_lite0()).unwrap();
    let model = pool.register(spec).unwrap();
    let (pictures, labels) = pictures();
    let sources = pictures.into_iter().map(ImageSource::pixels);
    let vectors = model.embed_image_batch(sources).await.unwrap();
    let (known, asked) = vectors.split_at(TRAINING);
    let right = asked
        .iter()
        .zip(&labels[TRAINING..])
        .filter(|(vector, label)| told(known, &labels, vector) == **label)
        .count();
    let share = right as f64 / asked.len() as f64;
    println!("{share:.3} of {} are told right", asked.len());
    assert!(share >= 0.79, "{share} are told right");
    pool.shutdown(Duration::from_secs(5)).await;
}
