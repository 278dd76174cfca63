//! What the seeing half of a model is, as data: read from `config.json`, followed by one code path.

use super::names::{ProjectorNames, TowerNames};
use crate::kernels::Activation;

/// How a tower knows where a patch is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Places {
    /// A learned vector for each row; so all pictures are of one size.
    Learned,
    /// Queries and keys are turned by the patch's line and column (RoPE in two dimensions).
    Rotary { theta: f64 },
}

/// A tower: a transformer over the patches of a picture.
#[derive(Debug, Clone)]
pub(super) struct Tower {
    pub(super) names: &'static TowerNames,
    /// Width of the residual stream.
    pub(super) hidden: usize,
    pub(super) heads: usize,
    /// Width of the feed-forward network's inside.
    pub(super) intermediate: usize,
    pub(super) activation: Activation,
    /// Root-mean-square norms in place of layer norms.
    pub(super) rms: bool,
    pub(super) epsilon: f32,
    /// For each layer that is run, whether a patch sees all of the picture, or only its window.
    pub(super) layers: Vec<bool>,
    /// Pixels of a patch's side.
    pub(super) patch: usize,
    /// Pictures of a film that make one patch: a still picture is as many of the same.
    pub(super) frames: usize,
    pub(super) patch_bias: bool,
    pub(super) places: Places,
    /// Height and width of every picture, in pixels, where they are fixed.
    pub(super) size: Option<[usize; 2]>,
    /// Patches of a square's side of which the projector makes one row.
    pub(super) merge: usize,
    /// Squares of a window's side.
    pub(super) window: usize,
}

impl Tower {
    pub(super) fn head_width(&self) -> usize {
        self.hidden / self.heads
    }

    /// Whether a row before those of the patches stands for the whole picture.
    pub(super) fn has_class(&self) -> bool {
        !self.names.class.is_empty()
    }

    /// Values of one patch.
    pub(super) fn patch_values(&self) -> usize {
        3 * self.patch * self.patch
    }

    /// Rows of a tower whose pictures are of one size.
    pub(super) fn fixed_rows(&self) -> Option<usize> {
        let [height, width] = self.size?;
        let patches = (height / self.patch) * (width / self.patch);
        Some(patches + usize::from(self.has_class()))
    }
}

/// What makes the decoder's rows of the tower's: two linear layers.
#[derive(Debug, Clone)]
pub(super) struct Projector {
    pub(super) names: &'static ProjectorNames,
    /// Whether the row of the whole picture is left out.
    pub(super) drops_class: bool,
    pub(super) epsilon: f32,
    /// Width between the two layers.
    pub(super) inside: usize,
    pub(super) activation: Activation,
    pub(super) biases: bool,
    /// The decoder's width.
    pub(super) outputs: usize,
}

/// The seeing half.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    pub(super) tower: Tower,
    /// `None` where the tower's rows are used as they are.
    pub(super) projector: Option<Projector>,
    /// Whether the decoder turns the rows by their place in the picture.
    pub(super) in_grid: bool,
}

impl Sight {
    /// Whether the row of the whole picture is left out.
    pub(super) fn drops_class(&self) -> bool {
        let drops = |projector: &Projector| projector.drops_class;
        self.tower.has_class() && self.projector.as_ref().is_some_and(drops)
    }

    /// The width of the rows that come of a picture.
    pub(super) fn outputs(&self) -> usize {
        let outputs = |projector: &Projector| projector.outputs;
        self.projector.as_ref().map_or(self.tower.hidden, outputs)
    }
}
