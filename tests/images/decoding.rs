//! Formats, colours, orientation, and files that are not what they say.

use image::{DynamicImage, ImageFormat};
use modelpool::images::{ImageError, ImageLimits, ImageSource, RgbImage};

use crate::drawing::{dynamic, encoded, gradient, lying_png};

fn load(file: Vec<u8>) -> Result<RgbImage, ImageError> {
    ImageSource::bytes(file).load(&ImageLimits::default())
}

#[test]
fn every_lossless_format_gives_the_pixels_that_were_written() {
    let picture = gradient(7, 4);
    for format in [
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
        ImageFormat::WebP,
    ] {
        let loaded = load(encoded(&dynamic(&picture), format)).unwrap();
        assert_eq!(loaded, picture, "{format:?}");
    }
}

#[test]
fn a_jpeg_is_close_to_what_was_written() {
    let grey = RgbImage::new(16, 16, vec![90; 3 * 256]).unwrap();
    let loaded = load(encoded(&dynamic(&grey), ImageFormat::Jpeg)).unwrap();
    assert_eq!((loaded.width(), loaded.height()), (16, 16));
    assert!(loaded.pixels().iter().all(|value| value.abs_diff(90) <= 1));
}

#[test]
fn a_gif_gives_its_first_frame() {
    let mut file = Vec::new();
    {
        let mut encoder = image::codecs::gif::GifEncoder::new(&mut file);
        for value in [255, 0] {
            let frame = image::RgbaImage::from_pixel(3, 2, [value, value, value, 255].into());
            encoder.encode_frame(image::Frame::new(frame)).unwrap();
        }
    }
    let loaded = load(file).unwrap();
    assert_eq!(loaded, RgbImage::new(3, 2, vec![255; 18]).unwrap());
}

#[test]
fn deep_and_grey_pictures_become_rgb_of_8_bits() {
    let deep = image::ImageBuffer::from_pixel(1, 1, image::Rgb([65_535_u16, 32_896, 0]));
    let deep = encoded(&DynamicImage::ImageRgb16(deep), ImageFormat::Png);
    assert_eq!(load(deep).unwrap().pixels(), [255, 128, 0]);

    let grey = image::GrayImage::from_pixel(1, 1, [77].into());
    let grey = encoded(&grey.into(), ImageFormat::Png);
    assert_eq!(load(grey).unwrap().pixels(), [77; 3]);
}

#[test]
fn what_is_transparent_is_laid_on_white() {
    let colours = [
        ([10, 20, 30, 255], [10, 20, 30]),
        ([10, 20, 30, 0], [255, 255, 255]),
        ([0, 100, 200, 51], [204, 224, 244]),
    ];
    for (colour, wanted) in colours {
        let picture = image::RgbaImage::from_pixel(1, 1, colour.into());
        let file = encoded(&picture.into(), ImageFormat::Png);
        assert_eq!(load(file).unwrap().pixels(), wanted);
    }
    let grey = image::GrayAlphaImage::from_pixel(1, 1, [0, 0].into());
    let file = encoded(&grey.into(), ImageFormat::Png);
    assert_eq!(load(file).unwrap().pixels(), [255; 3]);
}

/// An EXIF segment whose one entry is the orientation.
fn with_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let exif = [
        b"Exif\0\0MM\0\x2a\0\0\0\x08".as_slice(),
        b"\0\x01\x01\x12\0\x03\0\0\0\x01\0",
        &[orientation],
        b"\0\0\0\0\0\0",
    ]
    .concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], b"\xff\xe1", &length, &exif, &jpeg[2..]].concat()
}

#[test]
fn a_photo_is_turned_as_its_exif_data_say() {
    // Light on the left, dark on the right.
    let pixels: Vec<u8> = (0..16 * 32)
        .flat_map(|at| [if at % 32 < 16 { 250 } else { 5 }; 3])
        .collect();
    let picture = RgbImage::new(32, 16, pixels).unwrap();
    let jpeg = encoded(&dynamic(&picture), ImageFormat::Jpeg);
    let light_at = |orientation| {
        let loaded = load(with_orientation(&jpeg, orientation)).unwrap();
        let (width, height) = (loaded.width(), loaded.height());
        let light = |x: u32, y: u32| loaded.pixels()[3 * (y * width + x) as usize] > 128;
        let corners = [
            light(1, 1),
            light(width - 2, 1),
            light(1, height - 2),
            light(width - 2, height - 2),
        ];
        (width, height, corners)
    };
    assert_eq!(light_at(1), (32, 16, [true, false, true, false]));
    assert_eq!(light_at(3), (32, 16, [false, true, false, true]));
    assert_eq!(light_at(6), (16, 32, [true, true, false, false]));
    assert_eq!(light_at(8), (16, 32, [false, false, true, true]));
}

