//! The alphabet in which byte-level BPE writes bytes as visible characters.

/// The byte that a character of the alphabet stands for.
///
/// Printable ASCII and Latin-1 characters stand for themselves; the other 68 bytes, in their order,
/// are the characters from U+0100 on.
pub(super) fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        // 0x00–0x20
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        // 0x7f–0xa0
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        // the soft hyphen
        0x143 => Some(0xad),
        _ => None,
    }
}
