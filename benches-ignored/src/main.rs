//! Measures modelpool beside what else does the same work.
//!
//! ```text
//! cargo run --release --manifest-path benches-ignored/Cargo.toml -- <suite>
//! ```

mod arguments;
mod chaos;
mod coldstart;
mod corpus;
mod dispatch;
mod embed;
mod environment;
mod generate;
mod kernels;
mod memory;
mod neighbours;
mod overload;
mod peers;
mod plot;
mod precision;
#[path = "../../tests/support/real_models.rs"]
mod real_models;
mod results;
mod scale;
mod serve;
mod soak;
mod summary;
mod turns;

use std::error::Error;
use std::process::ExitCode;

use arguments::{Arguments, usage};

/// What any part of a benchmark may fail with.
type Failure = Box<dyn Error + Send + Sync>;

/// One benchmark of this program.
#[derive(Debug)]
struct Suite {
    name: &'static str,
    about: &'static str,
    run: fn(&Arguments) -> Result<(), Failure>,
}

const SUITES: &[Suite] = &[
    Suite {
        name: "dispatch",
        about: "round trip through a model that does nothing",
        run: dispatch::run,
    },
    Suite {
        name: "kernels",
        about: "products with quantised weights, type by type",
        run: kernels::run,
    },
    Suite {
        name: "embed",
        about: "all-MiniLM-L6-v2: texts of mixed lengths, and one short text",
        run: embed::run,
    },
    Suite {
        name: "precision",
        about: "the same in bytes beside floats: speed, and what it costs in quality",
        run: precision::run,
    },
    Suite {
        name: "generate",
        about: "SmolLM2-135M-Instruct: decoding, reading prompts, and both at once",
        run: generate::run,
    },
    Suite {
        name: "generate-gemma",
        about: "the same with Gemma 3 270M",
        run: generate::run_gemma,
    },
    Suite {
        name: "memory",
        about: "resident set of a process that serves all-MiniLM-L6-v2",
        run: memory::run,
    },
    Suite {
        name: "coldstart",
        about: "from nothing to the first vector of all-MiniLM-L6-v2",
        run: coldstart::run,
    },
    Suite {
        name: "scale",
        about: "a request's cost with many callers, and with many models",
        run: scale::run,
    },
    Suite {
        name: "chaos",
        about: "a million requests while all goes wrong: what must hold, holds",
        run: chaos::run,
    },
    Suite {
        name: "overload",
        about: "ten times the work that a model can do",
        run: overload::run,
    },
    Suite {
        name: "soak",
        about: "real models, loaded and unloaded 500 times",
        run: soak::run,
    },
];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(serve::ARGUMENT) {
        return serve::run(std::env::args().skip(2));
    }
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{}", usage());
            return ExitCode::SUCCESS;
        }
        Err(reason) => {
            eprintln!("error: {reason}\n\n{}", usage());
            return ExitCode::from(2);
        }
    };
    match (arguments.suite.run)(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
