//! Reading the parts of a file whose length is known: nothing is allocated for what cannot be there.

use std::io::Read;

/// A little-endian source of `length` bytes in all. What goes wrong is said in words, which the
/// caller puts beside the file's name.
pub(super) struct Reader<R> {
    source: R,
    position: u64,
    length: u64,
}

/// Why a header could not be read.
pub(super) enum Fault {
    /// The source failed.
    Io(std::io::Error),
    /// What it holds makes no sense.
    Content(String),
}

impl From<String> for Fault {
    fn from(detail: String) -> Self {
        Self::Content(detail)
    }
}

impl<R: Read> Reader<R> {
    pub(super) fn new(source: R, length: u64) -> Self {
        Self {
            source,
            position: 0,
            length,
        }
    }

    /// How many bytes were read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Fails unless `count` parts of at least `bytes` bytes each can still follow; gives the count
    /// back as a number of elements in memory.
    pub(super) fn claim(&self, count: u64, bytes: u64, what: &str) -> Result<usize, Fault> {
        let left = self.length - self.position;
        match count.checked_mul(bytes) {
            Some(needed) if needed <= left => usize::try_from(count)
                .map_err(|_| Fault::Content(format!("{count} {what} are too many"))),
            _ => Err(Fault::Content(format!(
                "{count} {what} are claimed where {left} bytes are left"
            ))),
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        if self.length - self.position < N as u64 {
            return Err(Fault::Content(format!(
                "it ends within its header, at byte {}",
                self.length
            )));
        }
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        self.source.read_exact(bytes).map_err(|error| {
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                Fault::Content("it ended while it was read".to_owned())
            } else {
                Fault::Io(error)
            }
        })?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn u32(&mut self) -> Result<u32, Fault> {
        self.fixed().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Fault> {
        self.fixed().map(u64::from_le_bytes)
    }

    /// Adds `count` bytes to `bytes`.
    pub(super) fn bytes(&mut self, count: u64, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let count = self.claim(count, 1, "bytes")?;
        let start = bytes.len();
        bytes.resize(start + count, 0);
        self.fill(&mut bytes[start..])
    }

    /// Reads a text: its length, then its UTF-8.
    pub(super) fn text(&mut self, most: u64) -> Result<String, Fault> {
        let length = self.u64()?;
        if length > most {
            return Err(Fault::Content(format!(
                "a name of {length} bytes is claimed, {most} are allowed"
            )));
        }
        let mut bytes = Vec::new();
        self.bytes(length, &mut bytes)?;
        String::from_utf8(bytes).map_err(|_| Fault::Content("a text is not UTF-8".to_owned()))
    }
}
