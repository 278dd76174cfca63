//! Matrices of small whole numbers with scales, in a layout made for the products.
//!
//! Eight rows make a strip, in which four neighbouring columns of each of the eight lie side by
//! side: one 32-byte register holds a step of four columns for eight rows, and what is summed up
//! in its lane `r` is row `r`'s result; nothing is ever summed across lanes. The four activations
//! of the step are the same for all rows, and a tile of activation rows shares each load of
//! weights. The codes keep the bits that they have in the file; scales are laid out by eights.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod compiled;
mod form;
mod portable;
mod strip;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub(crate) use activations::{Activations, Block};
pub(crate) use form::Form;

use rayon::prelude::*;

use super::halves::Raise;
use super::pages::prefer_large_pages;
use super::piece::{PIECE, Piece};
#[cfg(target_arch = "x86_64")]
use super::vnni::Vnni;
use super::{Cpu, GgmlType};
#[cfg(target_arch = "x86_64")]
use compiled::{WithForm, Work};
use strip::{Refusal, STRIP, Strip};

/// Rows that are multiplied together: two strips.
pub(crate) const UNIT: usize = 2 * STRIP;
/// Room for the first strip to begin at a cache line.
const LINE: usize = 64;

/// A quantised matrix, by strips of rows.
#[derive(Debug)]
pub(crate) struct Quantised {
    form: Form,
    raise: Raise,
    blocks: usize,
    data: Vec<u8>,
    /// Where in `data` the first strip begins.
    start: usize,
}

impl Quantised {
    /// Lays out a tensor's bytes, whole rows of whole blocks; `None` if a block's scale is not
    /// finite.
    pub(crate) fn pack(
        cpu: Cpu,
        kind: GgmlType,
        form: Form,
        rows: usize,
        columns: usize,
        bytes: &[u8],
    ) -> Option<Self> {
        let row_bytes = kind.row_bytes(columns)?;
        let strips = rows.div_ceil(STRIP);
        let mut packed = Self {
            form,
            raise: Raise::Full,
            blocks: columns / PIECE,
            data: vec![0; strips * form.strip_bytes(columns / PIECE) + LINE],
            start: 0,
        };
        prefer_large_pages(&mut packed.data);
        packed.start = packed.data.as_ptr().align_offset(LINE).min(LINE);
        match packed.fill(cpu, kind, row_bytes, bytes) {
            Err(Refusal::TooLarge) => {
                packed.raise = Raise::None;
                packed.data.fill(0);
                packed.fill(cpu, kind, row_bytes, bytes).ok()?;
            }
            filled => filled.ok()?,
        }
        Some(packed)
    }

    /// Fills the strips, which are all zero.
    fn fill(
        &mut self,
        cpu: Cpu,
        kind: GgmlType,
        row_bytes: usize,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let (form, raise, blocks) = (self.form, self.raise, self.blocks);
        let strip_bytes = form.strip_bytes(blocks);
        if strip_bytes == 0 {
            return Ok(());
        }
        let source = bytes.par_chunks(STRIP * row_bytes);
        let room = self.data[self.start..].par_chunks_exact_mut(strip_bytes);
        room.zip(source).try_for_each(|(room, source)| {
            // The same plain code is faster with more of the processor's instructions.
            cpu.run(|| {
                for (lane, row) in source.chunks_exact(row_bytes).enumerate() {
                    for block in 0..blocks {
                        if let Some(piece) = Piece::read(kind, row, block) {
                            form.put(raise, room, blocks, lane, block, &piece)?;
                        }
                    }
                }
                Ok(())
            })
        })
    }

    /// How many bytes it takes, but for a cache line.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len() - LINE
    }

    fn strip(&self, index: usize) -> Strip<'_> {
        let size = self.form.strip_bytes(self.blocks);
        let bytes = &self.data[self.start + index * size..][..size];
        self.form.view(bytes, self.blocks)
    }

    /// The values of one row.
    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        let strip = self.strip(row / STRIP);
        let (out, _) = out.as_chunks_mut::<PIECE>();
        for (block, out) in out.iter_mut().enumerate() {
            self.form.read(self.raise, strip, row % STRIP, block, out);
        }
    }

    /// The products of `x`'s rows with the rows of units `first ..`, as many as `rows` have room
    /// for: `rows[i]` is row `i`'s share of the result.
    pub(crate) fn multiply(&self, cpu: Cpu, x: &[Block], first: usize, rows: &mut [&mut [f32]]) {
        let first = first * (UNIT / STRIP);
        #[cfg(target_arch = "x86_64")]
        if let Some(vnni) = Vnni::of(cpu) {
            return self.multiply_by(vnni, x, first, rows);
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = cpu.avx2() {
            return self.multiply_by(simd, x, first, rows);
        }
        let _ = cpu;
        portable::multiply(self, x, first, rows);
    }

    #[cfg(target_arch = "x86_64")]
    fn multiply_by<'a, 'b, T>(
        &'a self,
        token: T,
        x: &'a [Block],
        first: usize,
        rows: &'a mut [&'b mut [f32]],
    ) where
        Work<'a, 'b, T>: WithForm,
    {
        let work = Work {
            token,
            matrix: self,
            x,
            first,
            rows,
        };
        // No type has another form.
        if let Err(work) = self.form.run(work) {
            portable::multiply(self, work.x, first, work.rows);
        }
    }
}
