//! Where a model can be steered, and to do what.

/// Where a model can be steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// In the loader, on the worker's thread.
    Load,
    /// At the beginning of a step.
    Step,
    /// Before an item is handed over: the vector of each text, each word of a recital, each line of a picture.
    Emit,
    /// When the model is freed.
    Free,
}

impl Point {
    pub(super) const ALL: [Self; 4] = [Self::Load, Self::Step, Self::Emit, Self::Free];
}

/// What a model does at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Goes on.
    Go,
    /// Returns an error: of the load, of the whole step, or of the one request whose item was to be
    /// handed over. When it is freed: goes on, since that cannot fail.
    Fail,
    /// Panics.
    Panic,
    /// Waits until [released](super::Steering::release), then goes on. A wait that nobody ends
    /// within a minute panics: its test has forgotten it.
    Wait,
    /// Waits like [`Wait`](Self::Wait), but for as long as it takes: a thread that hangs.
    Hang,
    /// Takes this many bytes of memory, really, and goes on. They are given back with the model.
    Take(usize),
    /// Takes this many bytes of memory that no model gives back: they are freed when the last
    /// [`Steering`](super::Steering) is dropped.
    Leak(usize),
}
