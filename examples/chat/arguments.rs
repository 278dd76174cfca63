//! What is asked for on the command line.

use std::env;
use std::fmt::Display;
use std::str::FromStr;

use modelpool::{GenerationParams, SamplingParams};

pub const USAGE: &str = "\
A conversation with a language model.

  --model <file, folder or hub id>   a GGUF file, a transformers folder, or a repository of the hub
  --system <text>                    what the model is told to be
  --parallel <prompt>                asks this instead of talking; give it several times, and all
                                     are answered at once
  --temperature <number>             0 for the likeliest words, always; default 0.6
  --seed <number>                    makes the answers repeatable
  --max-tokens <number>              of one answer; default 512";

pub struct Arguments {
    pub model: String,
    pub system: Option<String>,
    pub parallel: Vec<String>,
    pub params: GenerationParams,
}

impl Arguments {
    /// The arguments; `None` if help is asked for.
    pub fn read() -> Result<Option<Self>, String> {
        let mut given = env::args().skip(1);
        let mut model = None;
        let mut system = None;
        let mut parallel = Vec::new();
        let sampling = SamplingParams::with_temperature(0.6).top_p(0.95);
        let mut params = GenerationParams::default().sampling(sampling);
        while let Some(name) = given.next() {
            if matches!(name.as_str(), "--help" | "-h") {
                return Ok(None);
            }
            let value = given.next().ok_or(format!("{name} wants a value"))?;
            match name.as_str() {
                "--model" => model = Some(value),
                "--system" => system = Some(value),
                "--parallel" => parallel.push(value),
                "--temperature" => params = params.temperature(parsed(&name, &value)?),
                "--seed" => params = params.seed(parsed(&name, &value)?),
                "--max-tokens" => params = params.max_tokens(parsed(&name, &value)?),
                _ => return Err(format!("{name} is not known\n\n{USAGE}")),
            }
        }
        params.validate().map_err(|error| error.to_string())?;
        Ok(Some(Self {
            model: model.ok_or(format!("--model is missing\n\n{USAGE}"))?,
            system,
            parallel,
            params,
        }))
    }
}

fn parsed<T: FromStr<Err: Display>>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|error| format!("{name} {value}: {error}"))
}
