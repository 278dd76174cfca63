//! The tokenizers library, which panics where a file contradicts itself.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Makes an error of a panic: the library indexes its tables by what `tokenizer.json` says.
pub(super) fn guarded<T>(
    work: impl FnOnce() -> Result<T, tokenizers::Error>,
) -> Result<T, tokenizers::Error> {
    // What the closure borrows is read only, or dropped with it.
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err("the tokenizer contradicts itself".into()))
}
