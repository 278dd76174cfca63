//! Why a picture cannot be had.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a picture cannot be read, fetched or decoded.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The path is of something else than a file.
    #[error("{} is no file", path.display())]
    NoFile {
        /// The path.
        path: PathBuf,
    },
    /// More bytes than [`ImageLimits::max_bytes`](super::ImageLimits::max_bytes).
    #[error("the picture has more than {limit} bytes")]
    TooManyBytes {
        /// The limit.
        limit: u64,
    },
    /// Larger than the limits on sides, pixels or decoded bytes allow.
    #[error("the picture is {width}x{height}: {what} of {limit} is exceeded")]
    TooLarge {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Which limit.
        what: &'static str,
        /// That limit.
        limit: u64,
    },
    /// A picture without pixels.
    #[error("the picture is {width}x{height}: it has no pixels")]
    Empty {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// Pixels that do not make a picture of the size that was named.
    #[error("{width}x{height} pixels are 3 bytes each, not {len} in all")]
    WrongLength {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// Bytes that were given.
        len: usize,
    },
    /// The bytes are of no format that is read.
    #[error("the bytes are no PNG, JPEG, WebP, GIF, BMP or TIFF")]
    UnknownFormat,
    /// The picture is damaged, or lies about itself.
    #[error("the picture is damaged")]
    Damaged {
        /// What the decoder said.
        #[source]
        source: Arc<image::ImageError>,
    },
    /// The decoder panicked.
    #[error("the picture's decoder failed")]
    DecoderPanicked,
    /// The picture could not be written.
    #[error("the picture cannot be encoded")]
    Unwritable {
        /// What the encoder said.
        #[source]
        source: Arc<image::ImageError>,
    },
    /// Text that is not base64.
    #[error("the text is not base64")]
    NotBase64 {
        /// What is wrong with it.
        #[source]
        source: base64::DecodeError,
    },
    /// A data URL that is not `data:[type];base64,DATA`.
    #[error("the data URL {why}")]
    BadDataUrl {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Addresses are switched off: [`ImageLimits::allow_urls`](super::ImageLimits::allow_urls).
    #[error("pictures are not fetched from addresses here")]
    UrlsForbidden,
    /// An address that is not followed, whoever it is of.
    #[error("the address {why}")]
    BadUrl {
        /// What is wrong with it.
        why: &'static str,
    },
    /// A host whose address is not one of the public network.
    #[error("{host} is at {address}, which is not public")]
    ForbiddenAddress {
        /// The host as named.
        host: String,
        /// What it resolves to.
        address: IpAddr,
    },
    /// The host was not reached, or broke off, or took too long.
    #[error("cannot fetch the picture from {host}")]
    Unreachable {
        /// The host as named.
        host: String,
        /// What the client said.
        #[source]
        source: Arc<ureq::Error>,
    },
    /// The host answered with something else than success.
    #[error("{host} answered {status}")]
    Refused {
        /// The host as named.
        host: String,
        /// Its HTTP status.
        status: u16,
    },
    /// One redirect too many.
    #[error("more than {limit} redirects")]
    TooManyRedirects {
        /// How many are followed.
        limit: usize,
    },
}
