//! The innermost loops of products on tile units (the chapter "Intel Advanced Matrix Extensions" of the architecture's
//! manual), in the only instructions of this crate that Rust has no functions for.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::marker::PhantomData;
use std::sync::OnceLock;

use super::{Product, ROW_BYTES, SIDE, Tile};

/// How a tile register is shaped, in the form that the processor reads: "palette" 1, all eight registers of full size.
#[repr(C, align(64))]
struct Shapes([u8; 64]);

static SHAPES: Shapes = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut register = 0;
    while register < 8 {
        // Two bytes each for the bytes of a row, then one each for the rows.
        bytes[16 + 2 * register] = ROW_BYTES as u8;
        bytes[48 + register] = SIDE as u8;
        register += 1;
    }
    Shapes(bytes)
};

/// A loop of tile instructions: `steps` rounds of what is given, on tile registers 0 to 3 as sums, which are written
/// to `c` at last. Its instructions see `{above}` and `{below}`, the sides of `a`, then `{b}`, and `{row}`, the bytes of a row.
/// In each round a tile of what lies `ahead` is fetched into the caches, which never fails, whatever there is.
macro_rules! sum_up {
    ($steps:expr, $a:expr, $b:expr, $ahead:expr, $c:expr, $($instruction:literal,)*) => {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "test {steps}, {steps}",
            "jz 3f",
            "2:",
            $($instruction,)*
            "prefetcht1 [{ahead}]",
            "prefetcht1 [{ahead} + 64]",
            "prefetcht1 [{ahead} + 128]",
            "prefetcht1 [{ahead} + 192]",
            "prefetcht1 [{ahead} + 256]",
            "prefetcht1 [{ahead} + 320]",
            "prefetcht1 [{ahead} + 384]",
            "prefetcht1 [{ahead} + 448]",
            "prefetcht1 [{ahead} + 512]",
            "prefetcht1 [{ahead} + 576]",
            "prefetcht1 [{ahead} + 640]",
            "prefetcht1 [{ahead} + 704]",
            "prefetcht1 [{ahead} + 768]",
            "prefetcht1 [{ahead} + 832]",
            "prefetcht1 [{ahead} + 896]",
            "prefetcht1 [{ahead} + 960]",
            "add {ahead}, 1024",
            "dec {steps}",
            "jnz 2b",
            "3:",
            "tilestored [{c} + {row}], tmm0",
            "tilestored [{c} + {row} + 1024], tmm1",
            "tilestored [{c} + {row} + 2048], tmm2",
            "tilestored [{c} + {row} + 3072], tmm3",
            steps = inout(reg) $steps => _,
            ahead = inout(reg) $ahead.as_ptr() => _,
            above = inout(reg) $a[0].as_ptr() => _,
            below = inout(reg) $a[1].as_ptr() => _,
            b = inout(reg) $b.as_ptr() => _,
            c = in(reg) $c.as_mut_ptr(),
            row = in(reg) ROW_BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// Shows that this machine has tile units and that this process may use them: nothing else makes one.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernels) struct Tiles(());

impl Tiles {
    /// `None` where there are none, or the system does not let them be used.
    pub(in crate::kernels) fn detect() -> Option<Self> {
        static GRANTED: OnceLock<bool> = OnceLock::new();
        GRANTED
            .get_or_init(|| are_there() && are_granted())
            .then_some(Self(()))
    }

    /// Runs `work` with the tile units ready. Not to be called within `work`.
    pub(in crate::kernels) fn with<R>(self, work: impl FnOnce(&mut Units) -> R) -> R {
        // SAFETY: `self` shows that the instruction may be used; it reads the 64 bytes of `SHAPES`. The registers' state is
        // this thread's own and is given back when `units` is dropped, on this thread, for it cannot be sent.
        #[allow(unsafe_code)]
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(nostack, readonly));
        }
        let mut units = Units {
            floats: [Product([[0.0; SIDE]; SIDE]); 4],
            whole: [Product([[0; SIDE]; SIDE]); 6],
            here: PhantomData,
        };
        work(&mut units)
    }
}

/// Shows that this thread's tile units are ready: [`Tiles::with`] alone makes one.
pub(in crate::kernels) struct Units {
    /// Room for what is made.
    floats: [Product<f32>; 4],
    whole: [Product<i32>; 6],
    /// Not to be sent.
    here: PhantomData<*const ()>,
}

impl Drop for Units {
    fn drop(&mut self) {
        // SAFETY: the units are ready, so that the instruction exists; nothing uses them any more.
        #[allow(unsafe_code)]
        unsafe {
            asm!("tilerelease", options(nostack, nomem));
        }
    }
}

impl Units {
    /// The products of two tiles' height of rows with two tiles' width of columns, summed up over all steps. A step of each
    /// side of `a` is one tile, a step of `b` is two, its columns side by side. The results are left above, right above, left
    /// below and right below. What is to be read next lies `ahead`.
    ///
    /// # Panics
    /// If the sides have different numbers of steps.
    pub(in crate::kernels) fn multiply(
        &mut self,
        a: [&[Tile]; 2],
        b: &[Tile],
        ahead: &[Tile],
    ) -> &[Product<f32>; 4] {
        let steps = b.len() / 2;
        assert!(a.iter().all(|a| a.len() == steps), "as many steps each");
        // SAFETY: `self` shows that the units are ready. In each of `steps` rounds one tile of each side of `a` and
        // two of `b` are read, and the pointers go on by as much: that is what the slices hold. All of the room is written. A
        // `Tile` and a `Product` are 16 rows of 64 bytes, 64 apart, as the registers are shaped; all of them that are
        // touched are declared.
        #[allow(unsafe_code)]
        unsafe {
            sum_up!(
                steps,
                a,
                b,
                ahead,
                self.floats,
                "tileloadd tmm4, [{above} + {row}]",
                "tileloadd tmm6, [{b} + {row}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b} + {row} + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{below} + {row}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {above}, 1024",
                "add {below}, 1024",
                "add {b}, 2048",
            );
        }
        &self.floats
    }

