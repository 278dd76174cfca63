//! A conversation in the terminal.
//!
//! ```text
//! cargo run --release --example chat -- --model SmolLM2-135M-Instruct.Q4_1.gguf
//! cargo run --release --example chat -- --model FILE --parallel "Name a fruit." --parallel "Count to ten."
//! echo "What is the capital of France?" | cargo run --release --example chat -- --model FILE
//! ```
//!
//! Ctrl-C stops the answer, and at the prompt the program; `/clear` begins anew, `/quit` leaves.

mod arguments;
mod parallel;
mod screen;
mod talk;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use modelpool::models::DecoderOptions;
use modelpool::sources::HubModel;
use modelpool::{ModelError, ModelSpec, Pool, PoolConfig, TextToText};

use arguments::Arguments;
use screen::Screen;

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
    let screen = Screen::new();
    let pool = Pool::start(PoolConfig::default()).await?;
    let options = DecoderOptions::default().cache_tokens(16 * 1024);
    let spec = brought(&arguments.model, options, &screen).await?;
    let model = pool.register(spec.max_workers(1).pinned(true))?;
    screen.aside(&format!("loading {} …", model.info().name));
    pool.warm(&model).await?;
    screen.aside(&screen::memory(&pool.status()));
    if arguments.parallel.is_empty() {
        talk::talk(&pool, &model, &arguments, &screen).await?;
    } else {
        parallel::answer_all(&pool, &model, &arguments, &screen).await?;
    }
    pool.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// A model in a GGUF file or a folder of this machine, or else in a repository of the hub.
async fn brought(
    name: &str,
    options: DecoderOptions,
    screen: &Screen,
) -> Result<ModelSpec<TextToText>, ModelError> {
    let path = Path::new(name);
    if path.is_dir() {
        return ModelSpec::<TextToText>::folder(path, options);
    }
    if path.is_file() || path.extension().is_some_and(|end| end == "gguf") {
        return ModelSpec::<TextToText>::gguf(path, options);
    }
    let shown = screen.clone();
    let model = HubModel::new(name).progress(move |event| shown.download(&event));
    ModelSpec::<TextToText>::hub(model, options).await
}
