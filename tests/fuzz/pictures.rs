//! Pictures, and the texts that stand for them.

use modelpool::images::{ImageLimits, ImagePreprocessor, ImageSource, RgbImage};

/// Small, so that a fuzzer spends its time on reading and not on painting.
fn limits() -> ImageLimits {
    ImageLimits::default()
        .max_bytes(1 << 20)
        .max_pixels(1 << 16)
        .max_decoded_bytes(1 << 22)
}

/// A file of any format.
pub fn pictures(bytes: &[u8]) {
    let limits = limits();
    if let Ok(picture) = ImageSource::bytes(bytes).load(&limits) {
        let (width, height) = (u64::from(picture.width()), u64::from(picture.height()));
        assert!(width * height <= limits.max_pixels);
        assert_eq!(picture.pixels().len() as u64, 3 * width * height);
        let again = picture.to_png().expect("a picture can be written");
        let again = ImageSource::bytes(again).load(&ImageLimits::default());
        assert_eq!(again.ok(), Some(picture));
    }
}

/// Base64, data URLs, and addresses as far as they can be judged without asking anybody.
pub fn picture_texts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = ImageSource::base64(text.clone()).load(&limits());
    let _ = ImageSource::url(text).check(&limits());
    let _ = serde_json::from_slice::<ImageSource>(bytes);
}

/// A preprocessor's configuration, and what it makes of a small picture.
pub fn preprocessor(bytes: &[u8]) {
    let Ok(preprocessor) = ImagePreprocessor::from_json(&String::from_utf8_lossy(bytes)) else {
        return;
    };
    let pixels = (0..5 * 3 * 3).map(|value| value * 5).collect();
    let picture = RgbImage::new(5, 3, pixels).expect("a full picture");
    if let Ok(tensor) = preprocessor.run(&picture) {
        let [channels, height, width] = tensor.shape();
        assert_eq!(tensor.values().len(), channels * height * width);
        assert!(tensor.values().iter().all(|value| value.is_finite()));
    }
}
