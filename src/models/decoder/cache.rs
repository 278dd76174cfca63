//! The keys and values of one worker's sequences, in blocks.
//!
//! A block holds [`BLOCK_TOKENS`] positions of one sequence, of all layers. Within a layer and a
//! head, a block's keys lie transposed, [head_width, tokens], so that the scores of neighbouring
//! positions are computed side by side; its values lie as they come, [tokens, head_width].

use crate::kernels::{self, Cpu, Factors, Rescale};

/// Positions of one block.
pub(super) const BLOCK_TOKENS: usize = 32;

/// Values that share a scale in [`CacheFormat::Q8`].
const GROUP: usize = 32;

/// How a cache stores keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CacheFormat {
    /// Single precision: 4 bytes a value.
    F32,
    /// Half precision: 2 bytes a value.
    #[default]
    F16,
    /// Eight bits a value and a scale for each 32 of them: 1.0625 bytes a value.
    Q8,
}

impl CacheFormat {
    /// Bytes of one head's key, or value, of `width` values.
    fn bytes(self, width: usize) -> usize {
        match self {
            Self::F32 => 4 * width,
            Self::F16 => 2 * width,
            Self::Q8 => width + 2 * width.div_ceil(GROUP),
        }
    }

    /// Bytes of one position in all layers.
    pub(super) fn position_bytes(self, layers: usize, kv_heads: usize, width: usize) -> u64 {
        2 * layers as u64 * kv_heads as u64 * self.bytes(width) as u64
    }
}

/// All layers' keys and values.
#[derive(Debug)]
pub(super) struct Cache {
    layers: Vec<Vec<HeadCache>>,
}

impl Cache {
    pub(super) fn new(
        format: CacheFormat,
        layers: usize,
        kv_heads: usize,
        width: usize,
        blocks: usize,
    ) -> Self {
        let head = || HeadCache::new(format, width, blocks);
        let layer = || (0..kv_heads).map(|_| head()).collect();
        Self {
            layers: (0..layers).map(|_| layer()).collect(),
        }
    }

    /// The heads of one layer.
    pub(super) fn layer_mut(&mut self, layer: usize) -> &mut [HeadCache] {
        &mut self.layers[layer]
    }

    /// Writes to all of its memory, so that the system gives it now and not in the midst of work.
    #[cfg(feature = "testing")]
    pub(super) fn touch(&mut self) {
        for head in self.layers.iter_mut().flatten() {
            head.keys.touch();
            head.values.touch();
        }
    }
}

/// One head's keys and values in one layer, all blocks.
#[derive(Debug)]
pub(super) struct HeadCache {
    width: usize,
    keys: Cells,
    values: Cells,
}

/// Numbers in a format.
#[derive(Debug)]
enum Cells {
    F32(Vec<f32>),
    F16(Vec<u16>),
    Q8 { values: Vec<i8>, scales: Vec<u16> },
}

impl Cells {
    fn new(format: CacheFormat, width: usize, positions: usize) -> Self {
        match format {
            CacheFormat::F32 => Self::F32(vec![0.0; positions * width]),
            CacheFormat::F16 => Self::F16(vec![0; positions * width]),
            CacheFormat::Q8 => Self::Q8 {
                values: vec![0; positions * width],
                scales: vec![0; positions * width.div_ceil(GROUP)],
            },
        }
    }

    #[cfg(feature = "testing")]
    fn touch(&mut self) {
        match self {
            Self::F32(cells) => cells.fill(1.0),
            Self::F16(cells) => cells.fill(1),
            Self::Q8 { values, scales } => {
                values.fill(1);
                scales.fill(1);
            }
        }
    }
}

/// Room to read a block into.
#[derive(Debug, Default)]
pub(super) struct Tile {
    values: Vec<f32>,
    factors: Vec<f32>,
}

impl Tile {
    /// Bytes held for heads of this width.
    pub(super) fn bytes(width: usize) -> usize {
        4 * BLOCK_TOKENS * (width + width.div_ceil(GROUP))
    }
}

impl HeadCache {
    fn new(format: CacheFormat, width: usize, blocks: usize) -> Self {
        let positions = blocks * BLOCK_TOKENS;
        Self {
            width,
            keys: Cells::new(format, width, positions),
            values: Cells::new(format, width, positions),
        }
    }

