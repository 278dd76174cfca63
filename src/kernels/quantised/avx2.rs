//! The products with AVX2 and FMA.

use std::arch::x86_64::{__m128i, __m256, __m256i};
use std::marker::PhantomData;

use pulp::x86::V3;
use pulp::{NullaryFnOnce, cast};

use crate::kernels::piece::{IQ4_VALUES, Levels};

use super::Quantised;
use super::activations::Block;
use super::form::{Codes, Form, Scales};
use super::strip::{STRIP, Strip};

/// Steps of four columns in a block.
const STEPS: usize = 8;
/// Bytes of a register.
const REGISTER: usize = 32;

/// See [`Quantised::multiply`].
pub(super) fn multiply(
    simd: V3,
    matrix: &Quantised,
    x: &[Block],
    first: usize,
    rows: &mut [&mut [f32]],
) {
    let work = Work {
        simd,
        matrix,
        x,
        first,
        rows,
    };
    let Form {
        codes,
        scales,
        levels,
    } = matrix.form;
    match (codes, levels, scales) {
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
        (Codes::Eight, Levels::Signed, Scales::Plain) => work.run::<Eight, Plain>(),
        // No type has such a form.
        _ => super::portable::multiply(matrix, work.x, first, work.rows),
    }
}

/// What [`multiply`] is to do.
struct Work<'a, 'b> {
    simd: V3,
    matrix: &'a Quantised,
    x: &'a [Block],
    first: usize,
    rows: &'a mut [&'b mut [f32]],
}

impl Work<'_, '_> {
    fn run<C: CodeForm, S: ScaleForm>(self) {
        let simd = self.simd;
        simd.vectorize(Formed::<C, S>(self, PhantomData));
    }
}

/// Work on a matrix of a given form.
struct Formed<'a, 'b, C, S>(Work<'a, 'b>, PhantomData<(C, S)>);

impl<C: CodeForm, S: ScaleForm> NullaryFnOnce for Formed<'_, '_, C, S> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Work {
            simd,
            matrix,
            x,
            first,
            rows,
        } = self.0;
        let blocks = matrix.blocks;
        let width = rows.first().map_or(0, |row| row.len());
        for (index, from) in (0..width).step_by(STRIP).enumerate() {
            let strip = matrix.strip(first + index);
            let to = width.min(from + STRIP);
            let mut i = 0;
            while rows.len() - i >= 4 {
                let sums = tile::<C, S, 4>(simd, strip, &x[i * blocks..], blocks);
                store(sums, &mut rows[i..], from, to);
                i += 4;
            }
            if rows.len() - i >= 2 {
                let sums = tile::<C, S, 2>(simd, strip, &x[i * blocks..], blocks);
                store(sums, &mut rows[i..], from, to);
                i += 2;
            }
            if rows.len() > i {
                let sums = tile::<C, S, 1>(simd, strip, &x[i * blocks..], blocks);
                store(sums, &mut rows[i..], from, to);
            }
        }
    }
}

#[inline(always)]
fn store<const M: usize>(sums: [__m256; M], rows: &mut [&mut [f32]], from: usize, to: usize) {
    for (row, sum) in rows.iter_mut().zip(sums) {
        let sum: [f32; STRIP] = cast(sum);
        row[from..to].copy_from_slice(&sum[..to - from]);
    }
}

