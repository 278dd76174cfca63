//! What is said to the hub over HTTP, and what is believed of its answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use ureq::http::{Response, header};
use ureq::{Agent, Body};

use super::LISTING;
use super::cache::RepoCache;
use super::files::{is_plain_word, is_safe_name};
use super::transfer::{Promise, Transfer, partial_length};
use crate::models::ModelError;
use crate::sources::progress::{ProgressCallback, ProgressEvent};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the hub may be silent, before its answer and within it.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_LISTING_BYTES: u64 = 64 * 1024 * 1024;
const MAX_REDIRECTS: usize = 6;

/// The files of a repository at one commit.
pub(super) struct Listing {
    pub(super) commit: String,
    /// The names, each with its length in bytes where the hub says it.
    pub(super) size_of: BTreeMap<String, Option<u64>>,
}

pub(super) struct HubClient<'a> {
    repo: &'a str,
    revision: &'a str,
    endpoint: &'a str,
    token: Option<String>,
    progress: Option<ProgressCallback>,
    agent: Agent,
}

impl<'a> HubClient<'a> {
    pub(super) fn new(
        repo: &'a str,
        revision: &'a str,
        endpoint: &'a str,
        token: Option<String>,
        progress: Option<ProgressCallback>,
    ) -> Result<Self, ModelError> {
        let endpoint = endpoint.trim_end_matches('/');
        if authority(endpoint).is_none_or(str::is_empty) {
            return Err(ModelError::InvalidConfig {
                file: "the hub's settings".to_owned(),
                field: "endpoint".to_owned(),
                detail: format!("{endpoint:?} is no http or https address"),
            });
        }
        // Redirects are followed here, because a file's promise stands in the first answer and
        // the token is for the hub alone.
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(SILENCE_TIMEOUT))
            .timeout_per_read(Some(SILENCE_TIMEOUT))
            .user_agent(concat!("modelpool/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self {
            repo,
            revision,
            endpoint,
            token,
            progress,
            agent: config.into(),
        })
    }

    /// The names of the repository's files at the revision.
    pub(super) fn list(&self) -> Result<Listing, ModelError> {
        #[derive(Deserialize)]
        struct Info {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
            size: Option<u64>,
        }
        let revision = self.revision.replace('/', "%2F");
        let mut url = format!(
            "{}/api/models/{}/revision/{revision}?blobs=true",
            self.endpoint, self.repo
        );
        let mut response = self.send(LISTING, &url, 0)?;
        for _ in 0..MAX_REDIRECTS {
            if !response.status().is_redirection() {
                break;
            }
            url = self.redirected(LISTING, &url, &response)?;
            response = self.send(LISTING, &url, 0)?;
        }
        self.expect_success(LISTING, &response)?;
        let body = response.body_mut().with_config().limit(MAX_LISTING_BYTES);
        let text = body
            .read_to_string()
            .map_err(|error| self.broken_off(LISTING, &error))?;
        let info: Info = serde_json::from_str(&text).map_err(|error| {
            self.nonsense(LISTING, format!("it is not as it should be: {error}"))
        })?;
        let mut names = info.siblings.iter().map(|sibling| &sibling.rfilename);
        if let Some(name) = names.find(|name| !is_safe_name(name)) {
            return Err(self.unsafe_name(name));
        }
        if !is_plain_word(&info.sha) {
            return Err(self.unsafe_name(&info.sha));
        }
        let sizes = info
            .siblings
            .into_iter()
            .map(|sibling| (sibling.rfilename, sibling.size));
        Ok(Listing {
            commit: info.sha,
            size_of: sizes.collect(),
        })
    }

    /// Brings one file among the cache's blobs, unless it is there, and says where it lies.
    pub(super) fn download(
        &self,
        commit: &str,
        name: &str,
        listed_size: Option<u64>,
        cache: &RepoCache,
    ) -> Result<PathBuf, ModelError> {
        let mut url = format!(
            "{}/{}/resolve/{commit}/{}",
            self.endpoint,
            self.repo,
            percent_encoded(name)
        );
        let mut promise = Promise::default();
        for _ in 0..=MAX_REDIRECTS {
            // What an earlier call left can be gone on with only where it is known, before
            // asking, which bytes will come.
            let resume_at = resume_point(&promise, cache);
            let response = self.send(name, &url, resume_at)?;
            promise.read_headers(response.headers());
            if let Some(blob) = self.whole_blob(&promise, cache)? {
                return Ok(blob);
            }
            if response.status().is_redirection() {
                url = self.redirected(name, &url, &response)?;
                continue;
            }
            self.expect_success(name, &response)?;
            if resume_at == 0 && resume_point(&promise, cache) > 0 {
                // Only this answer told which bytes these are: ask again, for the rest alone.
                continue;
            }
            let promise = promise.settled(response.headers(), listed_size);
            let (etag, size, sha256) = promise.map_err(|detail| self.damaged(name, detail))?;
            if !is_plain_word(&etag) {
                return Err(self.unsafe_name(&etag));
            }
            let transfer = Transfer {
                partial: cache.partial(&etag),
                blob: cache.blob(&etag),
                size,
                sha256,
                resume_at,
            };
            let progress = |bytes_done| self.report(name, bytes_done, size);
            return transfer
                .run(response, &progress)
                .map_err(|failure| failure.of_file(self.repo, name, self.endpoint));
        }
        Err(self.nonsense(name, "too many redirects".to_owned()))
    }

    /// The promised blob, if it is there from before, perhaps under another name or commit.
    fn whole_blob(
        &self,
        promise: &Promise,
        cache: &RepoCache,
    ) -> Result<Option<PathBuf>, ModelError> {
        let (Some(etag), Some(size)) = (promise.etag.as_deref(), promise.size) else {
            return Ok(None);
        };
        if !is_plain_word(etag) {
            return Err(self.unsafe_name(etag));
        }
        let blob = cache.blob(etag);
        let whole = std::fs::metadata(&blob).is_ok_and(|found| found.len() == size);
        Ok(whole.then_some(blob))
    }

    fn send(&self, file: &str, url: &str, resume_at: u64) -> Result<Response<Body>, ModelError> {
        let mut request = self
            .agent
            .get(url)
            // A compressed answer would have another length than was promised.
            .header(header::ACCEPT_ENCODING, "identity");
        let to_the_hub = authority(url) == authority(self.endpoint);
        if let Some(token) = self.token.as_ref().filter(|_| to_the_hub) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if resume_at > 0 {
            request = request.header(header::RANGE, format!("bytes={resume_at}-"));
        }
        request
            .call()
            .map_err(|error| self.broken_off(file, &error))
    }

    fn expect_success(&self, file: &str, response: &Response<Body>) -> Result<(), ModelError> {
        match response.status().as_u16() {
            200 | 206 => Ok(()),
            status @ (401 | 403) => Err(ModelError::HubUnauthorized {
                repo: self.repo.to_owned(),
                file: file.to_owned(),
                status,
            }),
            404 => Err(ModelError::HubNotFound {
                repo: self.repo.to_owned(),
                revision: self.revision.to_owned(),
                file: file.to_owned(),
            }),
            status => Err(self.nonsense(file, format!("HTTP status {status}"))),
        }
    }

    fn redirected(
        &self,
        file: &str,
        from: &str,
        response: &Response<Body>,
    ) -> Result<String, ModelError> {
        let location = response.headers().get(header::LOCATION);
        let target = location
            .and_then(|value| value.to_str().ok())
            .and_then(|target| absolute(from, target));
        let target = target
            .ok_or_else(|| self.nonsense(file, "a redirect that leads nowhere".to_owned()))?;
        if from.starts_with("https:") && !target.starts_with("https:") {
            return Err(self.nonsense(file, "a redirect away from https".to_owned()));
        }
        Ok(target)
    }

    fn report(&self, file: &str, bytes_done: u64, bytes_total: u64) {
        if let Some(progress) = &self.progress {
            progress(ProgressEvent {
                repo: self.repo.to_owned(),
                file: file.to_owned(),
                bytes_done,
                bytes_total,
            });
        }
    }

    fn broken_off(&self, file: &str, error: &ureq::Error) -> ModelError {
        match error {
            ureq::Error::Http(_) | ureq::Error::BadUri(_) | ureq::Error::BodyExceedsLimit(_) => {
                self.nonsense(file, error.to_string())
            }
            _ => ModelError::HubUnreachable {
                repo: self.repo.to_owned(),
                file: file.to_owned(),
                endpoint: self.endpoint.to_owned(),
                detail: error.to_string(),
            },
        }
    }

    fn nonsense(&self, file: &str, detail: String) -> ModelError {
        ModelError::Hub {
            repo: self.repo.to_owned(),
            file: file.to_owned(),
            detail,
        }
    }

    fn damaged(&self, file: &str, detail: String) -> ModelError {
        ModelError::HubDamaged {
            repo: self.repo.to_owned(),
            file: file.to_owned(),
            detail,
        }
    }

    fn unsafe_name(&self, name: &str) -> ModelError {
        ModelError::HubUnsafeName {
            repo: self.repo.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// How many of the promised bytes an earlier call left.
fn resume_point(promise: &Promise, cache: &RepoCache) -> u64 {
    match (&promise.etag, promise.size) {
        (Some(etag), Some(size)) => partial_length(&cache.partial(etag), size),
        _ => 0,
    }
}

/// `host:port` with its scheme: what must be equal for a token to be sent.
fn authority(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let scheme = url.len() - rest.len();
    (host > 0).then(|| &url[..scheme + host])
}

fn absolute(from: &str, target: &str) -> Option<String> {
    if authority(target).is_some() {
        return Some(target.to_owned());
    }
    let on_the_same_host = target.starts_with('/') && !target.starts_with("//");
    on_the_same_host.then(|| Some(format!("{}{target}", authority(from)?)))?
}

fn percent_encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
