//! What a node does.

use super::array::OnnxArray;
use super::attributes::{Attributes, Complaint};
use super::convolve;
use super::cores::Cores;
use super::messages::Node;
use super::shapes;
use super::window::{self, Pool, Window};
use crate::kernels::error_function;

/// An operator with its settings, checked when the file is read.
#[derive(Debug, Clone)]
pub(super) enum Operator {
    Same,
    Add,
    Subtract,
    Multiply,
    Divide,
    Relu,
    Sigmoid,
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    Erf,
    Convolution {
        window: Window,
        groups: usize,
    },
    Spread(Window),
    Pool {
        window: Window,
        kernel: [usize; 2],
        pool: Pool,
    },
    PlaneMeans,
    Enlarge,
    Concatenate(i64),
    Normalise {
        epsilon: f32,
    },
    Squeeze(Vec<i64>),
    Unsqueeze(Vec<i64>),
    Transpose(Vec<i64>),
    MatrixProduct,
    Softmax(i64),
}

/// Why a node is not taken.
pub(super) enum Refusal {
    Unknown,
    Setting(Complaint),
}

impl From<Complaint> for Refusal {
    fn from(complaint: Complaint) -> Self {
        Self::Setting(complaint)
    }
}

impl Operator {
    pub(super) fn read(node: &Node) -> Result<Self, Refusal> {
        let attributes = Attributes::of(node);
        let axes = || {
            let axes = attributes.ints("axes").ok_or("axes are not given")?;
            Ok::<_, Complaint>(axes.to_vec())
        };
        Ok(match node.operator.as_str() {
            "Identity" => Self::Same,
            "Cast" => {
                attributes.only("to", super::FLOAT.into())?;
                Self::Same
            }
            "Add" => Self::Add,
            "Sub" => Self::Subtract,
            "Mul" => Self::Multiply,
            "Div" => Self::Divide,
            "Relu" => Self::Relu,
            "Sigmoid" => Self::Sigmoid,
            "HardSigmoid" => Self::HardSigmoid {
                alpha: attributes.float("alpha", 0.2),
                beta: attributes.float("beta", 0.5),
            },
            "Erf" => Self::Erf,
            "Conv" => Self::Convolution {
                window: Window::read(&attributes)?,
                groups: usize::try_from(attributes.int("group", 1))
                    .map_err(|_| Complaint::from("group is negative"))?,
            },
            "ConvTranspose" => {
                attributes.only("group", 1)?;
                if attributes
                    .ints("output_padding")
                    .is_some_and(|pads| pads.iter().any(|&pad| pad != 0))
                {
                    return Err(Complaint::from("output_padding is not supported").into());
                }
                Self::Spread(Window::read(&attributes)?)
            }
            "MaxPool" | "AveragePool" => {
                attributes.only("ceil_mode", 0)?;
                attributes.only("count_include_pad", 0)?;
                attributes.only("storage_order", 0)?;
                Self::Pool {
                    window: Window::read(&attributes)?,
                    kernel: attributes.sizes("kernel_shape", 1, [0; 2])?,
                    pool: if node.operator == "MaxPool" {
                        Pool::Largest
                    } else {
                        Pool::Mean
                    },
                }
            }
            "GlobalAveragePool" => Self::PlaneMeans,
            "ReduceMean" => {
                attributes.only("keepdims", 1)?;
                if axes()? != [2, 3] {
                    return Err(Complaint::from("only axes 2 and 3 are supported").into());
                }
                Self::PlaneMeans
            }
            "Resize" => {
                attributes.only_word("mode", "nearest", "nearest")?;
                let how = "coordinate_transformation_mode";
                attributes.only_word(how, "half_pixel", "asymmetric")?;
                attributes.only_word("nearest_mode", "round_prefer_floor", "floor")?;
                Self::Enlarge
            }
            "Concat" => Self::Concatenate(attributes.int("axis", 0)),
            "BatchNormalization" => {
                attributes.only("training_mode", 0)?;
                Self::Normalise {
                    epsilon: attributes.float("epsilon", 1e-5),
                }
            }
            "Squeeze" => Self::Squeeze(axes()?),
            "Unsqueeze" => Self::Unsqueeze(axes()?),
            "Transpose" => Self::Transpose(attributes.ints("perm").unwrap_or_default().to_vec()),
            "MatMul" => Self::MatrixProduct,
            "Softmax" => Self::Softmax(attributes.int("axis", -1)),
            _ => return Err(Refusal::Unknown),
        })
    }

