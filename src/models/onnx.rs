//! Models that ship as ONNX files: a reader, and an executor of the operators that small
//! convolutional networks use.
//!
//! ```no_run
//! use modelpool::models::{OnnxArray, OnnxModel};
//! # fn main() -> Result<(), modelpool::ModelError> {
//! let model = OnnxModel::open("models/detector.onnx")?;
//! let grey = OnnxArray::new(vec![1, 3, 64, 64], vec![0.5; 3 * 64 * 64]);
//! let outputs = model.run(&grey.into_iter().collect::<Vec<_>>())?;
//! println!("{:?}", outputs[0].shape());
//! # Ok(()) }
//! ```

mod array;
mod attributes;
mod convolve;
mod cores;
mod messages;
mod operator;
mod shapes;
mod window;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::{Path, PathBuf};

use prost::Message;

pub use array::OnnxArray;

use super::{ModelError, files};
use crate::kernels::Team;
use cores::Cores;
use operator::{Operator, Refusal};

const FORMAT: &str = "ONNX file";
/// ONNX's number for elements that are 32-bit floats, and for bytes with and without a sign.
const FLOAT: i32 = 1;
const UNSIGNED_BYTE: i32 = 2;
const SIGNED_BYTE: i32 = 3;

/// The operator sets whose meaning the executor has.
const OPERATOR_SETS: std::ops::RangeInclusive<i64> = 11..=12;

/// The most nodes of a graph.
const MAX_NODES: usize = 100_000;

/// The most elements that are computed of constants when a file is read.
const MAX_COMPUTED: usize = 1 << 24;

/// The most operations that this may take.
const MAX_WORK: u64 = 1 << 30;

/// A model in an ONNX file, ready to run. Everything that it cannot do is found when it is read.
///
/// It computes in `f32`. Operators: element-wise arithmetic with broadcasting, `Relu`, `Sigmoid`,
/// `HardSigmoid`, `Erf`, `Conv` (grouped, dilated, depthwise), `ConvTranspose`, pools, `ReduceMean`
/// over pictures, `Resize` by whole steps, `BatchNormalization`, `Concat`, `Squeeze`, `Unsqueeze`,
/// `Transpose`, `MatMul` and `Softmax`, as operator sets 11 and 12 have them.
pub struct OnnxModel {
    nodes: Vec<Step>,
    /// What is known before anything runs, by slot.
    constants: Vec<Option<OnnxArray>>,
    /// The node after which a slot's array is no longer needed.
    last_use: Vec<usize>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    metadata: HashMap<String, String>,
}

/// A node: what it does, to which slots, into which.
struct Step {
    name: String,
    operator: Operator,
    inputs: Vec<Option<usize>>,
    output: usize,
}

impl fmt::Debug for OnnxModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnnxModel")
            .field("nodes", &self.nodes.len())
            .field("inputs", &self.inputs.len())
            .field("outputs", &self.outputs.len())
            .finish_non_exhaustive()
    }
}