#[test]
fn what_is_no_picture_is_told_at_once() {
    for bytes in [b"".as_slice(), b"{}", b"%PDF-1.7", b"<svg/>", &[0; 4096]] {
        let error = load(bytes.to_vec()).unwrap_err();
        assert!(matches!(error, ImageError::UnknownFormat), "{error}");
    }
}

#[test]
fn damaged_files_are_told() {
    let picture = dynamic(&gradient(40, 30));
    for format in [
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
        ImageFormat::WebP,
    ] {
        let whole = encoded(&picture, format);
        for kept in [whole.len() / 8, whole.len() / 2] {
            let error = load(whole[..kept].to_vec()).unwrap_err();
            let is_told = matches!(
                error,
                ImageError::Damaged { .. } | ImageError::DecoderPanicked
            );
            assert!(is_told, "{format:?}: {error}");
        }
    }
}

#[test]
fn a_size_that_is_only_claimed_takes_no_memory() {
    let bomb = load(lying_png(16_000, 16_000)).unwrap_err();
    assert!(
        matches!(
            bomb,
            ImageError::TooLarge {
                what: "max_pixels",
                ..
            }
        ),
        "{bomb}"
    );
    let strip = load(lying_png(1, 100_000)).unwrap_err();
    assert!(
        matches!(
            strip,
            ImageError::TooLarge {
                what: "max_side",
                height: 100_000,
                ..
            }
        ),
        "{strip}"
    );
    let lying = load(lying_png(2_000, 2_000)).unwrap_err();
    assert!(matches!(lying, ImageError::Damaged { .. }), "{lying}");
    for (width, height) in [(0, 5), (5, 0)] {
        let empty = load(lying_png(width, height)).unwrap_err();
        assert!(
            matches!(empty, ImageError::Empty { .. } | ImageError::Damaged { .. }),
            "{empty}"
        );
    }
}

#[test]
fn each_limit_holds() {
    let file = gradient(20, 10).to_png().unwrap();
    let source = ImageSource::bytes(file.clone());
    let limits = ImageLimits::default;
    let fits = |limits: ImageLimits| source.load(&limits).map(drop);
    let what = |limits| match fits(limits).unwrap_err() {
        ImageError::TooLarge { what, .. } => what,
        other => panic!("{other}"),
    };
    fits(limits().max_side(20)).unwrap();
    assert_eq!(what(limits().max_side(19)), "max_side");
    fits(limits().max_pixels(200)).unwrap();
    assert_eq!(what(limits().max_pixels(199)), "max_pixels");
    assert_eq!(what(limits().max_decoded_bytes(599)), "max_decoded_bytes");
    let bytes = file.len() as u64;
    fits(limits().max_bytes(bytes)).unwrap();
    let error = fits(limits().max_bytes(bytes - 1)).unwrap_err();
    assert!(matches!(error, ImageError::TooManyBytes { .. }), "{error}");

    let pixels = ImageSource::pixels(gradient(20, 10));
    pixels.load(&limits()).unwrap();
    let error = pixels.load(&limits().max_pixels(199)).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
}

#[test]
fn pixels_must_make_a_picture() {
    let empty = RgbImage::new(0, 3, Vec::new()).unwrap_err();
    assert!(matches!(empty, ImageError::Empty { .. }));
    let short = RgbImage::new(2, 2, vec![0; 11]).unwrap_err();
    assert!(matches!(short, ImageError::WrongLength { len: 11, .. }));
    RgbImage::new(u32::MAX, u32::MAX, vec![0; 3]).unwrap_err();
    let read = serde_json::from_str::<RgbImage>(r#"{"width":1,"height":1,"pixels":[1,2]}"#);
    assert!(read.unwrap_err().to_string().contains("3 bytes each"));
}