    /// How many operations it takes for these inputs, roughly; what it gives is not counted.
    pub(super) fn work(&self, inputs: &[Option<OnnxArray>]) -> u64 {
        let length = |place: usize| {
            let array = inputs.get(place).and_then(Option::as_ref);
            array.map_or(0, |array| array.values().len() as u64)
        };
        let shape = |place: usize| {
            let array = inputs.get(place).and_then(Option::as_ref);
            array.map_or(&[][..], OnnxArray::shape)
        };
        let read: u64 = (0..inputs.len()).map(length).sum();
        let more = match self {
            Self::MatrixProduct => {
                let columns = shape(1).last().copied().unwrap_or(0);
                length(0).saturating_mul(columns as u64)
            }
            Self::Convolution { window, .. } => match (shape(0), shape(1)) {
                (&[batch, _, height, width], &[.., rows, columns]) => {
                    let outputs = window.outputs([height, width], [rows, columns]);
                    outputs
                        .saturating_mul(length(1))
                        .saturating_mul(batch as u64)
                }
                _ => 0,
            },
            Self::Spread(_) => {
                let channels = shape(1).first().copied().unwrap_or(1).max(1);
                length(0).saturating_mul(length(1) / channels as u64)
            }
            Self::Pool { window, kernel, .. } => match shape(0) {
                &[batch, channels, height, width] => {
                    let outputs = window.outputs([height, width], *kernel);
                    let planes = (batch as u64).saturating_mul(channels as u64);
                    let taps = (kernel[0] as u64).saturating_mul(kernel[1] as u64);
                    outputs.saturating_mul(planes).saturating_mul(taps)
                }
                _ => 0,
            },
            _ => 0,
        };
        read.saturating_add(more)
    }

    /// Runs it. The inputs are in the node's order, those left out as `None`.
    pub(super) fn run(
        &self,
        cores: Cores,
        mut inputs: Vec<Option<OnnxArray>>,
    ) -> Result<OnnxArray, Complaint> {
        let missing = |place: usize| format!("has no input {place}");
        let take = |inputs: &mut Vec<Option<OnnxArray>>, place: usize| {
            let input = inputs.get_mut(place).and_then(Option::take);
            input.ok_or_else(|| missing(place))
        };
        let inputs = &mut inputs;
        match self {
            Self::Add => {
                let (left, right) = (take(inputs, 0)?, take(inputs, 1)?);
                return shapes::broadcast(left, &right, |left, right| left + right);
            }
            Self::Subtract => {
                let (left, right) = (take(inputs, 0)?, take(inputs, 1)?);
                return shapes::broadcast(left, &right, |left, right| left - right);
            }
            Self::Multiply => {
                let (left, right) = (take(inputs, 0)?, take(inputs, 1)?);
                return shapes::broadcast(left, &right, |left, right| left * right);
            }
            Self::Divide => {
                let (left, right) = (take(inputs, 0)?, take(inputs, 1)?);
                return shapes::broadcast(left, &right, |left, right| left / right);
            }
            Self::Concatenate(axis) => {
                let all: Vec<&OnnxArray> = inputs.iter().flatten().collect();
                return shapes::concatenate(&all, *axis);
            }
            _ => {}
        }
        let mut input = take(inputs, 0)?;
        match self {
            Self::Relu => Ok(input.map(|value| value.max(0.0))),
            Self::Sigmoid => Ok(input.map(|value| 1.0 / (1.0 + (-value).exp()))),
            Self::HardSigmoid { alpha, beta } => {
                let (alpha, beta) = (*alpha, *beta);
                Ok(input.map(|value| (alpha * value + beta).clamp(0.0, 1.0)))
            }
            Self::Erf => {
                cores.share(input.values_mut(), 1, 8, |_, values| {
                    error_function(cores.cpu, values);
                });
                Ok(input)
            }
            Self::Convolution { window, groups } => {
                let weight = take(inputs, 1)?;
                let bias = take(inputs, 2).ok();
                convolve::convolve(cores, window, *groups, &input, &weight, bias.as_ref())
            }
            Self::Spread(window) => {
                if inputs.len() > 2 {
                    return Err("a bias is not supported".to_owned());
                }
                convolve::spread(cores, window, &input, &take(inputs, 1)?)
            }
            Self::Pool {
                window,
                kernel,
                pool,
            } => window::pool(window, *kernel, *pool, &input),
            Self::PlaneMeans => shapes::plane_means(&input),
            // The input in between is a region, which this way of resizing does not look at.
            Self::Enlarge => shapes::enlarge(&input, take(inputs, 2)?.values()),
            Self::Normalise { epsilon } => {
                let parameters = [1, 2, 3, 4].map(|place| take(inputs, place));
                let [scale, bias, mean, variance] = parameters;
                let parameters = [&scale?, &bias?, &mean?, &variance?];
                shapes::normalise(&input, parameters, *epsilon)
            }
            Self::Squeeze(axes) => shapes::squeeze(&input, axes),
            Self::Unsqueeze(axes) => shapes::unsqueeze(&input, axes),
            Self::Transpose(order) => shapes::transpose(&input, order),
            Self::MatrixProduct => shapes::matrix_product(cores, &input, &take(inputs, 1)?),
            Self::Softmax(axis) => shapes::softmax(&input, *axis),
            _ => Ok(input),
        }
    }
}
