//! The cancellation matrix: whatever ends a request, wherever it happens to be, for either kind of
//! reply, its caller is told one thing, its permit is free and the books agree.
//!
//! [`matrix`] says what each cell must come to, [`stage`] brings a request to its place, [`causes`]
//! ends it there, and [`cells`] checks the outcome. Gates force each place; none is slept for.

#[path = "cancellation/causes.rs"]
mod causes;
#[path = "cancellation/cells.rs"]
mod cells;
#[path = "cancellation/matrix.rs"]
mod matrix;
#[path = "cancellation/stage.rs"]
mod stage;
#[allow(dead_code, reason = "the matrix closes its pools in its own ways")]
#[path = "pool/universe.rs"]
mod universe;
