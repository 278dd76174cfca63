//! A picture within a sequence: rows that stand where a text has tokens.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::models::ModelError;

/// Token ids from here on are marks: each stands for one row of a picture.
const FIRST_MARK: u32 = 1 << 31;

/// Whether a token id is the mark of a picture's row, and no token of a vocabulary.
pub fn is_mark(token: u32) -> bool {
    token >= FIRST_MARK
}

/// The marks of a picture of so many rows. `content` is all that the rows are computed from: pictures
/// of other content have other marks, so whoever compares tokens tells the pictures apart.
pub fn marks(content: &[u8], rows: usize) -> Vec<u32> {
    let content = Sha256::digest(content);
    (0..rows as u64)
        .map(|row| {
            let mut hasher = Sha256::new();
            hasher.update(content);
            hasher.update(row.to_le_bytes());
            let digest = hasher.finalize();
            let [a, b, c, d, ..] = <[u8; 32]>::from(digest);
            FIRST_MARK | u32::from_le_bytes([a, b, c, d])
        })
        .collect()
}

/// What a decoder is given of a picture: vectors that take the place of token vectors.
#[derive(Clone, PartialEq)]
pub struct PictureRows {
    width: usize,
    values: Vec<f32>,
    grid: Option<[usize; 2]>,
    /// How many places of a sequence are taken where the rows do not stand in it.
    beside: Option<usize>,
}

impl fmt::Debug for PictureRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PictureRows")
            .field("rows", &self.rows())
            .field("width", &self.width)
            .field("grid", &self.grid)
            .finish_non_exhaustive()
    }
}

impl PictureRows {
    /// Rows of `width` values, one after the other, that stand in a line as tokens do.
    ///
    /// # Errors
    /// [`ModelError::WrongShape`] where the values are not whole rows, or none.
    pub fn new(width: usize, values: Vec<f32>) -> Result<Self, ModelError> {
        if width == 0 || values.is_empty() || !values.len().is_multiple_of(width) {
            return Err(ModelError::WrongShape {
                tensor: "a picture's rows".to_owned(),
                expected: vec![1, width],
                found: vec![values.len()],
            });
        }
        Ok(Self {
            width,
            values,
            grid: None,
            beside: None,
        })
    }

    /// The same, standing in `height` lines of `width` rows each: for decoders that turn queries and
    /// keys by the place in the picture.
    ///
    /// # Errors
    /// [`ModelError::WrongShape`] where there are more or fewer rows.
    pub fn in_grid(mut self, height: usize, width: usize) -> Result<Self, ModelError> {
        if height.checked_mul(width) != Some(self.rows()) {
            return Err(ModelError::WrongShape {
                tensor: "a picture's rows".to_owned(),
                expected: vec![height, width],
                found: vec![self.rows()],
            });
        }
        self.grid = Some([height, width]);
        Ok(self)
    }

    /// The same, standing beside the sequence: for decoders that look at the rows from all places, and for
    /// which `places` marks at the beginning of the sequence tell pictures apart.
    #[must_use]
    pub fn beside(mut self, places: usize) -> Self {
        self.beside = Some(places);
        self
    }

    /// How many places of a sequence they take: how many marks stand for them.
    pub fn places(&self) -> usize {
        self.beside.unwrap_or(self.rows())
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// The length of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All values, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// One row; `None` past the last.
    pub fn row(&self, row: usize) -> Option<&[f32]> {
        let start = row.checked_mul(self.width)?;
        self.values.get(start..start.checked_add(self.width)?)
    }
}

/// A picture in its place in a sequence.
#[derive(Debug, Clone, Copy)]
pub struct PlacedPicture<'a> {
    /// The rows.
    pub rows: &'a PictureRows,
    /// The place of the first of them in the sequence.
    pub start: usize,
}

impl PlacedPicture<'_> {
    /// The row that stands at `place` in the sequence, if one does.
    pub fn row_at(&self, place: usize) -> Option<&[f32]> {
        if self.rows.beside.is_some() {
            return None;
        }
        self.rows.row(place.checked_sub(self.start)?)
    }

    /// By which positions the token at `place` of the sequence is turned: in time, down and across. They
    /// are all the place itself but for pictures in a grid: the rows of one share their time and differ in
    /// the others, and what follows goes on from the largest.
    pub fn positions(&self, place: usize) -> [usize; 3] {
        let (Some([height, width]), Some(row)) = (self.rows.grid, place.checked_sub(self.start))
        else {
            return [place; 3];
        };
        let start = self.start;
        match row.checked_sub(height * width) {
            Some(after) => [start + height.max(width) + after; 3],
            None => [start, start + row / width, start + row % width],
        }
    }
}