    /// Stores a position's key and value: at `place` within `block`.
    pub(super) fn write(&mut self, block: usize, place: usize, key: &[f32], value: &[f32]) {
        let size = BLOCK_TOKENS * self.width;
        let groups = self.width.div_ceil(GROUP);
        match &mut self.keys {
            Cells::F32(cells) => {
                let column = cells[block * size + place..].iter_mut();
                for (cell, key) in column.step_by(BLOCK_TOKENS).zip(key) {
                    *cell = *key;
                }
            }
            Cells::F16(cells) => {
                let column = cells[block * size + place..].iter_mut();
                for (cell, key) in column.step_by(BLOCK_TOKENS).zip(key) {
                    *cell = kernels::narrow(*key);
                }
            }
            Cells::Q8 { values, scales } => {
                let column = values[block * size + place..].iter_mut();
                let mut column = column.step_by(BLOCK_TOKENS);
                let scales = scales[block * groups * BLOCK_TOKENS + place..].iter_mut();
                for (scale, key) in scales.step_by(BLOCK_TOKENS).zip(key.chunks(GROUP)) {
                    let inverse = scale_of(key, scale);
                    for (cell, key) in column.by_ref().zip(key) {
                        *cell = (key * inverse).round() as i8;
                    }
                }
            }
        }
        let row = block * size + place * self.width;
        match &mut self.values {
            Cells::F32(cells) => cells[row..row + self.width].copy_from_slice(value),
            Cells::F16(cells) => {
                for (cell, value) in cells[row..].iter_mut().zip(value) {
                    *cell = kernels::narrow(*value);
                }
            }
            Cells::Q8 { values, scales } => {
                let scales = &mut scales[(block * BLOCK_TOKENS + place) * groups..];
                let cells = values[row..row + self.width].chunks_mut(GROUP);
                for ((scale, cells), value) in scales.iter_mut().zip(cells).zip(value.chunks(GROUP))
                {
                    let inverse = scale_of(value, scale);
                    for (cell, value) in cells.iter_mut().zip(value) {
                        *cell = (value * inverse).round() as i8;
                    }
                }
            }
        }
    }

    /// A block's keys, [head_width, tokens].
    pub(super) fn keys<'a>(&'a self, cpu: Cpu, block: usize, tile: &'a mut Tile) -> &'a [f32] {
        self.read(cpu, &self.keys, block, tile, true)
    }

    /// A block's values, [tokens, head_width].
    pub(super) fn values<'a>(&'a self, cpu: Cpu, block: usize, tile: &'a mut Tile) -> &'a [f32] {
        self.read(cpu, &self.values, block, tile, false)
    }

    fn read<'a>(
        &self,
        cpu: Cpu,
        cells: &'a Cells,
        block: usize,
        tile: &'a mut Tile,
        transposed: bool,
    ) -> &'a [f32] {
        let size = BLOCK_TOKENS * self.width;
        let range = block * size..(block + 1) * size;
        if let Cells::F32(cells) = cells {
            return &cells[range];
        }
        tile.values.resize(size, 0.0);
        match cells {
            Cells::F32(_) => {}
            Cells::F16(cells) => kernels::widen(cpu, &cells[range], &mut tile.values),
            Cells::Q8 { values, scales } => {
                let count = BLOCK_TOKENS * self.width.div_ceil(GROUP);
                tile.factors.resize(count, 0.0);
                let scales = &scales[block * count..(block + 1) * count];
                for (factor, scale) in tile.factors.iter_mut().zip(scales) {
                    *factor = kernels::widen_one(*scale);
                }
                let (width, factors) = if transposed {
                    (BLOCK_TOKENS, Factors::Columns(GROUP, &tile.factors))
                } else {
                    (self.width, Factors::Rows(GROUP, &tile.factors))
                };
                let task = Rescale {
                    values: &values[range],
                    width,
                    factors,
                    out: &mut tile.values,
                };
                kernels::rescale(cpu, task);
            }
        }
        &tile.values
    }
}

/// Puts the scale of some values into `scale`, and gives what they are to be multiplied by to be
/// whole numbers of eight bits.
fn scale_of(values: &[f32], scale: &mut u16) -> f32 {
    let largest = values
        .iter()
        .fold(0.0_f32, |top, value| top.max(value.abs()));
    *scale = kernels::narrow(largest / 127.0);
    let rounded = kernels::widen_one(*scale);
    if rounded > 0.0 { 1.0 / rounded } else { 0.0 }
}
