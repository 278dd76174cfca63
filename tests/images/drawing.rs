//! Small pictures, drawn and encoded.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};
use modelpool::images::RgbImage;

/// A picture in which every pixel differs from its neighbours.
pub fn gradient(width: u32, height: u32) -> RgbImage {
    let pixels = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| [x * 40, y * 60, x * 7 + y * 3]))
        .map(|value| value as u8)
        .collect();
    RgbImage::new(width, height, pixels).unwrap()
}

pub fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

pub fn dynamic(picture: &RgbImage) -> DynamicImage {
    let (width, height) = (picture.width(), picture.height());
    image::RgbImage::from_raw(width, height, picture.pixels().to_vec())
        .unwrap()
        .into()
}

/// A PNG of one grey row that says it is larger than it is.
pub fn lying_png(width: u32, height: u32) -> Vec<u8> {
    let mut file = gradient(1, 1).to_png().unwrap();
    // The header's chunk: length, "IHDR", width, height, five more bytes, checksum.
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc(&file[12..29]);
    file[29..33].copy_from_slice(&checksum.to_be_bytes());
    file
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    })
}
