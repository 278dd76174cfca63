//! What is asked for on the command line.

use std::env;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use modelpool::ImageParams;
use modelpool::diffusion::SchedulerKind;
use modelpool::images::ImageSource;

pub const USAGE: &str = "\
Paints what a text says.

  --model <folder or hub id>
                            a pipeline as diffusers saves it, or a repository of the hub
  --prompt <text>           what to paint; default: nothing, and the model paints what it likes
  --negative <text>         what not to paint
  --steps <number>          from noise to the picture
  --guidance <number>       how far to follow the prompt; 1 for no guidance
  --size <width>x<height>   in pixels
  --seed <number>           makes the picture repeatable
  --images <number>         how many to paint, with seeds that follow each other
  --scheduler <name>        ddim, euler, euler_ancestral, dpm_solver_plus_plus, uni_pc, lcm
  --init <picture>          begins from a file or an address
  --strength <number>       how much of that is painted over, up to 1; default 0.8
  --preview <number>        writes a small preview with every so many steps
  --out <name>              the picture's file; default painting.png";

pub struct Arguments {
    pub model: String,
    pub prompt: String,
    pub params: ImageParams,
    pub out: PathBuf,
}

impl Arguments {
    /// The arguments; `None` if help is asked for.
    pub fn read() -> Result<Option<Self>, String> {
        let mut given = env::args().skip(1);
        let mut model = None;
        let mut prompt = String::new();
        let mut out = PathBuf::from("painting.png");
        let mut params = ImageParams::default();
        while let Some(name) = given.next() {
            if matches!(name.as_str(), "--help" | "-h") {
                return Ok(None);
            }
            let value = given.next().ok_or(format!("{name} wants a value"))?;
            match name.as_str() {
                "--model" => model = Some(value),
                "--prompt" => prompt = value,
                "--out" => out = PathBuf::from(value),
                "--negative" => params = params.negative_prompt(value),
                "--steps" => params = params.steps(parsed(&name, &value)?),
                "--guidance" => params = params.guidance(parsed(&name, &value)?),
                "--seed" => params = params.seed(parsed(&name, &value)?),
                "--images" => params = params.images(parsed(&name, &value)?),
                "--strength" => params = params.strength(parsed(&name, &value)?),
                "--preview" => params = params.preview_every(parsed(&name, &value)?),
                "--init" => params = params.init(source(value)),
                "--scheduler" => params = params.scheduler(scheduler(&value)?),
                "--size" => {
                    let sides = value.split_once('x');
                    let (width, height) =
                        sides.ok_or(format!("{name} {value}: no WIDTHxHEIGHT"))?;
                    params = params.size(parsed(&name, width)?, parsed(&name, height)?);
                }
                _ => return Err(format!("{name} is not known\n\n{USAGE}")),
            }
        }
        params.validate().map_err(|error| error.to_string())?;
        Ok(Some(Self {
            model: model.ok_or(format!("--model is missing\n\n{USAGE}"))?,
            prompt,
            params,
            out,
        }))
    }
}

fn source(name: String) -> ImageSource {
    if name.starts_with("http://") || name.starts_with("https://") {
        ImageSource::url(name)
    } else {
        ImageSource::path(name)
    }
}

fn scheduler(name: &str) -> Result<SchedulerKind, String> {
    let known = SchedulerKind::ALL
        .into_iter()
        .find(|kind| kind.name() == name);
    known.ok_or(format!("--scheduler {name} is not known"))
}

fn parsed<T: FromStr<Err: Display>>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|error| format!("{name} {value}: {error}"))
}
