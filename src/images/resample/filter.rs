//! The filters, by Pillow's names and numbers.

use std::f64::consts::PI;

/// How new pixels are made of old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// The one under the middle.
    Nearest,
    /// The mean.
    Box,
    /// A triangle.
    Bilinear,
    /// A raised cosine, about as sharp as `Bicubic` and as cheap as `Bilinear`.
    Hamming,
    /// A cubic spline with a = -0.5.
    Bicubic,
    /// Three lobes of a windowed sine.
    Lanczos,
}

/// A filter's curve and how far it reaches to either side of its middle.
pub(super) struct Kernel {
    pub(super) reach: f64,
    pub(super) weight: fn(f64) -> f64,
}

impl Filter {
    /// The filter of this number in Pillow, which is what configurations hold.
    pub(crate) fn from_number(number: usize) -> Option<Self> {
        Some(match number {
            0 => Self::Nearest,
            1 => Self::Lanczos,
            2 => Self::Bilinear,
            3 => Self::Bicubic,
            4 => Self::Box,
            5 => Self::Hamming,
            _ => return None,
        })
    }

    /// None where nothing is weighed.
    pub(super) fn kernel(self) -> Option<Kernel> {
        let (reach, weight): (f64, fn(f64) -> f64) = match self {
            Self::Nearest => return None,
            Self::Box => (0.5, flat),
            Self::Bilinear => (1.0, triangle),
            Self::Hamming => (1.0, hamming),
            Self::Bicubic => (2.0, cubic),
            Self::Lanczos => (3.0, lanczos),
        };
        Some(Kernel { reach, weight })
    }
}

fn flat(x: f64) -> f64 {
    if x > -0.5 && x <= 0.5 { 1.0 } else { 0.0 }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

fn hamming(x: f64) -> f64 {
    if x.abs() >= 1.0 {
        return 0.0;
    }
    // Pillow has these two in single precision.
    let [base, swing] = [0.54_f32, 0.46].map(f64::from);
    sinc(x) * (base + swing * (PI * x).cos())
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn lanczos(x: f64) -> f64 {
    if (-3.0..3.0).contains(&x) {
        sinc(x) * sinc(x / 3.0)
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    (PI * x).sin() / (PI * x)
}
