//! What the hand-offs of a job are built of: the permits, the lanes, the idle stack and the hand
//! take their primitives from here.
//!
//! `tests/shuttle.rs` compiles those same files beside a module of this name that is made of a
//! model checker's primitives.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
pub(crate) use std::sync::{Mutex, MutexGuard};

pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded};
pub(crate) use crossbeam_utils::sync::{Parker, Unparker};
