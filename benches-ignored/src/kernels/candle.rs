//! candle's products with the same weights.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Module, Tensor};

use super::{COLUMNS, Contender};
use crate::Failure;

/// A quantised matrix of candle.
pub struct Candle(QMatMul);

impl Candle {
    /// None if candle does not have the type.
    ///
    /// # Errors
    /// Weights that candle refuses.
    pub fn new(
        id: u32,
        outputs: usize,
        columns: usize,
        bytes: &[u8],
    ) -> Result<Option<Self>, Failure> {
        let kind = match id {
            0 => GgmlDType::F32,
            1 => GgmlDType::F16,
            2 => GgmlDType::Q4_0,
            3 => GgmlDType::Q4_1,
            6 => GgmlDType::Q5_0,
            7 => GgmlDType::Q5_1,
            8 => GgmlDType::Q8_0,
            10 => GgmlDType::Q2K,
            11 => GgmlDType::Q3K,
            12 => GgmlDType::Q4K,
            13 => GgmlDType::Q5K,
            14 => GgmlDType::Q6K,
            30 => GgmlDType::BF16,
            _ => return Ok(None),
        };
        let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, kind)?;
        let tensor = QTensor::new(storage, (outputs, columns))?;
        Ok(Some(Self(QMatMul::from_qtensor(tensor)?)))
    }
}

impl Contender for Candle {
    fn multiply(&mut self, x: &[f32], m: usize) -> Result<(), Failure> {
        let x = Tensor::from_slice(x, (m, COLUMNS), &Device::Cpu)?;
        self.0.forward(&x)?;
        Ok(())
    }
}
