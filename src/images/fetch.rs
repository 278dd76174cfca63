//! Pictures from addresses that a caller names.
//!
//! What is checked is the address that the connection is made to, not the name: the check sits in the
//! client's resolver, so there is no second look-up that could give another answer.

use std::fmt;
use std::io::Read;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::config::Config;
use ureq::http::{Response, Uri, header};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};
use url::{Host, Url};

use super::address::is_public;
use super::{ImageError, ImageLimits};

/// Longer addresses are no one's.
const MAX_URL_BYTES: usize = 8 * 1024;

/// Fetches what lies at an address. Blocks.
pub(super) fn fetch(address: &str, limits: &ImageLimits) -> Result<Vec<u8>, ImageError> {
    let started = Instant::now();
    let mut url = parse(address, limits)?;
    for _ in 0..=limits.max_redirects {
        let left = limits.fetch_timeout.saturating_sub(started.elapsed());
        let mut response = ask(&url, left, limits)?;
        let status = response.status();
        if status.is_redirection() {
            let target = response.headers().get(header::LOCATION);
            let target = target.and_then(|target| target.to_str().ok());
            let Some(target) = target.and_then(|target| url.join(target).ok()) else {
                return Err(ImageError::BadUrl {
                    why: "redirects to nowhere",
                });
            };
            check(&target, limits)?;
            url = target;
            continue;
        }
        if !status.is_success() {
            return Err(ImageError::Refused {
                host: host_of(&url),
                status: status.as_u16(),
            });
        }
        return read(&mut response, &url, limits);
    }
    Err(ImageError::TooManyRedirects {
        limit: limits.max_redirects,
    })
}

/// Reads an address and checks what can be told of it without asking anybody.
pub(super) fn parse(address: &str, limits: &ImageLimits) -> Result<Url, ImageError> {
    if !limits.allow_urls {
        return Err(ImageError::UrlsForbidden);
    }
    if address.len() > MAX_URL_BYTES {
        return Err(ImageError::BadUrl { why: "is too long" });
    }
    let url = Url::parse(address).map_err(|_| ImageError::BadUrl {
        why: "cannot be understood",
    })?;
    check(&url, limits)?;
    Ok(url)
}

fn check(url: &Url, limits: &ImageLimits) -> Result<(), ImageError> {
    let bad = |why| Err(ImageError::BadUrl { why });
    if !matches!(url.scheme(), "http" | "https") {
        return bad("is neither http nor https");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return bad("has a user or a password in it");
    }
    // The parser has made plain addresses of decimal, octal and hexadecimal ones.
    let address: IpAddr = match url.host() {
        None => return bad("has no host"),
        Some(Host::Domain(_)) => return Ok(()),
        Some(Host::Ipv4(address)) => address.into(),
        Some(Host::Ipv6(address)) => address.into(),
    };
    let host = host_of(url);
    if is_allowed(&host, address, limits) {
        return Ok(());
    }
    Err(ImageError::ForbiddenAddress { host, address })
}

fn is_allowed(host: &str, address: IpAddr, limits: &ImageLimits) -> bool {
    limits.allow_private_addresses
        || limits.trusted_hosts.iter().any(|trusted| trusted == host)
        || is_public(address)
}

fn host_of(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

fn ask(url: &Url, left: Duration, limits: &ImageLimits) -> Result<Response<Body>, ImageError> {
    // Redirects are followed by hand, so that each is checked; a proxy would look names up itself.
    let config = Agent::config_builder()
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(left))
        .user_agent(concat!("modelpool/", env!("CARGO_PKG_VERSION")))
        .build();
    let resolver = CheckedResolver {
        inner: DefaultResolver::default(),
        host: host_of(url),
        limits: limits.clone(),
    };
    let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
    let asked = agent.get(url.as_str()).header("accept", "image/*").call();
    asked.map_err(|error| failed(url, error))
}

fn read(
    response: &mut Response<Body>,
    url: &Url,
    limits: &ImageLimits,
) -> Result<Vec<u8>, ImageError> {
    limits.check_bytes(response.body().content_length().unwrap_or(0))?;
    let mut bytes = Vec::new();
    let mut body = response
        .body_mut()
        .as_reader()
        .take(limits.max_bytes.saturating_add(1));
    body.read_to_end(&mut bytes)
        .map_err(|error| failed(url, ureq::Error::Io(error)))?;
    limits.check_bytes(bytes.len() as u64)?;
    Ok(bytes)
}

fn failed(url: &Url, error: ureq::Error) -> ImageError {
    if let ureq::Error::Other(other) = &error
        && let Some(forbidden) = other.downcast_ref::<Forbidden>()
    {
        return ImageError::ForbiddenAddress {
            host: host_of(url),
            address: forbidden.0,
        };
    }
    ImageError::Unreachable {
        host: host_of(url),
        source: Arc::new(error),
    }
}

/// An address that is not connected to.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not public")]
struct Forbidden(IpAddr);

/// Looks names up, and gives no address that is not allowed.
struct CheckedResolver {
    inner: DefaultResolver,
    host: String,
    limits: ImageLimits,
}

impl fmt::Debug for CheckedResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedResolver")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl Resolver for CheckedResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        // One of several that is not allowed is reason enough: its name is not to be trusted.
        let forbidden = found
            .iter()
            .find(|found| !is_allowed(&self.host, found.ip(), &self.limits));
        match forbidden {
            Some(found) => Err(ureq::Error::Other(Box::new(Forbidden(found.ip())))),
            None => Ok(found),
        }
    }
}
