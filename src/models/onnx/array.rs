//! The values that flow through a graph.

use std::fmt;
use std::sync::Arc;

/// The most elements of one array: what is larger is a mistake, or an attack.
const MAX_ELEMENTS: usize = 1 << 26;

/// An array of floats, row-major. Cheap to clone.
#[derive(Clone, PartialEq)]
pub struct OnnxArray {
    shape: Vec<usize>,
    values: Arc<Vec<f32>>,
}

impl fmt::Debug for OnnxArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnnxArray")
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl OnnxArray {
    /// Values in this shape; `None` if they are not as many as it says, or more than 2²⁶.
    pub fn new(shape: Vec<usize>, values: Vec<f32>) -> Option<Self> {
        (elements(&shape)? == values.len()).then(|| Self {
            shape,
            values: Arc::new(values),
        })
    }

    /// Its shape; empty for a single number.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its values, the last dimension fastest.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The same values in another shape of as many.
    pub(super) fn reshaped(&self, shape: Vec<usize>) -> Option<Self> {
        (elements(&shape)? == self.values.len()).then(|| Self {
            shape,
            values: Arc::clone(&self.values),
        })
    }

    /// Its values, to be changed; they are copied first if somebody else has the array.
    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        Arc::make_mut(&mut self.values).as_mut_slice()
    }

    /// Each value changed. In place where nobody else has the array.
    pub(super) fn map(mut self, change: impl Fn(f32) -> f32) -> Self {
        let change = |value: &mut f32| *value = change(*value);
        self.values_mut().iter_mut().for_each(change);
        self
    }

    /// The four dimensions of a batch of pictures.
    pub(super) fn planes(&self) -> Option<[usize; 4]> {
        self.shape.as_slice().try_into().ok()
    }
}

/// How many elements a shape has, if that is bearable. Sides beside an empty one must be so, too: some
/// of them are multiplied without the empty one.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    let bearable = shape.iter().try_fold(1usize, |count, &side| {
        let count = count.checked_mul(side.max(1))?;
        (count <= MAX_ELEMENTS).then_some(count)
    })?;
    Some(if shape.contains(&0) { 0 } else { bearable })
}
