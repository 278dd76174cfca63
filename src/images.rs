//! Pictures: where they come from, and what is believed of them.
//!
//! An [`ImageSource`] is whatever a caller has: a path, an address, base64 text, bytes, or pixels. To
//! [load](ImageSource::load) one reads or fetches it, decodes it, turns it as its EXIF data say, and
//! lays what is transparent on white. PNG, JPEG, WebP, GIF (the first frame), BMP and TIFF are read; 16-bit
//! and grey ones become 8-bit RGB. Sizes are checked before anything of that size is taken from memory,
//! by [`ImageLimits`]. An [`ImagePreprocessor`] then makes of a picture what a model takes.
//!
//! ```
//! use modelpool::images::{ImageLimits, ImageSource, RgbImage};
//!
//! # fn main() -> Result<(), modelpool::images::ImageError> {
//! let red = RgbImage::new(2, 1, vec![255, 0, 0, 255, 0, 0])?;
//! let file = red.to_png()?;
//! assert_eq!(ImageSource::bytes(file).load(&ImageLimits::default())?, red);
//!
//! let inside = ImageSource::url("http://169.254.169.254/latest/meta-data");
//! assert!(inside.load(&ImageLimits::default()).is_err());
//! # Ok(()) }
//! ```

mod address;
mod base64_text;
mod decode;
mod error;
mod fetch;
mod limits;
mod picture;
mod preprocess;
pub(crate) mod resample;
mod source;

pub use error::ImageError;
pub use limits::ImageLimits;
pub use picture::RgbImage;
pub use preprocess::{ImagePreprocessor, PixelTensor};
pub use source::ImageSource;
