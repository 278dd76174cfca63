//! Measures modelpool beside the plainest code that does the same work.
//!
//! ```text
//! cargo run --release --manifest-path benches-ignored/Cargo.toml -- dispatch
//! ```

mod arguments;
mod dispatch;
mod environment;
mod neighbours;
mod summary;

use std::error::Error;
use std::process::ExitCode;

use arguments::{Arguments, Suite};

/// What any part of a benchmark may fail with.
type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{}", arguments::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(reason) => {
            eprintln!("error: {reason}\n\n{}", arguments::USAGE);
            return ExitCode::from(2);
        }
    };
    let outcome = match arguments.suite {
        Suite::Dispatch => dispatch::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
