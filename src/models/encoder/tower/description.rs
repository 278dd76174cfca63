//! What an image tower and the text tower beside it are, as data: read from `config.json`.

use super::super::description::Description;
use super::names::SightNames;
use crate::models::ModelError;

/// How positions are had for pictures of another size than they were learned for: bicubic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interpolation {
    /// Of four positions for each, however far they lie apart.
    Plain,
    /// Of more where there are fewer than were learned.
    Antialiased,
}

/// A vision tower: a transformer over the patches of a picture.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    pub(super) transformer: Description,
    pub(super) names: &'static SightNames,
    /// Pixels of the side of the square that positions were learned for.
    pub(super) side: usize,
    /// Pixels of a patch's side.
    pub(super) patch: usize,
    pub(super) patch_bias: bool,
    /// Rows that stand for nothing, after that of the class.
    pub(super) registers: usize,
    /// `None` where there is no other size.
    pub(super) interpolation: Option<Interpolation>,
    /// Width of the space that texts share, where a linear layer leads there.
    pub(super) projection: Option<usize>,
}

impl Sight {
    /// Patches of a side of the square that positions were learned for.
    pub(super) fn grid(&self) -> usize {
        self.side / self.patch
    }

    /// Whether a row before those of the patches stands for the whole picture.
    pub(super) fn has_class(&self) -> bool {
        !self.names.class.is_empty()
    }

    /// Rows before those of the patches.
    pub(super) fn leading(&self) -> usize {
        usize::from(self.has_class()) + self.registers
    }

    /// Values of one patch.
    pub(super) fn patch_values(&self) -> usize {
        3 * self.patch * self.patch
    }

    /// Length of a picture's vector.
    pub(super) fn dimensions(&self) -> usize {
        self.projection.unwrap_or(self.transformer.hidden)
    }

    /// Lines and columns of patches of a picture of `height` and `width`; what is left over at its ends is
    /// not looked at. Fails for a size that the tower does not take, or for more than `most` patches.
    pub(super) fn grid_of(
        &self,
        [channels, height, width]: [usize; 3],
        most: usize,
    ) -> Result<[usize; 2], ModelError> {
        let grid @ [lines, columns] = [height / self.patch, width / self.patch];
        let fits = match self.interpolation {
            None => [height, width] == [self.side; 2],
            Some(_) => lines > 0 && columns > 0 && lines.saturating_mul(columns) <= most,
        };
        if fits {
            Ok(grid)
        } else {
            Err(ModelError::WrongShape {
                tensor: "pixels".to_owned(),
                expected: vec![3, self.side, self.side],
                found: vec![channels, height, width],
            })
        }
    }
}

/// Whose row stands for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextPooling {
    /// That of the token with the highest id, of several the first.
    Highest,
    /// The first one of this token, or where there is none the first of all.
    First(u32),
    /// The last one of all.
    Last,
}

impl TextPooling {
    /// The place of that row in a text.
    pub(super) fn place(self, tokens: &[u32]) -> usize {
        match self {
            Self::Highest => {
                let highest = tokens.iter().max();
                let place = tokens.iter().position(|token| Some(token) == highest);
                place.unwrap_or(0)
            }
            Self::First(id) => tokens.iter().position(|token| *token == id).unwrap_or(0),
            Self::Last => tokens.len().saturating_sub(1),
        }
    }
}

/// A text tower.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) transformer: Description,
    pub(super) pooling: TextPooling,
    /// Whether all texts are filled up to the most tokens, with this one unless the tokenizer names another.
    pub(super) padding: Option<u32>,
    /// The linear layer into the space of the pictures, and whether it has a bias.
    pub(super) projection: &'static str,
    pub(super) projection_bias: bool,
}

/// A model of one or two towers.
#[derive(Debug, Clone)]
pub(super) struct Towers {
    pub(super) family: &'static str,
    pub(super) sight: Sight,
    pub(super) reading: Option<Reading>,
    /// Whether vectors are scaled to unit length.
    pub(super) unit: bool,
}
