//! Operations that broadcast, move or reduce.

use super::array::{OnnxArray, elements};
use super::attributes::Complaint;
use super::convolve::multiply;
use super::cores::Cores;

/// An element-wise operation on two arrays, the smaller one repeated. In place where both are of one
/// shape and nobody else has the left one.
pub(super) fn broadcast(
    mut left: OnnxArray,
    right: &OnnxArray,
    operation: impl Fn(f32, f32) -> f32,
) -> Result<OnnxArray, Complaint> {
    if left.shape() == right.shape() {
        for (value, other) in left.values_mut().iter_mut().zip(right.values()) {
            *value = operation(*value, *other);
        }
        return Ok(left);
    }
    let wrong = || format!("{:?} with {:?}", left.shape(), right.shape());
    let rank = left.shape().len().max(right.shape().len()).max(1);
    let padded = |array: &OnnxArray| {
        let mut shape = vec![1; rank - array.shape().len()];
        shape.extend(array.shape());
        shape
    };
    let (left_shape, right_shape) = (padded(&left), padded(right));
    let mut shape = Vec::with_capacity(rank);
    for (&one, &other) in left_shape.iter().zip(&right_shape) {
        if one != other && one != 1 && other != 1 {
            return Err(wrong());
        }
        shape.push(if one == 1 { other } else { one });
    }
    let count = elements(&shape).ok_or_else(wrong)?;
    let (left_steps, right_steps) = (steps(&left_shape), steps(&right_shape));
    let inner = shape[rank - 1];
    let mut values: Vec<f32> = Vec::with_capacity(count);
    let mut place = vec![0; rank];
    while values.len() < count {
        let row = |steps: &[usize]| {
            let start: usize = place.iter().zip(steps).map(|(p, s)| p * s).sum();
            let length = if steps[rank - 1] == 0 { 1 } else { inner };
            start..start + length
        };
        let lefts = &left.values()[row(&left_steps)];
        let rights = &right.values()[row(&right_steps)];
        match (lefts, rights) {
            (lefts, &[right]) => values.extend(lefts.iter().map(|left| operation(*left, right))),
            (&[left], rights) => values.extend(rights.iter().map(|right| operation(left, *right))),
            (lefts, rights) => {
                let pairs = lefts.iter().zip(rights);
                values.extend(pairs.map(|(left, right)| operation(*left, *right)));
            }
        }
        advance(&mut place[..rank - 1], &shape[..rank - 1]);
    }
    OnnxArray::new(shape, values).ok_or_else(wrong)
}

/// How far apart neighbours lie on each axis; 0 where there is only one.
fn steps(shape: &[usize]) -> Vec<usize> {
    let mut step = 1;
    let mut steps = vec![0; shape.len()];
    for (axis, &side) in shape.iter().enumerate().rev() {
        if side != 1 {
            steps[axis] = step;
        }
        step *= side;
    }
    steps
}

/// Counts a place up, the last axis fastest.
fn advance(place: &mut [usize], shape: &[usize]) {
    for (index, &side) in place.iter_mut().zip(shape).rev() {
        *index += 1;
        if *index < side {
            return;
        }
        *index = 0;
    }
}

pub(super) fn transpose(input: &OnnxArray, order: &[i64]) -> Result<OnnxArray, Complaint> {
    let rank = input.shape().len();
    let wrong = || format!("perm {order:?} of {:?}", input.shape());
    let axes: Vec<usize> = order
        .iter()
        .map(|&axis| usize::try_from(axis).ok().filter(|&axis| axis < rank))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    if axes.len() != rank || (0..rank).any(|axis| !axes.contains(&axis)) {
        return Err(wrong());
    }
    let all_steps = steps(input.shape());
    let shape: Vec<usize> = axes.iter().map(|&axis| input.shape()[axis]).collect();
    let moved: Vec<usize> = axes.iter().map(|&axis| all_steps[axis]).collect();
    let mut place = vec![0; rank];
    let values = (0..input.values().len())
        .map(|_| {
            let from: usize = place.iter().zip(&moved).map(|(p, s)| p * s).sum();
            advance(&mut place, &shape);
            input.values()[from]
        })
        .collect();
    OnnxArray::new(shape, values).ok_or_else(wrong)
}

