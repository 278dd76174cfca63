//! Optical character recognition: the real PP-OCR models beside RapidOCR, and what is hostile.

#[path = "ocr/files.rs"]
mod files;
#[path = "ocr/geometry.rs"]
mod geometry;
#[path = "ocr/parity.rs"]
mod parity;
#[path = "support/real_models.rs"]
mod real_models;
#[path = "ocr/serving.rs"]
mod serving;
#[allow(dead_code, reason = "the pool's own tests use the rest")]
#[path = "pool/universe.rs"]
mod universe;

use std::path::PathBuf;

use modelpool::images::{ImageLimits, ImageSource, RgbImage};
use modelpool::{GenerationParams, ModelHandle, ModelSpec, PoolError, TextLine, Vision};
use universe::{Universe, config, within};

/// A pool that reads, with `threads` for a step.
async fn reader(threads: usize) -> (Universe, ModelHandle<Vision>) {
    let mut settings = config();
    settings.compute_threads = threads;
    let universe = Universe::new(settings).await;
    let spec = ModelSpec::ocr_folder(real_models::tiny_ocr()).unwrap();
    let reader = universe.register(spec.max_workers(1)).unwrap();
    (universe, reader)
}

fn path(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ocr");
    PathBuf::from(folder).join(name)
}

fn picture(name: &str) -> RgbImage {
    let source = ImageSource::path(path(name));
    source.load(&ImageLimits::default()).unwrap()
}

async fn lines(
    reader: &ModelHandle<Vision>,
    source: ImageSource,
) -> Result<Vec<TextLine>, PoolError> {
    let params = GenerationParams::default();
    let stream = within(reader.describe_image(source, "", params)).await?;
    let description = within(stream.collect()).await?;
    Ok(description.lines().to_vec())
}
