//! Measures modelpool beside what else does the same work.
//!
//! ```text
//! cargo run --release --manifest-path benches-ignored/Cargo.toml -- <suite>
//! ```

mod arguments;
#[allow(dead_code, reason = "for the suites to come")]
mod corpus;
mod dispatch;
mod environment;
mod neighbours;
#[allow(dead_code, unused_imports, reason = "for the suites to come")]
mod peers;
#[allow(dead_code, reason = "for the suites to come")]
mod plot;
mod results;
mod summary;

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

const SUITES: &[Suite] = &[Suite {
    name: "dispatch",
    about: "round trip through a model that does nothing",
    run: dispatch::run,
}];

fn main() -> ExitCode {
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
