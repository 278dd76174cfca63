//! Pictures as text: base64 by itself, or in a data URL.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{ImageError, ImageLimits};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// What a scheme and a media type may take of a data URL.
const MAX_PREAMBLE: usize = 256;

/// The bytes that the text stands for: base64 of either alphabet, padded or not, with white space
/// anywhere; or a data URL of it.
pub(super) fn decode(text: &str, limits: &ImageLimits) -> Result<Vec<u8>, ImageError> {
    let data = payload(text)?;
    check_length(data, limits)?;
    let without_space: String;
    let data = if data.bytes().any(|byte| byte.is_ascii_whitespace()) {
        without_space = data.split_ascii_whitespace().collect();
        &without_space
    } else {
        data
    };
    let engine = if data.contains(['-', '_']) {
        URL_SAFE
    } else {
        STANDARD
    };
    let bytes = engine
        .decode(data)
        .map_err(|source| ImageError::NotBase64 { source })?;
    limits.check_bytes(bytes.len() as u64)?;
    Ok(bytes)
}

/// Checks what can be told without decoding.
pub(super) fn check(text: &str, limits: &ImageLimits) -> Result<(), ImageError> {
    check_length(payload(text)?, limits)
}

/// Even one white space in two leaves room for a line break after every character.
fn check_length(data: &str, limits: &ImageLimits) -> Result<(), ImageError> {
    limits.check_bytes(data.len() as u64 / 8 * 3)
}

/// The base64 part of a data URL ([RFC 2397](https://www.rfc-editor.org/rfc/rfc2397)); other text as it is.
fn payload(text: &str) -> Result<&str, ImageError> {
    let text = text.trim_ascii();
    let is_data_url = text
        .get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    if !is_data_url {
        return Ok(text);
    }
    let bad = |why| Err(ImageError::BadDataUrl { why });
    let preamble = text
        .bytes()
        .take(MAX_PREAMBLE)
        .position(|byte| byte == b',');
    let Some(comma) = preamble else {
        return bad("has no comma before its data");
    };
    let (kind, data) = (&text[5..comma], &text[comma + 1..]);
    let Some((media_type, encoding)) = kind.rsplit_once(';') else {
        return bad("is not base64");
    };
    if !encoding.trim_ascii().eq_ignore_ascii_case("base64") {
        return bad("is not base64");
    }
    let media_type = media_type.trim_ascii();
    let is_image = media_type
        .get(..6)
        .is_some_and(|kind| kind.eq_ignore_ascii_case("image/"));
    if !is_image && !media_type.is_empty() {
        return bad("is not of an image");
    }
    Ok(data)
}