/// The products of `M` rows of activations with a strip's eight rows.
#[inline(always)]
fn tile<C: CodeForm, S: ScaleForm, const M: usize>(
    simd: V3,
    strip: Strip<'_>,
    x: &[Block],
    blocks: usize,
) -> [__m256; M] {
    let zero = simd.avx._mm256_setzero_si256();
    let ones = simd.avx._mm256_set1_epi16(1);
    let mut x_rows: [&[Block]; M] = [&[]; M];
    for i in 0..M {
        x_rows[i] = &x[i * blocks..][..blocks];
    }
    let mut shared = strip.shared.chunks_exact(S::FORM.shared_bytes());
    let mut sums = [simd.avx._mm256_setzero_ps(); M];
    let mut base = S::Base::default();
    let codes = strip.codes.chunks_exact(C::FORM.bytes());
    for (b, codes) in (0..blocks).zip(codes) {
        if b % S::FORM.shared_by() == 0 {
            base = S::base(simd, shared.next().unwrap_or_default());
        }
        let steps = &strip.steps[b * S::FORM.step_bytes()..][..S::FORM.step_bytes()];
        let (codes, _) = codes.as_chunks::<REGISTER>();
        for part in 0..S::FORM.parts() {
            let (scale, minimum) = S::part(simd, base, steps, part);
            let steps_of_part = STEPS / S::FORM.parts();
            let mut wide = [zero; M];
            for group in 0..steps_of_part.div_ceil(C::GROUP) {
                let mut narrow = [zero; M];
                for place in 0..C::GROUP.min(steps_of_part) {
                    let step = part * steps_of_part + group * C::GROUP + place;
                    let level = C::step(simd, codes, step);
                    for i in 0..M {
                        let x = simd.avx._mm256_set1_epi32(x_rows[i][b].codes[step]);
                        let pairs = C::multiply(simd, level, x);
                        narrow[i] = simd.avx2._mm256_add_epi16(narrow[i], pairs);
                    }
                }
                for i in 0..M {
                    let fours = simd.avx2._mm256_madd_epi16(narrow[i], ones);
                    wide[i] = simd.avx2._mm256_add_epi32(wide[i], fours);
                }
            }
            for i in 0..M {
                let x = &x_rows[i][b];
                let sum = simd.avx._mm256_cvtepi32_ps(wide[i]);
                let sum = simd
                    .avx
                    ._mm256_mul_ps(sum, simd.avx._mm256_set1_ps(x.scale));
                sums[i] = simd.fma._mm256_fmadd_ps(sum, scale, sums[i]);
                if C::OFFSET != 0 || S::FORM.minimums() {
                    let mut less = minimum;
                    if !S::FORM.minimums() {
                        let offset = simd.avx._mm256_set1_ps(f32::from(C::OFFSET));
                        less = simd.avx._mm256_mul_ps(scale, offset);
                    }
                    let x_sum = match S::FORM.parts() {
                        1 => x.sum,
                        _ => x.half_sums[part],
                    };
                    let x_sum = simd.avx._mm256_set1_ps(x_sum);
                    sums[i] = simd.fma._mm256_fnmadd_ps(less, x_sum, sums[i]);
                }
            }
        }
    }
    sums
}

/// How levels are read out of a block, and how far their products add up in 16 bits.
trait CodeForm {
    const FORM: Codes;
    /// What is to be taken off each code; none where there are minimums.
    const OFFSET: u8 = 0;
    /// How many steps' products can be added before they are widened.
    const GROUP: usize;

    /// The levels of four columns of each of the eight rows, before the offset.
    fn step(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i;

    /// The sums of neighbours' products.
    #[inline(always)]
    fn multiply(simd: V3, level: __m256i, x: __m256i) -> __m256i {
        simd.avx2._mm256_maddubs_epi16(level, x)
    }
}

/// As [`CodeForm::multiply`], for signed levels: no product of neighbours leaves 16 bits, since
/// no activation is −128.
#[inline(always)]
fn multiply_signed(simd: V3, level: __m256i, x: __m256i) -> __m256i {
    let x = simd.avx2._mm256_sign_epi8(x, level);
    simd.avx2
        ._mm256_maddubs_epi16(simd.avx2._mm256_abs_epi8(level), x)
}

#[inline(always)]
fn nibble(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
    let mut pairs: __m256i = cast(block[step % 4]);
    if step >= 4 {
        pairs = simd.avx2._mm256_srli_epi16::<4>(pairs);
    }
    simd.avx2
        ._mm256_and_si256(pairs, simd.avx._mm256_set1_epi8(15))
}

/// Four bits, less `OFFSET`.
struct Four<const OFFSET: u8>;

impl<const OFFSET: u8> CodeForm for Four<OFFSET> {
    const FORM: Codes = Codes::Four;
    const OFFSET: u8 = OFFSET;
    // 8 · 2 · 15 · 127 < 2¹⁵
    const GROUP: usize = 8;

