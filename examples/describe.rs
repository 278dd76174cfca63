//! What is in a picture: its text, or answers to a question about it.
//!
//! ```text
//! cargo run --release --example describe -- --model PP-OCRv6-tiny page.png
//! cargo run --release --example describe -- --model llava-1.5-7b-hf cat.png "What is the cat doing?"
//! ```
//!
//! The model is a folder: PaddleOCR's detector and recogniser as `.onnx` files, or a vision-language model
//! as transformers saves it. The picture is a file or an http or https address.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use modelpool::images::ImageSource;
use modelpool::models::DecoderOptions;
use modelpool::{
    GenerationParams, ModelError, ModelSpec, Pool, PoolConfig, ReadingSummary, Summary, TextLine,
    Vision, VisionChunk,
};

const USAGE: &str = "describe --model <folder> <picture or address> [query]";

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
    let mut arguments = env::args().skip(1);
    let (Some("--model"), Some(folder), Some(picture)) = (
        arguments.next().as_deref(),
        arguments.next(),
        arguments.next(),
    ) else {
        return Err(USAGE.into());
    };
    let query = arguments.next().unwrap_or_default();
    let source = if picture.starts_with("http://") || picture.starts_with("https://") {
        ImageSource::url(picture)
    } else {
        ImageSource::path(picture)
    };

    let pool = Pool::start(PoolConfig::default()).await?;
    let model = pool.register(spec(Path::new(&folder))?.max_workers(1))?;
    let params = GenerationParams::default();
    let mut stream = model.describe_image(source, query, params).await?;
    while let Some(chunk) = stream.next().await {
        match chunk? {
            VisionChunk::Line(line) => print_line(&line),
            VisionChunk::End(summary) => print_reading(&summary),
            VisionChunk::Text(chunk) => {
                print!("{}", chunk.text);
                stdout().flush()?;
                if let Some(summary) = &chunk.summary {
                    print_answer(summary);
                }
            }
            _ => {}
        }
    }
    pool.shutdown(std::time::Duration::from_secs(5)).await;
    Ok(())
}

fn spec(folder: &Path) -> Result<ModelSpec<Vision>, ModelError> {
    let is_onnx = |entry: fs::DirEntry| entry.path().extension().is_some_and(|end| end == "onnx");
    let reads = fs::read_dir(folder).is_ok_and(|files| files.flatten().any(is_onnx));
    if reads {
        ModelSpec::ocr_folder(folder)
    } else {
        ModelSpec::<Vision>::folder(folder, DecoderOptions::default())
    }
}

fn print_line(line: &TextLine) {
    let corners: Vec<String> = line
        .corners
        .iter()
        .map(|[x, y]| format!("{x:.0},{y:.0}"))
        .collect();
    println!(
        "{:.2}  {:<40}  {}",
        line.confidence,
        line.text,
        corners.join(" ")
    );
}

fn print_reading(summary: &ReadingSummary) {
    let timings = summary.timings;
    let first = timings.first_line.unwrap_or(timings.total);
    eprintln!(
        "\n{} lines; queued {:.0?}, first line after {first:.0?}, all after {:.0?}",
        summary.lines, timings.queued, timings.total
    );
}

fn print_answer(summary: &Summary) {
    eprintln!(
        "\n\n{} tokens of prompt and picture, {} of answer; first after {:.0?}, {:.1} a second",
        summary.usage.prompt_tokens,
        summary.usage.completion_tokens,
        summary.timings.first_token,
        summary.tokens_per_second()
    );
}
