//! A picture from a text.
//!
//! ```text
//! cargo run --release --example paint -- --model stabilityai/sd-turbo --prompt "a lighthouse at dusk" --seed 7
//! cargo run --release --example paint -- --model FOLDER --prompt "the same in snow" \
//!     --init painting.png --strength 0.6 --images 4 --preview 5
//! ```
//!
//! Ctrl-C stops it: the worker is free before its next step.

mod arguments;
mod screen;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use modelpool::sources::HubModel;
use modelpool::{
    ImageChunk, ImageStream, ModelError, ModelSpec, Painting, Pool, PoolConfig, RequestOptions,
    TextToImage,
};

use arguments::Arguments;
use screen::{Screen, short};

/// Large models on slow machines take long.
const DEADLINE: Duration = Duration::from_secs(4 * 3600);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause = error.source();
            eprint!("error: {error}");
            while let Some(deeper) = cause {
                eprint!(": {deeper}");
                cause = deeper.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let Some(arguments) = Arguments::read()? else {
        println!("{}", arguments::USAGE);
        return Ok(());
    };
    let mut screen = Screen::new();
    let pool = Pool::start(PoolConfig::default()).await?;
    let spec = brought(&arguments.model, &screen).await?;
    let painter = pool.register(spec.max_workers(1))?;
    screen.line(&format!("loading {} …", painter.info().name));
    pool.warm(&painter).await?;
    let memory = pool.status().memory;
    let (reserved, limit) = (memory.reserved_mb, memory.limit_mb);
    screen.line(&format!("{reserved} of {limit} MiB reserved"));
    let patient = painter.with(RequestOptions::default().deadline(DEADLINE));
    let images = arguments.params.images;
    let chunks = patient
        .generate_image(arguments.prompt, arguments.params)
        .await?;
    tokio::select! {
        painted = show(chunks, &mut screen, &arguments.out, images) => painted?,
        _ = tokio::signal::ctrl_c() => screen.line("stopped"),
    }
    pool.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// A pipeline in a folder of this machine, or else in a repository of the hub.
async fn brought(name: &str, screen: &Screen) -> Result<ModelSpec<TextToImage>, ModelError> {
    let path = Path::new(name);
    if path.is_dir() {
        return ModelSpec::<TextToImage>::folder(path);
    }
    let shown = screen.clone();
    let model = HubModel::new(name).progress(move |event| shown.download(&event));
    ModelSpec::<TextToImage>::hub(model).await
}

/// Draws the progress, and writes the pictures.
async fn show(
    mut chunks: ImageStream,
    screen: &mut Screen,
    out: &Path,
    images: usize,
) -> Result<(), Box<dyn Error>> {
    while let Some(chunk) = chunks.next().await {
        match chunk? {
            ImageChunk::Step {
                image,
                step,
                of,
                preview,
            } => {
                screen.step(image, step, of);
                if let Some(preview) = preview {
                    let name = numbered(out, &format!("{}-step{step}", image + 1));
                    std::fs::write(name, preview.to_png()?)?;
                }
            }
            ImageChunk::Image(painting) => {
                screen.finish(painting.image);
                let name = match images {
                    1 => out.to_owned(),
                    _ => numbered(out, &(painting.image + 1).to_string()),
                };
                std::fs::write(&name, &painting.png)?;
                screen.line(&account(&painting, &name));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The file's name with something before its ending.
fn numbered(out: &Path, number: &str) -> PathBuf {
    let stem = out.file_stem().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!("{stem}-{number}.png"))
}

fn account(painting: &Painting, name: &Path) -> String {
    let timings = painting.timings;
    let (width, height) = (painting.picture.width(), painting.picture.height());
    format!(
        "{}  {width}x{height}, seed {}: prompt {}, steps {}, picture {}",
        name.display(),
        painting.seed,
        short(timings.encoded.saturating_sub(timings.queued)),
        short(timings.denoised.saturating_sub(timings.begun)),
        short(timings.total.saturating_sub(timings.denoised)),
    )
}
