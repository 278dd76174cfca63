//! A strip's bytes: where each row's codes and scales lie.

use crate::kernels::halves::Raise;
use crate::kernels::piece::{PIECE, Piece, WORDS};

use super::form::{Codes, Form};

/// Rows of a strip.
pub(crate) const STRIP: usize = 8;
/// Bytes of a step: four columns of eight rows.
pub(crate) const STEP: usize = 4 * STRIP;

/// A strip's three parts, each ordered by blocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strip<'a> {
    /// What [`Codes`] describes.
    pub(crate) codes: &'a [u8],
    /// The bytes that scales and minimums of a block are multiplied by; may be none.
    pub(crate) steps: &'a [u8],
    /// The 16-bit scales and minimums.
    pub(crate) shared: &'a [u8],
}

/// Why a piece cannot be put into a strip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its scale or minimum is infinite or not a number.
    NotFinite,
    /// Its scale or minimum cannot be raised.
    TooLarge,
}

impl Form {
    /// Where steps and 16-bit scales begin in a strip.
    fn sections(self, blocks: usize) -> (usize, usize) {
        let steps = blocks * self.codes.bytes();
        (steps, steps + blocks * self.scales.step_bytes())
    }

    /// The parts of a strip's bytes.
    pub(crate) fn view(self, bytes: &[u8], blocks: usize) -> Strip<'_> {
        let (steps, shared) = self.sections(blocks);
        Strip {
            codes: &bytes[..steps],
            steps: &bytes[steps..shared],
            shared: &bytes[shared..],
        }
    }

    /// Puts a row's piece into a strip that held zeros there.
    #[inline(always)]
    pub(crate) fn put(
        self,
        raise: Raise,
        strip: &mut [u8],
        blocks: usize,
        lane: usize,
        block: usize,
        piece: &Piece,
    ) -> Result<(), Refusal> {
        if !(piece.scale.is_finite() && piece.minimum.is_finite()) {
            return Err(Refusal::NotFinite);
        }
        let (steps_at, shared_at) = self.sections(blocks);
        let size = self.codes.bytes();
        let codes = &mut strip[block * size..(block + 1) * size];
        put_codes(self.codes, codes, lane, &piece.codes);

        let parts = self.scales.parts();
        let size = self.scales.step_bytes();
        let steps = &mut strip[steps_at + block * size..][..size];
        let factors = piece.scales[..parts].iter().chain(&piece.minimums[..parts]);
        for (place, factor) in steps.chunks_exact_mut(STRIP).zip(factors) {
            place[lane] = factor.cast_unsigned();
        }

        let size = self.scales.shared_bytes();
        let shared = &mut strip[shared_at + block / self.scales.shared_by() * size..][..size];
        // A block's own minimum is what is added in the file, and taken off here.
        let minimum = match self.scales.shared_by() {
            1 => -piece.minimum,
            _ => piece.minimum,
        };
        let scales = [piece.scale, minimum];
        for (place, scale) in shared.chunks_exact_mut(2 * STRIP).zip(scales) {
            let stored = raise.store(scale).ok_or(Refusal::TooLarge)?;
            place[2 * lane..2 * lane + 2].copy_from_slice(&stored.to_le_bytes());
        }
        Ok(())
    }

    /// The values of a row's block.
    pub(crate) fn read(
        self,
        raise: Raise,
        strip: Strip<'_>,
        lane: usize,
        block: usize,
        out: &mut [f32; PIECE],
    ) {
        let codes = &strip.codes[block * self.codes.bytes()..];
        let (scales, minimums) = self.scales_of(raise, strip, lane, block);
        for (column, value) in out.iter_mut().enumerate() {
            let half = column / (PIECE / 2);
            let level = self.levels.level(code(self.codes, codes, lane, column));
            *value = scales[half] * level as f32 - minimums[half];
        }
    }

    /// Scale and minimum of each half of a row's block.
    pub(crate) fn scales_of(
        self,
        raise: Raise,
        strip: Strip<'_>,
        lane: usize,
        block: usize,
    ) -> ([f32; 2], [f32; 2]) {
        let scales = self.scales;
        let shared = &strip.shared[block / scales.shared_by() * scales.shared_bytes()..];
        let half_float = |kind: usize| {
            let at = 2 * (kind * STRIP + lane);
            raise.read(u16::from_le_bytes([shared[at], shared[at + 1]]))
        };
        let scale = half_float(0);
        let minimum = if scales.minimums() {
            half_float(1)
        } else {
            0.0
        };
        if scales.shared_by() == 1 {
            return ([scale; 2], [minimum; 2]);
        }
        let parts = scales.parts();
        let steps = &strip.steps[block * scales.step_bytes()..];
        let step = |kind: usize, half: usize| {
            let place = kind * parts + half.min(parts - 1);
            f32::from(steps[place * STRIP + lane].cast_signed())
        };
        let minimum_of = |half| match scales.minimums() {
            true => minimum * step(1, half),
            false => 0.0,
        };
        (
            [scale * step(0, 0), scale * step(0, 1)],
            [minimum_of(0), minimum_of(1)],
        )
    }
}

/// Adds a row's 32 codes to a block that held zeros in their places, a step of four at a time.
#[inline(always)]
fn put_codes(form: Codes, block: &mut [u8], lane: usize, codes: &[u32; WORDS]) {
    let (places, _) = block.as_chunks_mut::<4>();
    let mut add = |register: usize, word: u32| {
        let place = &mut places[register * STRIP + lane];
        *place = (u32::from_le_bytes(*place) | word).to_le_bytes();
    };
    for (step, word) in codes.iter().copied().enumerate() {
        if form == Codes::Eight {
            add(step, word);
            continue;
        }
        add(step % 4, (word & 0x0f0f_0f0f) << (step / 4 * 4));
        let high = (word >> 4) & 0x0f0f_0f0f;
        match form {
            Codes::Five => add(4, high << step),
            Codes::Six => add(4 + step / 4, high << (step % 4 * 2)),
            Codes::Four | Codes::Eight => {}
        }
    }
}

/// The code of one row and column in a block.
#[inline]
fn code(form: Codes, block: &[u8], lane: usize, column: usize) -> u8 {
    let step = column / 4;
    let place = 4 * lane + column % 4;
    if form == Codes::Eight {
        return block[step * STEP + place];
    }
    let low = (block[step % 4 * STEP + place] >> (step / 4 * 4)) & 15;
    let high = &block[4 * STEP..];
    match form {
        Codes::Five => low | ((high[place] >> step) & 1) << 4,
        Codes::Six => low | ((high[step / 4 * STEP + place] >> (step % 4 * 2)) & 3) << 4,
        Codes::Four | Codes::Eight => low,
    }
}
