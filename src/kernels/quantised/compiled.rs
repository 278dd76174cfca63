//! The forms as types, so that products are compiled for each of them.

use crate::kernels::piece::Levels;

use super::Quantised;
use super::activations::Block;
use super::form::{Codes, Form, Scales};

/// How codes are stored, and what they stand for.
pub(super) trait CodeForm {
    const CODES: Codes;
    const LEVELS: Levels;
}

/// Four bits, less `OFFSET`.
pub(super) struct Four<const OFFSET: u8>;

impl<const OFFSET: u8> CodeForm for Four<OFFSET> {
    const CODES: Codes = Codes::Four;
    const LEVELS: Levels = Levels::Offset(OFFSET);
}

/// Five bits, less `OFFSET`.
pub(super) struct Five<const OFFSET: u8>;

impl<const OFFSET: u8> CodeForm for Five<OFFSET> {
    const CODES: Codes = Codes::Five;
    const LEVELS: Levels = Levels::Offset(OFFSET);
}

/// Six bits, less 32.
pub(super) struct Six;

impl CodeForm for Six {
    const CODES: Codes = Codes::Six;
    const LEVELS: Levels = Levels::Offset(32);
}

/// Bytes, less 128.
pub(super) struct Eight;

impl CodeForm for Eight {
    const CODES: Codes = Codes::Eight;
    const LEVELS: Levels = Levels::Offset(128);
}

/// Places in a table of signed bytes.
pub(super) struct Iq4;

impl CodeForm for Iq4 {
    const CODES: Codes = Codes::Four;
    const LEVELS: Levels = Levels::Iq4;
}

/// How scales are stored.
pub(super) trait ScaleForm {
    const SCALES: Scales;
}

/// [`Scales::Plain`].
pub(super) struct Plain;

impl ScaleForm for Plain {
    const SCALES: Scales = Scales::Plain;
}

/// [`Scales::Minimum`].
pub(super) struct Minimum;

impl ScaleForm for Minimum {
    const SCALES: Scales = Scales::Minimum;
}

/// The forms with steps: one or two parts a block, with or without minimums.
pub(super) struct Steps<const PARTS: usize, const MINIMUMS: bool>;

impl<const PARTS: usize, const MINIMUMS: bool> ScaleForm for Steps<PARTS, MINIMUMS> {
    const SCALES: Scales = match (PARTS, MINIMUMS) {
        (1, false) => Scales::Steps,
        (1, true) => Scales::MinimumSteps,
        (_, false) => Scales::HalfSteps,
        (_, true) => Scales::MinimumHalfSteps,
    };
}

/// Work on matrices that is compiled for each form.
pub(super) trait WithForm {
    fn run<C: CodeForm, S: ScaleForm>(self);
}

/// A product that is to be made with the instructions that a `T` shows to be there; see [`Quantised::multiply`].
pub(super) struct Work<'a, 'b, T> {
    pub(super) token: T,
    pub(super) matrix: &'a Quantised,
    pub(super) x: &'a [Block],
    /// A strip.
    pub(super) first: usize,
    pub(super) rows: &'a mut [&'b mut [f32]],
}

impl Form {
    /// Runs what is compiled for this form; gives the work back if no type has such a form.
    pub(super) fn run<W: WithForm>(self, work: W) -> Result<(), W> {
        match (self.codes, self.levels, self.scales) {
            (Codes::Four, Levels::Offset(8), Scales::Plain) => work.run::<Four<8>, Plain>(),
            (Codes::Four, Levels::Offset(0), Scales::Minimum) => work.run::<Four<0>, Minimum>(),
            (Codes::Four, Levels::Offset(0), Scales::MinimumSteps) => {
                work.run::<Four<0>, Steps<1, true>>();
            }
            (Codes::Four, Levels::Offset(0), Scales::MinimumHalfSteps) => {
                work.run::<Four<0>, Steps<2, true>>();
            }
            (Codes::Four, Levels::Offset(4), Scales::HalfSteps) => {
                work.run::<Four<4>, Steps<2, false>>();
            }
            (Codes::Four, Levels::Iq4, Scales::Plain) => work.run::<Iq4, Plain>(),
            (Codes::Four, Levels::Iq4, Scales::Steps) => work.run::<Iq4, Steps<1, false>>(),
            (Codes::Five, Levels::Offset(16), Scales::Plain) => work.run::<Five<16>, Plain>(),
            (Codes::Five, Levels::Offset(0), Scales::Minimum) => work.run::<Five<0>, Minimum>(),
            (Codes::Five, Levels::Offset(0), Scales::MinimumSteps) => {
                work.run::<Five<0>, Steps<1, true>>();
            }
            (Codes::Six, Levels::Offset(32), Scales::HalfSteps) => {
                work.run::<Six, Steps<2, false>>();
            }
            (Codes::Eight, Levels::Offset(128), Scales::Plain) => work.run::<Eight, Plain>(),
            _ => return Err(work),
        }
        Ok(())
    }
}