impl OnnxModel {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ModelError`] that names the file: it is missing, damaged, or of an operator set that is not
    /// supported; [`ModelError::UnsupportedOperator`] names an operator or setting that is not, and
    /// [`ModelError::WrongDtype`] a tensor of elements other than floats or bytes.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        Self::from_bytes(path, &files::read(path, FORMAT)?)
    }

    /// Reads a file's content; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(path: impl Into<PathBuf>, bytes: &[u8]) -> Result<Self, ModelError> {
        let path = path.into();
        let corrupt = |detail: String| ModelError::Corrupt {
            path: path.clone(),
            format: FORMAT,
            detail,
        };
        let model = messages::Model::decode(bytes).map_err(|error| corrupt(error.to_string()))?;
        let own_set = |set: &&messages::OperatorSet| set.domain.is_empty();
        let version = model
            .operator_sets
            .iter()
            .find(own_set)
            .map_or(0, |set| set.version);
        if !OPERATOR_SETS.contains(&version) {
            return Err(ModelError::InvalidConfig {
                file: path.display().to_string(),
                field: "opset_import".to_owned(),
                detail: format!("is {version}, supported are 11 and 12"),
            });
        }
        let graph = model
            .graph
            .ok_or_else(|| corrupt("it holds no graph".to_owned()))?;
        let metadata = model
            .metadata
            .into_iter()
            .map(|entry| (entry.key, entry.value));
        Self::build(graph, metadata.collect(), &corrupt)
    }

    fn build(
        graph: messages::Graph,
        metadata: HashMap<String, String>,
        corrupt: &dyn Fn(String) -> ModelError,
    ) -> Result<Self, ModelError> {
        if graph.nodes.len() > MAX_NODES {
            return Err(corrupt(format!("{} nodes", graph.nodes.len())));
        }
        let mut slots: HashMap<String, usize> = HashMap::new();
        let mut constants = Vec::new();
        for tensor in graph.initialisers {
            let name = tensor.name.clone();
            let array = constant(tensor, corrupt)?;
            if slots.insert(name.clone(), constants.len()).is_some() {
                return Err(corrupt(format!("two tensors are called {name}")));
            }
            constants.push(Some(array));
        }
        let mut inputs = Vec::new();
        for input in graph.inputs {
            // Older files list their weights among the inputs.
            if let Entry::Vacant(place) = slots.entry(input.name) {
                inputs.push(constants.len());
                place.insert(constants.len());
                constants.push(None);
            }
        }
        let mut nodes: Vec<Step> = Vec::new();
        let (mut computed, mut work) = (0, 0u64);
        for node in &graph.nodes {
            let operator = read_operator(node)?;
            let slot = |name: &String| {
                let slot = slots.get(name).copied();
                let unknown =
                    || corrupt(format!("{} uses {name} before it is made", node.operator));
                (!name.is_empty())
                    .then(|| slot.ok_or_else(unknown))
                    .transpose()
            };
            let from: Vec<Option<usize>> =
                node.inputs.iter().map(slot).collect::<Result<_, _>>()?;
            let [output] = node.outputs.as_slice() else {
                return Err(ModelError::UnsupportedOperator {
                    operator: node.operator.clone(),
                    detail: format!("{} outputs", node.outputs.len()),
                });
            };
            let step = Step {
                name: output.clone(),
                operator,
                inputs: from,
                output: constants.len(),
            };
            if slots.insert(output.clone(), constants.len()).is_some() {
                return Err(corrupt(format!("{output} is made twice")));
            }
            // What depends on weights alone, such as their widening, is computed once.
            let known = |slot: &Option<usize>| slot.is_none_or(|slot| constants[slot].is_some());
            if !step.inputs.is_empty() && step.inputs.iter().all(known) {
                let arrays = step
                    .inputs
                    .iter()
                    .map(|slot| slot.and_then(|slot| constants[slot].clone()));
                let arrays: Vec<Option<OnnxArray>> = arrays.collect();
                work = work.saturating_add(step.operator.work(&arrays));
                if work > MAX_WORK {
                    return Err(corrupt("its constants take beyond all measure".to_owned()));
                }
                let array = step.run(Cores::one(), arrays)?;
                computed += array.values().len();
                if computed > MAX_COMPUTED {
                    return Err(corrupt("its constants grow beyond all measure".to_owned()));
                }
                constants.push(Some(array));
            } else {
                constants.push(None);
                nodes.push(step);
            }
        }
        let output = |value: messages::Value| {
            let missing = || corrupt(format!("no node makes the output {}", value.name));
            slots.get(&value.name).copied().ok_or_else(missing)
        };
        let outputs: Vec<usize> = graph
            .outputs
            .into_iter()
            .map(output)
            .collect::<Result<_, _>>()?;
        let mut last_use = vec![0; constants.len()];
        for (number, node) in nodes.iter().enumerate() {
            node.inputs
                .iter()
                .flatten()
                .for_each(|&slot| last_use[slot] = number);
        }
        outputs
            .iter()
            .for_each(|&slot| last_use[slot] = nodes.len());
        // A constant that nothing uses any more, as bytes that were widened, is let go.
        let mut used = vec![false; constants.len()];
        let by_nodes = nodes.iter().flat_map(|node| node.inputs.iter().flatten());
        by_nodes.chain(&outputs).for_each(|&slot| used[slot] = true);
        for (constant, used) in constants.iter_mut().zip(used) {
            if !used {
                *constant = None;
            }
        }
        Ok(Self {
            nodes,
            constants,
            last_use,
            inputs,
            outputs,
            metadata,
        })
    }

    /// A text that the file carries beside the graph, such as a recogniser's characters.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Runs the graph: inputs and outputs in the file's order. The shapes of pictures may change
    /// from run to run where the graph allows it.
    ///
    /// # Errors
    /// [`ModelError::Operator`] where an operator does not fit the shapes that it is given.
    pub fn run(&self, inputs: &[OnnxArray]) -> Result<Vec<OnnxArray>, ModelError> {
        self.run_with(Cores::one(), inputs)
    }

    /// The same on all threads of a team, with the same outcome.
    pub(crate) fn run_in(
        &self,
        team: &Team,
        inputs: &[OnnxArray],
    ) -> Result<Vec<OnnxArray>, ModelError> {
        team.run(|| self.run_with(Cores::all_of(team), inputs))
    }

    fn run_with(&self, cores: Cores, inputs: &[OnnxArray]) -> Result<Vec<OnnxArray>, ModelError> {
        let odd = |detail: String| ModelError::Operator {
            node: "the graph".to_owned(),
            detail,
        };
        if inputs.len() != self.inputs.len() {
            return Err(odd(format!(
                "takes {} inputs, not {}",
                self.inputs.len(),
                inputs.len()
            )));
        }
        let mut arrays = self.constants.clone();
        for (&slot, input) in self.inputs.iter().zip(inputs) {
            arrays[slot] = Some(input.clone());
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let take = |slot: &Option<usize>| {
                let slot = (*slot)?;
                let once = node
                    .inputs
                    .iter()
                    .filter(|other| **other == Some(slot))
                    .count()
                    == 1;
                // The last to use an array may write into it.
                if once && self.last_use[slot] == number {
                    arrays[slot].take()
                } else {
                    arrays[slot].clone()
                }
            };
            let given = node.inputs.iter().map(take).collect();
            arrays[node.output] = Some(node.run(cores, given)?);
        }
        let output = |&slot: &usize| {
            arrays[slot]
                .clone()
                .ok_or_else(|| odd("has an output that nothing made".to_owned()))
        };
        self.outputs.iter().map(output).collect()
    }
}

impl Step {
    fn run(&self, cores: Cores, inputs: Vec<Option<OnnxArray>>) -> Result<OnnxArray, ModelError> {
        self.operator
            .run(cores, inputs)
            .map_err(|detail| ModelError::Operator {
                node: self.name.clone(),
                detail,
            })
    }
}

fn read_operator(node: &messages::Node) -> Result<Operator, ModelError> {
    let unsupported = |detail: String| ModelError::UnsupportedOperator {
        operator: node.operator.clone(),
        detail,
    };
    if !node.domain.is_empty() {
        return Err(unsupported(format!("it is of the domain {}", node.domain)));
    }
    Operator::read(node).map_err(|refusal| match refusal {
        Refusal::Unknown => unsupported("it is not built in".to_owned()),
        Refusal::Setting(detail) => unsupported(detail),
    })
}

/// An initialiser's values.
fn constant(
    tensor: messages::Tensor,
    corrupt: &dyn Fn(String) -> ModelError,
) -> Result<OnnxArray, ModelError> {
    let name = tensor.name;
    if tensor.location != 0 {
        return Err(corrupt(format!("the data of {name} is in another file")));
    }
    let values: Vec<f32> = match tensor.element {
        FLOAT if tensor.raw.is_empty() => tensor.floats,
        FLOAT => {
            let (words, rest) = tensor.raw.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(corrupt(format!("{name} ends within a number")));
            }
            words.iter().map(|word| f32::from_le_bytes(*word)).collect()
        }
        UNSIGNED_BYTE | SIGNED_BYTE if tensor.raw.is_empty() => {
            tensor.small_ints.iter().map(|&int| int as f32).collect()
        }
        UNSIGNED_BYTE => tensor.raw.iter().map(|&byte| f32::from(byte)).collect(),
        SIGNED_BYTE => tensor
            .raw
            .iter()
            .map(|&byte| f32::from(byte as i8))
            .collect(),
        other => {
            return Err(ModelError::WrongDtype {
                tensor: name,
                found: format!("ONNX's {other}"),
                supported: "float, int8 and uint8",
            });
        }
    };
    if values.iter().any(|value| !value.is_finite()) {
        return Err(ModelError::NotFiniteWeights { tensor: name });
    }
    let shape: Option<Vec<usize>> = tensor
        .shape
        .iter()
        .map(|&side| usize::try_from(side).ok())
        .collect();
    let array = shape.and_then(|shape| OnnxArray::new(shape, values));
    array.ok_or_else(|| {
        corrupt(format!(
            "{name} has not as many values as its shape {:?} says",
            tensor.shape
        ))
    })
}
