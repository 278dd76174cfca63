//! Finds pictures by a picture, or by words:
//! `cargo run --release --example image_search -- --model <model> <folder of pictures>`.
//!
//! Every picture of the folder becomes a vector. A query becomes one, too, and what is nearest is
//! told, and shown on a contact sheet: a row for each query, the query first.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use console::style;
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use modelpool::images::{ImageLimits, ImagePreprocessor, ImageSource, RgbImage};
use modelpool::sources::HubModel;
use modelpool::{
    Embedding, ImageEmbedding, ModelError, ModelHandle, ModelSpec, Pool, PoolConfig, PoolError,
};

type Failure = Box<dyn Error>;

const USAGE: &str = "\
usage: image_search --model <model> [--picture <file>]… [--words <text>]… [--sheet <file.png>] <folder>

  --model    a folder or hub id of CLIP, SigLIP, DINOv2 or ViT, such as openai/clip-vit-base-patch32,
             or EfficientNet-Lite0's .pth file
  --picture  finds pictures like this one; without any query, like the folder's first
  --words    finds pictures of this: CLIP and SigLIP only
  --sheet    where to draw what was found; contact_sheet.png, if it is not said";

const KINDS: [&str; 8] = ["bmp", "gif", "jpeg", "jpg", "png", "tif", "tiff", "webp"];
/// How many pictures a query finds.
const FOUND: usize = 5;
/// Pixels of a tile's side, and between tiles.
const TILE: usize = 160;
const GAP: usize = 8;

#[derive(Default)]
struct Arguments {
    model: Option<String>,
    folder: Option<PathBuf>,
    pictures: Vec<PathBuf>,
    words: Vec<String>,
    sheet: Option<PathBuf>,
}

impl Arguments {
    fn read(mut given: impl Iterator<Item = String>) -> Option<Self> {
        let mut arguments = Self::default();
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--model" => arguments.model = Some(given.next()?),
                "--picture" => arguments.pictures.push(given.next()?.into()),
                "--words" => arguments.words.push(given.next()?),
                "--sheet" => arguments.sheet = Some(given.next()?.into()),
                other if other.starts_with("--") => return None,
                folder if arguments.folder.is_none() => arguments.folder = Some(folder.into()),
                _ => return None,
            }
        }
        Some(arguments)
    }
}

