//! From token vectors to a text's embedding.

use super::forward::Network;
use super::modules::Pooling;
use super::weights::{HeadStage, LinearScratch};
use crate::kernels;
use crate::models::ModelError;

/// Pools a text's token vectors, [tokens, hidden], into `pooled`.
pub(super) fn pool(pooling: Pooling, vectors: &[f32], pooled: &mut [f32]) {
    let width = pooled.len();
    let rows = || vectors.chunks_exact(width);
    let count = rows().len() as f32;
    match pooling {
        Pooling::Cls => pooled.copy_from_slice(&vectors[..width]),
        Pooling::LastToken => pooled.copy_from_slice(&vectors[vectors.len() - width..]),
        Pooling::Max => {
            pooled.fill(f32::NEG_INFINITY);
            for row in rows() {
                for (top, value) in pooled.iter_mut().zip(row) {
                    // `f32::max` would hide a NaN.
                    if *value > *top || value.is_nan() {
                        *top = *value;
                    }
                }
            }
        }
        Pooling::Mean => sum(rows().map(|row| (row, 1.0)), 1.0 / count, pooled),
        Pooling::MeanSqrtLen => sum(rows().map(|row| (row, 1.0)), 1.0 / count.sqrt(), pooled),
        Pooling::WeightedMean => {
            let weights = rows().zip(1_u32..).map(|(row, place)| (row, place as f32));
            sum(weights, 2.0 / (count * (count + 1.0)), pooled);
        }
    }
}

fn sum<'a>(rows: impl Iterator<Item = (&'a [f32], f32)>, scale: f32, pooled: &mut [f32]) {
    pooled.fill(0.0);
    for (row, weight) in rows {
        for (total, value) in pooled.iter_mut().zip(row) {
            *total += weight * value;
        }
    }
    for total in pooled {
        *total *= scale;
    }
}

/// Takes pooled vectors, one a text, through the stages after the pooling.
pub(super) fn finish(network: Network<'_>, pooled: Vec<f32>, texts: usize) -> Vec<f32> {
    let mut vectors = pooled;
    for stage in &network.tensors.head {
        match stage {
            HeadStage::Normalize => {
                let width = vectors.len() / texts.max(1);
                for vector in vectors.chunks_exact_mut(width.max(1)) {
                    normalise(vector);
                }
            }
            HeadStage::Dense(linear, activation) => {
                let width = vectors.len() / texts.max(1);
                let mut outputs = vec![0.0; texts * linear.outputs];
                linear.apply(
                    network.cpu,
                    &mut LinearScratch::default(),
                    texts,
                    &vectors,
                    width,
                    &mut outputs,
                );
                kernels::activate(network.cpu, *activation, &mut outputs);
                vectors = outputs;
            }
        }
    }
    vectors
}

/// Cuts a text's vector to the length that its caller wants, and checks it.
pub(super) fn cut(vector: &[f32], dimensions: Option<usize>) -> Result<Vec<f32>, ModelError> {
    let vector = match dimensions {
        Some(count) if count == 0 || count > vector.len() => {
            return Err(ModelError::InvalidConfig {
                file: "the request".to_owned(),
                field: "dimensions".to_owned(),
                detail: format!("{count} is not within 1 to {}", vector.len()),
            });
        }
        Some(count) => {
            let mut shorter = vector[..count].to_vec();
            normalise(&mut shorter);
            shorter
        }
        None => vector.to_vec(),
    };
    if vector.iter().all(|value| value.is_finite()) {
        Ok(vector)
    } else {
        Err(ModelError::NotFiniteOutput)
    }
}

/// Makes a vector's length 1; as the references do it, one of length 0 stays as it is.
pub(super) fn normalise(vector: &mut [f32]) {
    let square: f32 = vector.iter().map(|value| value * value).sum();
    let scale = 1.0 / square.sqrt().max(1e-12);
    for value in vector {
        *value *= scale;
    }
}
