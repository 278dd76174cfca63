//! The pool.

pub mod capabilities;
pub mod core;