/// A product of matrices, the right one the same for all of a batch.
pub(super) fn matrix_product(
    cores: Cores,
    left: &OnnxArray,
    right: &OnnxArray,
) -> Result<OnnxArray, Complaint> {
    let wrong = || format!("{:?} times {:?}", left.shape(), right.shape());
    let ([.., inner], [rows, n]) = (left.shape(), right.shape()) else {
        return Err(wrong());
    };
    if left.shape().len() < 2 || inner != rows || *inner == 0 || *n == 0 {
        return Err(wrong());
    }
    let mut shape = left.shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = *n;
    }
    let mut values = vec![0.0; elements(&shape).ok_or_else(wrong)?];
    multiply(
        cores,
        left.values(),
        right.values(),
        &mut values,
        *inner,
        *n,
    );
    OnnxArray::new(shape, values).ok_or_else(wrong)
}

/// An axis, counted from the end if negative.
fn axis_of(axis: i64, rank: usize) -> Option<usize> {
    let rank_signed = i64::try_from(rank).ok()?;
    let axis = if axis < 0 {
        axis.checked_add(rank_signed)?
    } else {
        axis
    };
    usize::try_from(axis).ok().filter(|&axis| axis < rank)
}

fn axes_of(axes: &[i64], rank: usize) -> Result<Vec<usize>, Complaint> {
    axes.iter()
        .map(|&axis| axis_of(axis, rank))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("axes {axes:?} of {rank}"))
}

pub(super) fn squeeze(input: &OnnxArray, axes: &[i64]) -> Result<OnnxArray, Complaint> {
    let gone = axes_of(axes, input.shape().len())?;
    let sides = input.shape().iter().enumerate();
    let kept = sides.filter(|(axis, _)| !gone.contains(axis));
    let shape: Vec<usize> = kept.map(|(_, &side)| side).collect();
    input
        .reshaped(shape)
        .ok_or_else(|| format!("axes {axes:?} of {:?}", input.shape()))
}

pub(super) fn unsqueeze(input: &OnnxArray, axes: &[i64]) -> Result<OnnxArray, Complaint> {
    let wrong = || format!("axes {axes:?} into {:?}", input.shape());
    let rank = input.shape().len() + axes.len();
    let new = axes_of(axes, rank)?;
    let mut sides = input.shape().iter();
    let shape: Vec<usize> = (0..rank)
        .map(|axis| {
            if new.contains(&axis) {
                Some(1)
            } else {
                sides.next().copied()
            }
        })
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    input.reshaped(shape).ok_or_else(wrong)
}

pub(super) fn concatenate(inputs: &[&OnnxArray], axis: i64) -> Result<OnnxArray, Complaint> {
    let shapes = || inputs.iter().map(|input| input.shape()).collect::<Vec<_>>();
    let wrong = || format!("axis {axis} of {:?}", shapes());
    let first = inputs.first().ok_or_else(wrong)?;
    let axis = axis_of(axis, first.shape().len()).ok_or_else(wrong)?;
    let mut shape = first.shape().to_vec();
    shape[axis] = 0;
    for input in inputs {
        let mut other = input.shape().to_vec();
        shape[axis] += other.get(axis).copied().ok_or_else(wrong)?;
        other[axis] = shape[axis];
        if other != shape {
            return Err(wrong());
        }
    }
    let count = elements(&shape).ok_or_else(wrong)?;
    let mut values = Vec::with_capacity(count);
    for outer in 0..shape[..axis].iter().product() {
        for input in inputs {
            let piece: usize = input.shape()[axis..].iter().product();
            values.extend_from_slice(&input.values()[outer * piece..][..piece]);
        }
    }
    OnnxArray::new(shape, values).ok_or_else(wrong)
}

