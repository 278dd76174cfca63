//! What pictures may cost.

use std::time::Duration;

use super::ImageError;

/// How large a picture may be, and where from. Whatever exceeds a limit is refused before memory is
/// taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageLimits {
    /// Bytes of the encoded picture: of a file, an answer, or what base64 text stands for. Default: 20 MiB.
    pub max_bytes: u64,
    /// Pixels of the picture. Default: 50 million.
    pub max_pixels: u64,
    /// Pixels of its longer side. Default: 16,384.
    pub max_side: u32,
    /// Bytes that the decoder may take. Default: 512 MiB.
    pub max_decoded_bytes: u64,
    /// How long a fetch may take from beginning to end, redirects included. Default: 10 s.
    pub fetch_timeout: Duration,
    /// How many redirects are followed. Default: 3.
    pub max_redirects: usize,
    /// Whether pictures are fetched at all. Default: yes.
    pub allow_urls: bool,
    /// Whether they are fetched from addresses that are not public: private, loopback, link-local and
    /// the like. Default: no, since whoever names an address would reach what your service reaches.
    pub allow_private_addresses: bool,
    /// Hosts that are fetched from wherever their name leads, such as a service's own store. As they stand
    /// in the address, in lower case. Default: none.
    pub trusted_hosts: Vec<String>,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self {
            max_bytes: 20 << 20,
            max_pixels: 50_000_000,
            max_side: 16_384,
            max_decoded_bytes: 512 << 20,
            fetch_timeout: Duration::from_secs(10),
            max_redirects: 3,
            allow_urls: true,
            allow_private_addresses: false,
            trusted_hosts: Vec::new(),
        }
    }
}

impl ImageLimits {
    pub(super) fn check_bytes(&self, bytes: u64) -> Result<(), ImageError> {
        let limit = self.max_bytes;
        if bytes > limit {
            return Err(ImageError::TooManyBytes { limit });
        }
        Ok(())
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets [`max_pixels`](Self::max_pixels).
    #[must_use]
    pub fn max_pixels(mut self, pixels: u64) -> Self {
        self.max_pixels = pixels;
        self
    }

    /// Sets [`max_side`](Self::max_side).
    #[must_use]
    pub fn max_side(mut self, pixels: u32) -> Self {
        self.max_side = pixels;
        self
    }

    /// Sets [`max_decoded_bytes`](Self::max_decoded_bytes).
    #[must_use]
    pub fn max_decoded_bytes(mut self, bytes: u64) -> Self {
        self.max_decoded_bytes = bytes;
        self
    }

    /// Sets [`fetch_timeout`](Self::fetch_timeout).
    #[must_use]
    pub fn fetch_timeout(mut self, limit: Duration) -> Self {
        self.fetch_timeout = limit;
        self
    }

    /// Sets [`max_redirects`](Self::max_redirects).
    #[must_use]
    pub fn max_redirects(mut self, redirects: usize) -> Self {
        self.max_redirects = redirects;
        self
    }

    /// Sets [`allow_urls`](Self::allow_urls).
    #[must_use]
    pub fn allow_urls(mut self, allow: bool) -> Self {
        self.allow_urls = allow;
        self
    }

    /// Sets [`allow_private_addresses`](Self::allow_private_addresses).
    #[must_use]
    pub fn allow_private_addresses(mut self, allow: bool) -> Self {
        self.allow_private_addresses = allow;
        self
    }

    /// Adds one of the [`trusted_hosts`](Self::trusted_hosts).
    #[must_use]
    pub fn trusted_host(mut self, host: impl Into<String>) -> Self {
        self.trusted_hosts.push(host.into().to_ascii_lowercase());
        self
    }
}
