//! Memory that large pages are asked for.

use modelpool::testing::kernels::prefer_large_pages;

const MIB: usize = 1 << 20;

/// A byte that tells its place.
fn mark(place: usize) -> u8 {
    (place % 251) as u8
}

#[test]
fn to_ask_for_large_pages_changes_nothing_in_memory() {
    let length = 16 * MIB;
    let all: Vec<u8> = (0..length).map(mark).collect();
    for first in [0, 1, 63, 4095, 4096, 4097, MIB + 7] {
        for count in [0, 1, 4 * MIB - 1, 4 * MIB, 9 * MIB + 3, length - first] {
            let mut bytes = all.clone();
            prefer_large_pages(&mut bytes[first..][..count]);
            assert!(bytes == all, "{count} bytes from {first} on");
            // And they can be written as before.
            bytes.fill(7);
            assert!(bytes.iter().all(|byte| *byte == 7));
        }
    }
}

#[test]
fn memory_without_content_can_be_asked_for() {
    prefer_large_pages(&mut []);
    let mut room = vec![0; 32 * MIB];
    prefer_large_pages(&mut room);
    assert!(room.iter().all(|byte| *byte == 0));
}
