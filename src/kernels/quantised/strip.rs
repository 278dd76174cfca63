//! A strip's bytes: where each row's codes and scales lie.

use half::f16;

use crate::kernels::piece::{PIECE, Piece};

use super::form::{Codes, Form};

/// Rows of a strip.
pub(crate) const STRIP: usize = 8;
/// Bytes of a step: four columns of eight rows.
const STEP: usize = 4 * STRIP;

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

    /// Puts a row's piece into a strip that held zeros there; `None` if its scale is not finite.
    pub(crate) fn put(
        self,
        strip: &mut [u8],
        blocks: usize,
        lane: usize,
        block: usize,
        piece: &Piece,
    ) -> Option<()> {
        if !(piece.scale.is_finite() && piece.minimum.is_finite()) {
            return None;
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
            place[2 * lane..2 * lane + 2].copy_from_slice(&scale.to_le_bytes());
        }
        Some(())
    }

    /// The code of one column, and the scale and minimum of each half of the columns.
    pub(crate) fn read(self, strip: Strip<'_>, lane: usize, block: usize, out: &mut [f32; PIECE]) {
        let codes = &strip.codes[block * self.codes.bytes()..];
        let (scales, minimums) = self.scales_of(strip, lane, block);
        for (column, value) in out.iter_mut().enumerate() {
            let half = column / (PIECE / 2);
            let level = self.levels.level(code(self.codes, codes, lane, column));
            *value = scales[half] * level as f32 - minimums[half];
        }
    }

    /// Scale and minimum of each half of a row's block.
    pub(crate) fn scales_of(
        self,
        strip: Strip<'_>,
        lane: usize,
        block: usize,
    ) -> ([f32; 2], [f32; 2]) {
        let scales = self.scales;
        let shared = &strip.shared[block / scales.shared_by() * scales.shared_bytes()..];
        let half_float = |kind: usize| {
            let at = 2 * (kind * STRIP + lane);
            f16::from_le_bytes([shared[at], shared[at + 1]]).to_f32()
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

/// Adds a row's 32 codes to a block that held zeros in their places.
fn put_codes(form: Codes, block: &mut [u8], lane: usize, codes: &[u8; PIECE]) {
    let (steps, _) = codes.as_chunks::<4>();
    for (step, codes) in steps.iter().enumerate() {
        if form == Codes::Eight {
            block[step * STEP + 4 * lane..][..4].copy_from_slice(codes);
            continue;
        }
        let (low, high) = block.split_at_mut(4 * STEP);
        let low = &mut low[step % 4 * STEP + 4 * lane..][..4];
        for (place, code) in low.iter_mut().zip(codes) {
            *place |= (code & 15) << (step / 4 * 4);
        }
        let (plane, shift) = match form {
            Codes::Five => (0, step),
            Codes::Six => (step / 4, step % 4 * 2),
            Codes::Four | Codes::Eight => continue,
        };
        let high = &mut high[plane * STEP + 4 * lane..][..4];
        for (place, code) in high.iter_mut().zip(codes) {
            *place |= (code >> 4) << shift;
        }
    }
}

/// The code of one row and column in a block.
#[inline]
pub(crate) fn code(form: Codes, block: &[u8], lane: usize, column: usize) -> u8 {
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
