//! 16-bit floats raised out of the range where processors are slow.
//!
//! The scales of quantised weights, and some weights themselves, are so small that they are
//! subnormal as 16-bit floats, and so are the numbers that widening them passes through; a
//! multiplication of such can take a hundred times as long as another. So they are stored
//! 2¹⁰ times as large, which is exact, and the widening makes up for it.

use half::f16;

/// How much larger 16-bit floats are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raise {
    /// 2¹⁰ times: all are finite, and none that is not zero is subnormal.
    Full,
    /// Not at all, for matrices that hold values which would not fit or are not finite.
    None,
}

impl Raise {
    /// The value as it is stored; `None` if it does not fit.
    #[inline]
    pub(crate) fn store(self, value: f16) -> Option<u16> {
        let bits = value.to_bits();
        let exponent = bits >> 10 & 31;
        match (self, exponent) {
            (Self::None, _) => Some(bits),
            (Self::Full, 0) => Some(f16::from_f32(value.to_f32() * 1024.0).to_bits()),
            (Self::Full, 1..=20) => Some(bits + (10 << 10)),
            (Self::Full, _) => None,
        }
    }

    /// The value that was stored.
    #[inline(always)]
    pub(crate) fn read(self, bits: u16) -> f32 {
        match self {
            Self::Full => widen_finite(bits, self.bias()),
            Self::None => widen(bits, self.bias()),
        }
    }

    /// What a stored value has to be multiplied with when its bits have been moved into the places
    /// that a 32-bit float has for them: the difference of the exponents' biases.
    #[inline(always)]
    pub(crate) fn bias(self) -> f32 {
        let exponent = match self {
            Self::Full => 102,
            Self::None => 112,
        };
        f32::from_bits((127 + exponent) << 23)
    }
}

/// A finite stored value with its [`Raise::bias`]: the bits are moved into place and multiplied.
#[inline(always)]
pub(crate) fn widen_finite(bits: u16, bias: f32) -> f32 {
    let bits = i32::from(bits.cast_signed()) << 13;
    f32::from_bits(bits.cast_unsigned() & 0x8fff_e000) * bias
}

/// As [`widen_finite`]; infinities and what is not a number are put right after it, without
/// branches.
#[inline(always)]
pub(crate) fn widen(bits: u16, bias: f32) -> f32 {
    let bits = u32::from(bits);
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * bias;
    let special = u32::from(bits & 0x7c00 == 0x7c00) * 0x7f80_0000;
    f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
}
