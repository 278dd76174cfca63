//! What a pass holds in memory besides the weights.

use super::description::{Description, DistanceBias, Positions};
use super::forward::{BLOCK, TILE};

/// Bytes that a step of `tokens` tokens holds besides the weights, its longest text being
/// `longest`, and that stay held after it; one thread's part of what each has of its own is counted.
pub(super) fn activation_bytes(description: &Description, tokens: usize, longest: usize) -> u64 {
    let row = description.hidden + 2 * description.qkv_width() + description.context_width();
    let table = longest.next_power_of_two().max(64);
    let angles = match description.positions {
        Positions::Rotary => 2 * table * description.head_width,
        _ => 0,
    };
    let biases = match description.distance_bias {
        DistanceBias::None => 0,
        _ => 2 * table * description.heads,
    };
    let own = BLOCK * block_values(description) + attention_values(description, longest);
    4 * (tokens * row + own + angles + biases) as u64
}

/// Bytes that `threads` more threads have of their own in such a step.
pub(super) fn team_bytes(
    description: &Description,
    tokens: usize,
    longest: usize,
    threads: usize,
) -> u64 {
    // Each has its share of the rows, or as many of them as pass together.
    let rows = tokens.min(threads * BLOCK) + threads * TILE;
    let own = rows * block_values(description) + threads * attention_values(description, longest);
    4 * own as u64
}

/// Values that are held of a row while it passes through a layer's linear parts.
fn block_values(description: &Description) -> usize {
    // As much again where it is rounded, to two halves or to less.
    (description.mlp_width() + description.hidden) * 2
}

/// Values that a thread holds of a text's keys, values and scores.
fn attention_values(description: &Description, longest: usize) -> usize {
    2 * (longest + 64) * (description.head_width + 64) + 8 * longest.max(1 << 13)
}
