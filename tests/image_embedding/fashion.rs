//! The vectors are good for something: clothes are told from each other by their nearest neighbours.

use std::time::Duration;

use modelpool::images::{ImageLimits, ImageSource, RgbImage};
use modelpool::{ModelSpec, Pool, PoolConfig};

use crate::real_models::efficientnet_lite0;

const SIDE: usize = 28;
const COLUMNS: usize = 40;
/// The others are for testing.
const TRAINING: usize = 800;
const NEIGHBOURS: usize = 5;

fn data(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.join("tests/data/fashion").join(name)
}

/// The pictures of the sheet.
fn pictures() -> Vec<RgbImage> {
    let sheet = ImageSource::path(data("pictures.png"));
    let sheet = sheet.load(&ImageLimits::default()).unwrap();
    let stride = sheet.width() as usize * 3;
    let cut = |number: usize| {
        let (top, left) = (number / COLUMNS * SIDE, number % COLUMNS * SIDE);
        let rows = (top..top + SIDE).flat_map(|row| {
            let start = row * stride + left * 3;
            sheet.pixels()[start..start + SIDE * 3].to_vec()
        });
        RgbImage::new(SIDE as u32, SIDE as u32, rows.collect()).unwrap()
    };
    let count = std::fs::read(data("labels.bin")).unwrap().len();
    (0..count).map(cut).collect()
}

#[tokio::test]
async fn five_neighbours_tell_clothes_apart() {
    let pool = Pool::start(PoolConfig::default()).await.unwrap();
    let spec = ModelSpec::efficientnet_lite0(efficientnet_lite0()).unwrap();
    let model = pool.register(spec).unwrap();
    let labels = std::fs::read(data("labels.bin")).unwrap();
    let sources = pictures().into_iter().map(ImageSource::pixels);
    let vectors = model.embed_image_batch(sources).await.unwrap();
    let (known, asked) = vectors.split_at(TRAINING);
    let mut right = 0;
    for (vector, label) in asked.iter().zip(&labels[TRAINING..]) {
        let mut near: Vec<(f32, u8)> = known
            .iter()
            .zip(&labels)
            .map(|(other, label)| (vector.iter().zip(other).map(|(a, b)| a * b).sum(), *label))
            .collect();
        near.sort_by(|left, right| right.0.total_cmp(&left.0));
        let votes = |class: u8| {
            near[..NEIGHBOURS]
                .iter()
                .filter(|near| near.1 == class)
                .count()
        };
        let winner = (0..10).max_by_key(|class| votes(*class));
        right += usize::from(winner == Some(*label));
    }
    let share = right as f64 / asked.len() as f64;
    println!("{share:.3} of {} are told right", asked.len());
    assert!(share >= 0.79, "{share} are told right");
    pool.shutdown(Duration::from_secs(5)).await;
}