    /// The products of two tiles' height of rows of unsigned bytes with three tiles' width of columns of signed ones, summed
    /// up over `steps` of 64 inputs. Rows of each side of `a` are `a_row` bytes apart, and their steps side by side. `b` has rows
    /// of 48 columns, of four inputs each, and 16 such rows for a step. The results are the three products above, then below.
    ///
    /// # Panics
    /// If a side is too short.
    pub(in crate::kernels) fn multiply_bytes(
        &mut self,
        steps: usize,
        a: [&[u8]; 2],
        a_row: usize,
        b: &[i8],
    ) -> &[Product<i32>; 6] {
        let a_bytes = (SIDE - 1) * a_row + steps * ROW_BYTES;
        assert!(a.iter().all(|a| a.len() >= a_bytes), "rows of all steps");
        assert!(b.len() >= steps * SIDE * 3 * ROW_BYTES, "all steps");
        // SAFETY: `self` shows that the units are ready. In each of `steps` rounds, 64 bytes of each of 16 rows of
        // both sides of `a` are read, `a_row` apart, and the pointers go on by 64: within `a_bytes`. Of `b` 16 rows of three
        // times 64 bytes are read, and its pointer goes on by as much. All of `c` is written, products of 16 rows of 64
        // bytes. All registers that are touched are declared.
        #[allow(unsafe_code)]
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "tilezero tmm4",
                "tilezero tmm5",
                "test {steps}, {steps}",
                "jz 3f",
                "2:",
                "tileloadd tmm6, [{above} + {a_row}]",
                "tileloadd tmm7, [{b} + {b_row}]",
                "tdpbusd tmm0, tmm6, tmm7",
                "tileloadd tmm7, [{b} + {b_row} + 64]",
                "tdpbusd tmm1, tmm6, tmm7",
                "tileloadd tmm7, [{b} + {b_row} + 128]",
                "tdpbusd tmm2, tmm6, tmm7",
                "tileloadd tmm6, [{below} + {a_row}]",
                "tdpbusd tmm5, tmm6, tmm7",
                "tileloadd tmm7, [{b} + {b_row} + 64]",
                "tdpbusd tmm4, tmm6, tmm7",
                "tileloadd tmm7, [{b} + {b_row}]",
                "tdpbusd tmm3, tmm6, tmm7",
                "add {above}, 64",
                "add {below}, 64",
                "add {b}, 3072",
                "dec {steps}",
                "jnz 2b",
                "3:",
                "tilestored [{c} + {c_row}], tmm0",
                "tilestored [{c} + {c_row} + 1024], tmm1",
                "tilestored [{c} + {c_row} + 2048], tmm2",
                "tilestored [{c} + {c_row} + 3072], tmm3",
                "tilestored [{c} + {c_row} + 4096], tmm4",
                "tilestored [{c} + {c_row} + 5120], tmm5",
                steps = inout(reg) steps => _,
                above = inout(reg) a[0].as_ptr() => _,
                below = inout(reg) a[1].as_ptr() => _,
                a_row = in(reg) a_row,
                b = inout(reg) b.as_ptr() => _,
                b_row = in(reg) 3 * ROW_BYTES,
                c = in(reg) self.whole.as_mut_ptr(),
                c_row = in(reg) ROW_BYTES,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
        &self.whole
    }

    /// The same of floats that are the sums of two terms each, all but the product of both second terms, which is below
    /// what is kept. A step of each side of `a` is two tiles, first and second terms, and a step of `b` is four, first and then
    /// second terms.
    ///
    /// # Panics
    /// If the sides have different numbers of steps.
    pub(in crate::kernels) fn multiply_split(
        &mut self,
        a: [&[Tile]; 2],
        b: &[Tile],
        ahead: &[Tile],
    ) -> &[Product<f32>; 4] {
        let steps = b.len() / 4;
        assert!(a.iter().all(|a| a.len() == 2 * steps), "as many steps each");
        // SAFETY: as above, with two tiles of each side of `a` and four of `b` in a round.
        #[allow(unsafe_code)]
        unsafe {
            sum_up!(
                steps,
                a,
                b,
                ahead,
                self.floats,
                // Second terms by first terms,
                "tileloadd tmm4, [{above} + {row} + 1024]",
                "tileloadd tmm6, [{b} + {row}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{b} + {row} + 1024]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{below} + {row} + 1024]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                // first by first,
                "tileloadd tmm4, [{above} + {row}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{below} + {row}]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                // first by second.
                "tileloadd tmm6, [{b} + {row} + 2048]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tileloadd tmm7, [{b} + {row} + 3072]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {above}, 2048",
                "add {below}, 2048",
                "add {b}, 4096",
            );
        }
        &self.floats
    }
}

/// Whether the processor has tiles and their products of bf16 and of bytes.
fn are_there() -> bool {
    const NEEDED: u32 = 1 << 22 | 1 << 24 | 1 << 25;
    // The tiles' own leaf is above this one, so that a processor that has them knows both.
    let known = __cpuid_count(0, 0).eax >= 7;
    known && __cpuid_count(7, 0).edx & NEEDED == NEEDED
}

/// Asks the system to keep the tile registers of this process's threads, which takes room that it sets up on demand only.
fn are_granted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call takes two numbers and writes nothing of ours; a kernel that does not know it says so.
    #[allow(unsafe_code)]
    let answer = unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        )
    };
    answer == 0
}
