//! The machine, generic over capability.

mod step;

pub use step::StepContext;
