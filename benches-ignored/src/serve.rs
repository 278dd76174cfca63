//! This program as its own peer: a fresh process that loads MiniLM one way and answers for it, in
//! the words of `peers/lines.py`.

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use modelpool::models::{EncoderFolder, TextEncoder};
use modelpool::{EmbedOptions, ModelInfo, StepContext, TextEmbeddingCapable, TextPreparer};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Failure;
use crate::embed::Pooled;
#[cfg(feature = "candle-peer")]
use crate::embed::candle;

/// What comes first on the command line of such a process: then the model's folder, then threads.
pub const ARGUMENT: &str = "serve";

/// How many callers ask the pool at once.
const CALLERS: usize = 64;

#[derive(Deserialize)]
struct Request {
    #[serde(rename = "do")]
    operation: String,
    with: Option<Given>,
}

#[derive(Default, Deserialize)]
struct Given {
    #[serde(default)]
    texts: Vec<String>,
    workers: Option<usize>,
}

struct Server {
    folder: PathBuf,
    threads: usize,
    texts: Vec<String>,
    loaded: Option<Loaded>,
}

#[allow(dead_code, reason = "some are only kept, so that their memory is")]
enum Loaded {
    Pooled(Pooled),
    Bare(TextEncoder),
    #[cfg(feature = "candle-peer")]
    Candle(Box<candle::Locked>),
}

/// Serves until its input ends.
pub fn run(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let mut server = Server {
        folder: arguments.next().unwrap_or_default().into(),
        threads: arguments
            .next()
            .and_then(|threads| threads.parse().ok())
            .unwrap_or(1),
        texts: Vec::new(),
        loaded: None,
    };
    let mut answers = io::stdout();
    let mut answer = |value: Value| writeln!(answers, "{value}").is_ok();
    let mut goes_on = answer(json!({"ok": []}));
    let mut lines = io::stdin().lock().lines();
    while goes_on {
        let Some(Ok(line)) = lines.next() else { break };
        goes_on = answer(match server.serve(&line) {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": error.to_string() }),
        });
    }
    ExitCode::SUCCESS
}

impl Server {
    fn serve(&mut self, line: &str) -> Result<Value, Failure> {
        let request: Request = serde_json::from_str(line)?;
        let given = request.with.unwrap_or_default();
        match request.operation.as_str() {
            "load" => self.load(|folder, threads| {
                // One worker more than the first request needs is started beside it, if asked for.
                let pooled = Pooled::first_answer(folder, threads, given.workers.unwrap_or(1))?;
                Ok(Loaded::Pooled(pooled))
            }),
            "load_bare" => self.load(bare),
            "first_and_second" => Ok(json!(Pooled::first_and_second(&self.folder, self.threads)?)),
            #[cfg(feature = "candle-peer")]
            "load_candle" => self.load(|folder, threads| {
                let model = candle::Locked::load(folder, threads)?;
                model.embed(&["hello".to_owned()])?;
                Ok(Loaded::Candle(Box::new(model)))
            }),
            "texts" => {
                self.texts = given.texts;
                Ok(Value::Null)
            }
            "corpus" => match &self.loaded {
                Some(Loaded::Pooled(pooled)) => Ok(pooled.by_callers(&self.texts, CALLERS)?.into()),
                #[cfg(feature = "candle-peer")]
                Some(Loaded::Candle(model)) => Ok(model.by_callers(&self.texts, 32)?.into()),
                Some(Loaded::Bare(_)) | None => Err("nothing is loaded that could".into()),
            },
            other => Err(format!("there is no operation {other}").into()),
        }
    }

    /// Seconds that `load` takes, its first vector included.
    fn load(
        &mut self,
        load: impl FnOnce(&std::path::Path, usize) -> Result<Loaded, Failure>,
    ) -> Result<Value, Failure> {
        let began = Instant::now();
        self.loaded = Some(load(&self.folder, self.threads)?);
        Ok(began.elapsed().as_secs_f64().into())
    }
}

/// The same encoder without a pool: weights and tokenizer one after the other, then one step.
fn bare(folder: &std::path::Path, threads: usize) -> Result<Loaded, Failure> {
    let folder = EncoderFolder::open(folder)?;
    let preparer = folder.preparer()?;
    let weights = Arc::new(folder.load()?);
    let mut encoder = TextEncoder::new(ModelInfo::new("minilm", 1), weights);
    let input = preparer.prepare("hello".to_owned(), &EmbedOptions::default())?;
    let mut vectors = encoder.embed_step(&[&input], &StepContext::new(threads))?;
    vectors.pop().ok_or("no vector")??;
    Ok(Loaded::Bare(encoder))
}