/// A picture of the folder, with its vector.
struct Indexed {
    path: PathBuf,
    vector: Embedding,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::read(std::env::args().skip(1));
    let Some(arguments) = arguments.filter(|given| given.model.is_some() && given.folder.is_some())
    else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Err(failure) = search(arguments).await {
        eprintln!("failed: {failure}");
        let mut source = failure.source();
        while let Some(cause) = source {
            eprintln!("  because: {cause}");
            source = cause.source();
        }
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn search(arguments: Arguments) -> Result<(), Failure> {
    let pool = Pool::start(PoolConfig::default()).await?;
    let spec = given_model(&arguments.model.unwrap_or_default()).await?;
    let model = pool.register(spec)?;
    let index = index(&model, &arguments.folder.unwrap_or_default()).await?;
    let Some(first) = index.first() else {
        return Err("there are no pictures in this folder".into());
    };

    let mut pictures = arguments.pictures;
    if pictures.is_empty() && arguments.words.is_empty() {
        pictures.push(first.path.clone());
    }
    let mut sheet = ContactSheet::new()?;
    for path in pictures {
        let vector = model.embed_image(ImageSource::path(&path)).await?;
        println!("\n  like {}", style(path.display()).bold());
        tell(&mut sheet, Some(&path), &vector, &index)?;
    }
    for words in arguments.words {
        let vector = model.embed_text(words.as_str()).await?;
        println!("\n  {}", style(format!("“{words}”")).bold());
        tell(&mut sheet, None, &vector, &index)?;
    }
    let path = arguments.sheet.unwrap_or("contact_sheet.png".into());
    std::fs::write(&path, sheet.picture()?.to_png()?)?;
    println!("\n{} drawn to {}", style("✓").green(), path.display());
    Ok(())
}

/// A file or a folder of this machine, or else a repository of the hub.
async fn given_model(name: &str) -> Result<ModelSpec<ImageEmbedding>, ModelError> {
    let path = Path::new(name);
    match path.extension() {
        Some(kind) if kind == "pth" => ModelSpec::efficientnet_lite0(path),
        _ if path.exists() => ModelSpec::<ImageEmbedding>::folder(path),
        _ => ModelSpec::<ImageEmbedding>::hub(HubModel::new(name)).await,
    }
}

/// Embeds the pictures of a folder; those that cannot be read are passed over.
async fn index(
    model: &ModelHandle<ImageEmbedding>,
    folder: &Path,
) -> Result<Vec<Indexed>, Failure> {
    let is_picture = |path: &PathBuf| {
        let kind = path.extension().unwrap_or_default().to_ascii_lowercase();
        KINDS.iter().any(|known| kind == *known)
    };
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.retain(is_picture);
    paths.sort();

    let bar = ProgressBar::new(paths.len() as u64);
    bar.set_style(ProgressStyle::with_template(
        "  {wide_bar:.cyan} {pos} of {len} pictures, {per_sec}",
    )?);
    let started = Instant::now();
    let embed = async |path: PathBuf| {
        let vector = model.embed_image(ImageSource::path(&path)).await;
        bar.inc(1);
        (path, vector)
    };
    // A few at a time: they are fetched and decoded beside the model's work.
    let mut answers = stream::iter(paths).map(embed).buffered(8);
    let mut index = Vec::new();
    while let Some((path, vector)) = answers.next().await {
        match vector {
            Ok(vector) => index.push(Indexed { path, vector }),
            Err(PoolError::Image(error)) => {
                bar.suspend(|| eprintln!("  passed over {}: {error}", path.display()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    bar.finish_and_clear();
    let (count, took) = (index.len(), started.elapsed().as_secs_f64());
    println!(
        "  {count} pictures in {took:.1} s, {:.0} a second: loading the model is part of it",
        count as f64 / took
    );
    Ok(index)
}

/// Prints what is nearest to `vector`, and draws it.
fn tell(
    sheet: &mut ContactSheet,
    query: Option<&Path>,
    vector: &Embedding,
    index: &[Indexed],
) -> Result<(), Failure> {
    let mut hits: Vec<(f32, &Path)> = index
        .iter()
        .map(|other| (cosine(vector, &other.vector), other.path.as_path()))
        .filter(|(_, path)| Some(*path) != query)
        .collect();
    hits.sort_by(|one, other| other.0.total_cmp(&one.0));
    hits.truncate(FOUND);
    for (score, path) in &hits {
        println!("    {score:.3}  {}", path.display());
    }
    sheet.row(query, hits.iter().map(|(_, path)| *path))
}

fn cosine(one: &Embedding, other: &Embedding) -> f32 {
    let dot = |a: &Embedding, b: &Embedding| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
}

/// Rows of square tiles on dark ground.
struct ContactSheet {
    thumbnails: ImagePreprocessor,
    lines: Vec<Vec<u8>>,
}

impl ContactSheet {
    const WIDTH: usize = (FOUND + 1) * (TILE + GAP) + 2 * GAP;

    fn new() -> Result<Self, ModelError> {
        let square = format!(
            r#"{{"image_processor_type": "CLIPImageProcessor", "size": {TILE}, "crop_size": {TILE},
                "do_rescale": false, "do_normalize": false}}"#
        );
        Ok(Self {
            thumbnails: ImagePreprocessor::from_json(&square)?,
            lines: vec![Self::ground(); GAP],
        })
    }

    fn ground() -> Vec<u8> {
        [24, 24, 28].repeat(Self::WIDTH)
    }

    /// Adds a row: the query, if it is a picture, and apart from it what was found.
    fn row<'a>(
        &mut self,
        query: Option<&Path>,
        found: impl Iterator<Item = &'a Path>,
    ) -> Result<(), Failure> {
        let first = self.lines.len();
        self.lines.resize_with(first + TILE + GAP, Self::ground);
        if let Some(query) = query {
            self.tile(first, GAP, query)?;
        }
        for (number, path) in found.enumerate() {
            let left = (number + 1) * (TILE + GAP) + 2 * GAP;
            self.tile(first, left, path)?;
        }
        Ok(())
    }

    fn tile(&mut self, top: usize, left: usize, path: &Path) -> Result<(), Failure> {
        let picture = ImageSource::path(path).load(&ImageLimits::default())?;
        let tile = self.thumbnails.run(&picture)?;
        for (channel, plane) in tile.values().chunks_exact(TILE * TILE).enumerate() {
            for (line, row) in self.lines[top..].iter_mut().zip(plane.chunks_exact(TILE)) {
                let places = line[3 * left + channel..].iter_mut().step_by(3);
                places
                    .zip(row)
                    .for_each(|(place, value)| *place = *value as u8);
            }
        }
        Ok(())
    }

    fn picture(&self) -> Result<RgbImage, Failure> {
        let height = self.lines.len() as u32;
        Ok(RgbImage::new(
            Self::WIDTH as u32,
            height,
            self.lines.concat(),
        )?)
    }
}
