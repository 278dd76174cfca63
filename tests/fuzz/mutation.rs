//! Mutations drawn from a seed, for the replay.

/// Damages bytes in the ways that files are damaged: bits flip, lengths lie, parts go missing, are
/// doubled or come from elsewhere.
pub struct Mutator(u64);

impl Mutator {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// Most of what makes a parser stumble stands at the beginning.
    fn place(&mut self, length: usize) -> usize {
        if self.below(4) > 0 {
            self.below(length.min(512))
        } else {
            self.below(length)
        }
    }

    pub fn damage(&mut self, bytes: &mut Vec<u8>) {
        const MARKS: &[u8] = b"0123456789-{}[]\",:.eE\ntfu";
        const NUMBERS: [u64; 8] = [
            0,
            1,
            0x7f,
            0xff,
            1 << 31,
            u32::MAX as u64,
            1 << 40,
            u64::MAX,
        ];
        for _ in 0..=self.below(3) {
            if bytes.is_empty() {
                bytes.push(self.next() as u8);
                continue;
            }
            let at = self.place(bytes.len());
            match self.below(7) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.next() as u8,
                2 => bytes.truncate(at),
                3 => bytes.insert(at, MARKS[self.below(MARKS.len())]),
                4 => {
                    let number = NUMBERS[self.below(NUMBERS.len())].to_le_bytes();
                    let end = bytes.len().min(at + 8);
                    bytes[at..end].copy_from_slice(&number[..end - at]);
                }
                5 => {
                    let end = bytes.len().min(at + 1 + self.below(64));
                    let part = bytes[at..end].to_vec();
                    let to = self.place(bytes.len());
                    bytes.splice(to..to, part);
                }
                _ => {
                    let end = bytes.len().min(at + 1 + self.below(64));
                    bytes.drain(at..end);
                }
            }
        }
    }
}