/// The mean of each plane of a batch of pictures.
pub(super) fn plane_means(input: &OnnxArray) -> Result<OnnxArray, Complaint> {
    let wrong = || format!("planes of {:?}", input.shape());
    let [batch, channels, height, width] = input.planes().ok_or_else(wrong)?;
    let plane = height * width;
    if plane == 0 {
        return Err(wrong());
    }
    let mean = |plane: &[f32]| {
        let sum: f64 = plane.iter().map(|&value| f64::from(value)).sum();
        (sum / plane.len() as f64) as f32
    };
    let values = input.values().chunks_exact(plane).map(mean).collect();
    OnnxArray::new(vec![batch, channels, 1, 1], values).ok_or_else(wrong)
}

/// Repeats rows and columns a whole number of times.
pub(super) fn enlarge(input: &OnnxArray, scales: &[f32]) -> Result<OnnxArray, Complaint> {
    let wrong = || format!("scales {scales:?} of {:?}", input.shape());
    let [batch, channels, height, width] = input.planes().ok_or_else(wrong)?;
    let whole = |scale: f32| {
        let is_whole = scale.fract() == 0.0 && (1.0..=64.0).contains(&scale);
        is_whole.then_some(scale as usize)
    };
    let [1.0, 1.0, rows, columns] = *scales else {
        return Err(wrong());
    };
    let rows = whole(rows).ok_or_else(wrong)?;
    let columns = whole(columns).ok_or_else(wrong)?;
    let shape = vec![batch, channels, height * rows, width * columns];
    let count = elements(&shape).ok_or_else(wrong)?;
    let mut values = Vec::with_capacity(count);
    if count > 0 {
        for row in input.values().chunks_exact(width) {
            for _ in 0..rows {
                let wide = row
                    .iter()
                    .flat_map(|&value| std::iter::repeat_n(value, columns));
                values.extend(wide);
            }
        }
    }
    OnnxArray::new(shape, values).ok_or_else(wrong)
}

/// Probabilities over the last axis.
pub(super) fn softmax(input: &OnnxArray, axis: i64) -> Result<OnnxArray, Complaint> {
    let rank = input.shape().len();
    let wrong = || {
        format!(
            "axis {axis} of {:?}: only the last is supported",
            input.shape()
        )
    };
    if axis_of(axis, rank).ok_or_else(wrong)? + 1 != rank {
        return Err(wrong());
    }
    let side = input.shape()[rank - 1].max(1);
    let mut values = input.values().to_vec();
    for row in values.chunks_exact_mut(side) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0_f64;
        for value in row.iter_mut() {
            *value = (*value - largest).exp();
            sum += f64::from(*value);
        }
        row.iter_mut()
            .for_each(|value| *value = (f64::from(*value) / sum) as f32);
    }
    OnnxArray::new(input.shape().to_vec(), values).ok_or_else(wrong)
}

/// Batch normalisation with what was learnt: `parameters` are scale, bias, mean and variance.
pub(super) fn normalise(
    input: &OnnxArray,
    parameters: [&OnnxArray; 4],
    epsilon: f32,
) -> Result<OnnxArray, Complaint> {
    let wrong = || format!("normalising {:?}", input.shape());
    let &[batch, channels, ref sides @ ..] = input.shape() else {
        return Err(wrong());
    };
    let plane: usize = sides.iter().product();
    if plane == 0 || batch == 0 || parameters.iter().any(|p| p.values().len() != channels) {
        return Err(wrong());
    }
    let [scale, bias, mean, variance] = parameters.map(OnnxArray::values);
    let mut values = input.values().to_vec();
    for (number, plane) in values.chunks_exact_mut(plane).enumerate() {
        let channel = number % channels;
        let factor = scale[channel] / (variance[channel] + epsilon).sqrt();
        let offset = bias[channel] - mean[channel] * factor;
        plane
            .iter_mut()
            .for_each(|value| *value = *value * factor + offset);
    }
    OnnxArray::new(input.shape().to_vec(), values).ok_or_else(wrong)
}