    #[inline(always)]
    fn step(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
        nibble(simd, block, step)
    }
}

/// Five bits, less `OFFSET`.
struct Five<const OFFSET: u8>;

impl<const OFFSET: u8> CodeForm for Five<OFFSET> {
    const FORM: Codes = Codes::Five;
    const OFFSET: u8 = OFFSET;
    // 4 · 2 · 31 · 127 < 2¹⁵
    const GROUP: usize = 4;

    #[inline(always)]
    fn step(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
        let plane: __m256i = cast(block[4]);
        let high = match step {
            0 => simd.avx2._mm256_slli_epi16::<4>(plane),
            1 => simd.avx2._mm256_slli_epi16::<3>(plane),
            2 => simd.avx2._mm256_slli_epi16::<2>(plane),
            3 => simd.avx2._mm256_slli_epi16::<1>(plane),
            4 => plane,
            5 => simd.avx2._mm256_srli_epi16::<1>(plane),
            6 => simd.avx2._mm256_srli_epi16::<2>(plane),
            _ => simd.avx2._mm256_srli_epi16::<3>(plane),
        };
        let high = simd
            .avx2
            ._mm256_and_si256(high, simd.avx._mm256_set1_epi8(16));
        simd.avx2._mm256_or_si256(nibble(simd, block, step), high)
    }
}

/// Six bits, less 32.
struct Six;

impl CodeForm for Six {
    const FORM: Codes = Codes::Six;
    const OFFSET: u8 = 32;
    // 2 · 2 · 63 · 127 < 2¹⁵
    const GROUP: usize = 2;

    #[inline(always)]
    fn step(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
        let plane: __m256i = cast(block[4 + step / 4]);
        let high = match step % 4 {
            0 => simd.avx2._mm256_slli_epi16::<4>(plane),
            1 => simd.avx2._mm256_slli_epi16::<2>(plane),
            2 => plane,
            _ => simd.avx2._mm256_srli_epi16::<2>(plane),
        };
        let high = simd
            .avx2
            ._mm256_and_si256(high, simd.avx._mm256_set1_epi8(48));
        simd.avx2._mm256_or_si256(nibble(simd, block, step), high)
    }
}

/// Signed bytes.
struct Eight;

impl CodeForm for Eight {
    const FORM: Codes = Codes::Eight;
    const GROUP: usize = 1;

    #[inline(always)]
    fn step(_simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
        cast(block[step])
    }

    #[inline(always)]
    fn multiply(simd: V3, level: __m256i, x: __m256i) -> __m256i {
        multiply_signed(simd, level, x)
    }
}

/// Places in a table of signed bytes.
struct Iq4;

impl CodeForm for Iq4 {
    const FORM: Codes = Codes::Four;
    const GROUP: usize = 1;

    #[inline(always)]
    fn step(simd: V3, block: &[[u8; REGISTER]], step: usize) -> __m256i {
        let table: __m128i = cast(IQ4_VALUES);
        let table = simd.avx2._mm256_broadcastsi128_si256(table);
        simd.avx2
            ._mm256_shuffle_epi8(table, nibble(simd, block, step))
    }

    #[inline(always)]
    fn multiply(simd: V3, level: __m256i, x: __m256i) -> __m256i {
        multiply_signed(simd, level, x)
    }
}

/// How the scales of eight rows are read.
trait ScaleForm {
    const FORM: Scales;
    /// What is read once for all the blocks that share it.
    type Base: Copy + Default;

    fn base(simd: V3, shared: &[u8]) -> Self::Base;

