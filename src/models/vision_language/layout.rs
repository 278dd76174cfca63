//! Where a picture's patches stand among a tower's rows.

use std::ops::Range;

use super::description::Tower;
use crate::images::PixelTensor;
use crate::models::ModelError;

/// The order of a picture's patches: square by square of those that become one row of the decoder, the
/// squares window by window.
#[derive(Debug)]
pub(super) struct Layout {
    /// Line and column of each patch.
    pub(super) patches: Vec<[usize; 2]>,
    /// The patches of each window, as places in that order.
    pub(super) windows: Vec<Range<usize>>,
    /// Of each square, its number if they were counted line by line.
    pub(super) squares: Vec<usize>,
    /// Lines of squares, and squares of a line.
    pub(super) grid: [usize; 2],
}

impl Layout {
    /// Fails where the pixels are not of a size that the tower takes.
    pub(super) fn new(tower: &Tower, pixels: &PixelTensor) -> Result<Self, ModelError> {
        let [_, height, width] = pixels.shape();
        let side = tower.patch * tower.merge;
        let [high, wide] = tower.size.unwrap_or([
            height.next_multiple_of(side).max(side),
            width.next_multiple_of(side).max(side),
        ]);
        if [height, width] != [high, wide] {
            return Err(ModelError::WrongShape {
                tensor: "the picture's pixels".to_owned(),
                expected: vec![3, high, wide],
                found: pixels.shape().to_vec(),
            });
        }
        Ok(Self::of_grid(tower, [height / side, width / side]))
    }

    fn of_grid(tower: &Tower, grid @ [lines, columns]: [usize; 2]) -> Self {
        let merge = tower.merge;
        let mut layout = Self {
            patches: Vec::with_capacity(lines * columns * merge * merge),
            windows: Vec::new(),
            squares: Vec::with_capacity(lines * columns),
            grid,
        };
        for top in (0..lines).step_by(tower.window) {
            for left in (0..columns).step_by(tower.window) {
                let first = layout.patches.len();
                for line in top..lines.min(top + tower.window) {
                    for column in left..columns.min(left + tower.window) {
                        layout.add_square(merge, line, column);
                    }
                }
                layout.windows.push(first..layout.patches.len());
            }
        }
        layout
    }

    fn add_square(&mut self, merge: usize, line: usize, column: usize) {
        self.squares.push(line * self.grid[1] + column);
        for down in 0..merge {
            let patches = (0..merge).map(|across| [line * merge + down, column * merge + across]);
            self.patches.extend(patches);
        }
    }

    /// The patches' pixels, [patches, 3 · patch · patch]: all of red first.
    pub(super) fn cut(&self, patch: usize, pixels: &PixelTensor) -> Vec<f32> {
        let [channels, height, width] = pixels.shape();
        let mut values = Vec::with_capacity(self.patches.len() * channels * patch * patch);
        for [line, column] in &self.patches {
            for channel in 0..channels {
                for row in 0..patch {
                    let from = (channel * height + line * patch + row) * width + column * patch;
                    values.extend_from_slice(&pixels.values()[from..from + patch]);
                }
            }
        }
        values
    }
}
