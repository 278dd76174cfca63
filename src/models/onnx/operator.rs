//! What a node does.

use candle_core::cpu::erf::erf_f32;

use super::array::OnnxArray;
use super::attributes::{Attributes, Complaint};
use super::messages::Node;
use super::shapes;
use super::window::{self, Pool, Window};

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

    /// Runs it. The inputs are in the node's order, those left out as `None`.
    pub(super) fn run(&self, mut inputs: Vec<Option<OnnxArray>>) -> Result<OnnxArray, Complaint> {
        let missing = |place: usize| format!("has no input {place}");
        let take = |inputs: &mut Vec<Option<OnnxArray>>, place: usize| {
            let input = inputs.get_mut(place).and_then(Option::take);
            input.ok_or_else(|| missing(place))
        };
        let two = |inputs: &mut Vec<Option<OnnxArray>>, operation: fn(f32, f32) -> f32| {
            shapes::broadcast(&take(inputs, 0)?, &take(inputs, 1)?, operation)
        };
        let inputs = &mut inputs;
        match self {
            Self::Add => return two(inputs, |left, right| left + right),
            Self::Subtract => return two(inputs, |left, right| left - right),
            Self::Multiply => return two(inputs, |left, right| left * right),
            Self::Divide => return two(inputs, |left, right| left / right),
            Self::Concatenate(axis) => {
                let all: Vec<&OnnxArray> = inputs.iter().flatten().collect();
                return shapes::concatenate(&all, *axis);
            }
            _ => {}
        }
        let input = take(inputs, 0)?;
        match self {
            Self::Relu => Ok(input.map(|value| value.max(0.0))),
            Self::Sigmoid => Ok(input.map(|value| 1.0 / (1.0 + (-value).exp()))),
            Self::HardSigmoid { alpha, beta } => {
                let (alpha, beta) = (*alpha, *beta);
                Ok(input.map(|value| (alpha * value + beta).clamp(0.0, 1.0)))
            }
            Self::Erf => Ok(input.map(erf_f32)),
            Self::Convolution { window, groups } => {
                let weight = take(inputs, 1)?;
                let bias = take(inputs, 2).ok();
                window::convolve(window, *groups, &input, &weight, bias.as_ref())
            }
            Self::Spread(window) => {
                if inputs.len() > 2 {
                    return Err("a bias is not supported".to_owned());
                }
                window::spread(window, &input, &take(inputs, 1)?)
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
            Self::MatrixProduct => shapes::matrix_product(&input, &take(inputs, 1)?),
            Self::Softmax(axis) => shapes::softmax(&input, *axis),
            _ => Ok(input),
        }
    }
}
