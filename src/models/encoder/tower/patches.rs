//! Pictures as rows: the patches' vectors and positions, behind the rows that are no patch's.

use std::ops::Range;

use super::super::attention::grow;
use super::super::source::Source;
use super::description::Sight;
use super::weights::SightTensors;
use crate::images::PixelTensor;
use crate::kernels::{self, Cpu};

/// Patches that are cut and multiplied together.
const BLOCK: usize = 32;

/// Values that a thread holds of patches.
pub(super) fn buffer_values(sight: &Sight) -> usize {
    BLOCK * sight.patch_values()
}

/// A picture of a step.
pub(super) struct Picture<'a> {
    pub(super) pixels: &'a PixelTensor,
    /// Lines and columns of patches.
    pub(super) grid: [usize; 2],
    /// [lines · columns, hidden].
    pub(super) positions: &'a [f32],
}

/// The pictures of a step.
pub(super) struct Patches<'a> {
    pub(super) cpu: Cpu,
    pub(super) sight: &'a Sight,
    pub(super) tensors: &'a SightTensors,
    pub(super) pictures: Vec<Picture<'a>>,
}

impl Source for Patches<'_> {
    fn lengths(&self) -> impl Iterator<Item = usize> {
        let leading = self.sight.leading();
        let pictures = self.pictures.iter();
        pictures.map(move |picture| leading + picture.grid[0] * picture.grid[1])
    }

    fn fill(&self, sequence: usize, rows: Range<usize>, lines: &mut [f32], buffer: &mut Vec<f32>) {
        let width = self.sight.transformer.hidden;
        let leading = self.sight.leading();
        let before = rows.start.min(leading)..rows.end.min(leading);
        let (first, rest) = lines.split_at_mut(before.len() * width);
        first.copy_from_slice(&self.tensors.leading[before.start * width..before.end * width]);

        let picture = &self.pictures[sequence];
        let values = self.sight.patch_values();
        let mut from = rows.start.max(leading) - leading;
        for lines in rest.chunks_mut(BLOCK * width) {
            let count = lines.len() / width;
            let cut = grow(buffer, count * values);
            for (patch, place) in (from..).zip(cut.chunks_exact_mut(values)) {
                self.cut(picture, patch, place);
            }
            let layer = &self.tensors.patches;
            layer.apply_once(self.cpu, count, cut, lines);
            let positions = &picture.positions[from * width..][..lines.len()];
            kernels::add(self.cpu, lines, positions);
            from += count;
        }
    }
}

impl Patches<'_> {
    /// Copies a patch's pixels, all of red first.
    fn cut(&self, picture: &Picture<'_>, patch: usize, place: &mut [f32]) {
        let side = self.sight.patch;
        let [_, height, width] = picture.pixels.shape();
        let [top, left] = [patch / picture.grid[1], patch % picture.grid[1]].map(|at| at * side);
        for (row, line) in place.chunks_exact_mut(side).enumerate() {
            let (channel, row) = (row / side, row % side);
            let from = (channel * height + top + row) * width + left;
            line.copy_from_slice(&picture.pixels.values()[from..from + side]);
        }
    }
}