    /// Scales and minimums of one part of a block; the latter count for nothing where the form
    /// has none.
    fn part(simd: V3, base: Self::Base, steps: &[u8], part: usize) -> (__m256, __m256);
}

/// Eight 16-bit floats as they are.
type Halves = [u8; 2 * STRIP];

#[inline(always)]
fn halves(bytes: &[u8], index: usize) -> Halves {
    bytes.as_chunks::<{ 2 * STRIP }>().0[index]
}

/// Widens finite 16-bit floats: their bits are moved into place and the exponent's bias made up
/// for by a multiplication, which is right for the subnormal ones too.
#[inline(always)]
fn widen(simd: V3, halves: Halves) -> __m256 {
    let bits = simd.avx2._mm256_cvtepi16_epi32(cast(halves));
    let bits = simd.avx2._mm256_slli_epi32::<13>(bits);
    let sign_and_rest = simd.avx._mm256_set1_epi32(0x8fff_e000_u32.cast_signed());
    let bits = simd.avx2._mm256_and_si256(bits, sign_and_rest);
    // 2¹¹²
    let bias = simd.avx._mm256_set1_ps(f32::from_bits(0x7780_0000));
    simd.avx._mm256_mul_ps(cast(bits), bias)
}

/// Eight signed bytes as floats.
#[inline(always)]
fn steps_of(simd: V3, steps: &[u8], index: usize) -> __m256 {
    let steps = i64::from_le_bytes(steps.as_chunks::<STRIP>().0[index]);
    let steps = simd.sse2._mm_set_epi64x(0, steps);
    simd.avx
        ._mm256_cvtepi32_ps(simd.avx2._mm256_cvtepi8_epi32(steps))
}

/// [`Scales::Plain`].
struct Plain;

impl ScaleForm for Plain {
    const FORM: Scales = Scales::Plain;
    type Base = Halves;

    #[inline(always)]
    fn base(_simd: V3, shared: &[u8]) -> Halves {
        halves(shared, 0)
    }

    #[inline(always)]
    fn part(simd: V3, base: Halves, _steps: &[u8], _part: usize) -> (__m256, __m256) {
        (widen(simd, base), simd.avx._mm256_setzero_ps())
    }
}

/// [`Scales::Minimum`].
struct Minimum;

impl ScaleForm for Minimum {
    const FORM: Scales = Scales::Minimum;
    type Base = [Halves; 2];

    #[inline(always)]
    fn base(_simd: V3, shared: &[u8]) -> [Halves; 2] {
        [halves(shared, 0), halves(shared, 1)]
    }

    #[inline(always)]
    fn part(simd: V3, base: [Halves; 2], _steps: &[u8], _part: usize) -> (__m256, __m256) {
        (widen(simd, base[0]), widen(simd, base[1]))
    }
}

/// The forms with steps: one or two parts a block, with or without minimums.
struct Steps<const PARTS: usize, const MINIMUMS: bool>;

impl<const PARTS: usize, const MINIMUMS: bool> ScaleForm for Steps<PARTS, MINIMUMS> {
    const FORM: Scales = match (PARTS, MINIMUMS) {
        (1, false) => Scales::Steps,
        (1, true) => Scales::MinimumSteps,
        (_, false) => Scales::HalfSteps,
        (_, true) => Scales::MinimumHalfSteps,
    };
    type Base = [[f32; STRIP]; 2];

    #[inline(always)]
    fn base(simd: V3, shared: &[u8]) -> Self::Base {
        let scale = cast(widen(simd, halves(shared, 0)));
        if MINIMUMS {
            [scale, cast(widen(simd, halves(shared, 1)))]
        } else {
            [scale, [0.0; STRIP]]
        }
    }

    #[inline(always)]
    fn part(simd: V3, base: Self::Base, steps: &[u8], part: usize) -> (__m256, __m256) {
        let scale = steps_of(simd, steps, part);
        let scale = simd.avx._mm256_mul_ps(cast(base[0]), scale);
        if !MINIMUMS {
            return (scale, simd.avx._mm256_setzero_ps());
        }
        let minimum = steps_of(simd, steps, PARTS + part);
        (scale, simd.avx._mm256_mul_ps(cast(base[1]), minimum))
    }
}
