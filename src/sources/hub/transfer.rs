//! The bytes of one file: from an answer's body to a whole blob, or to none.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::Body;
use ureq::http::{HeaderMap, Response, header};

use super::cache::{create_parent, unwritable};
use crate::models::ModelError;

const BUFFER_BYTES: usize = 256 * 1024;

/// What the hub's headers promise of a file.
#[derive(Default)]
pub(super) struct Promise {
    /// From `x-linked-etag`: a large file's, which the answer that redirects to its bytes gives.
    pub(super) etag: Option<String>,
    /// From `x-linked-size`.
    pub(super) size: Option<u64>,
}

impl Promise {
    pub(super) fn read_headers(&mut self, headers: &HeaderMap) {
        if let Some(etag) = text_of(headers, "x-linked-etag") {
            self.etag.get_or_insert_with(|| plain_etag(etag));
        }
        let size = text_of(headers, "x-linked-size").and_then(|size| size.parse().ok());
        self.size = self.size.or(size);
    }

    /// The etag, the length and, where it is known, the SHA-256 that the body must have; or why the
    /// promises are not enough.
    pub(super) fn settled(
        self,
        headers: &HeaderMap,
        listed_size: Option<u64>,
    ) -> Result<(String, u64, Option<String>), String> {
        let sha256 = self.etag.clone().filter(|etag| is_sha256(etag));
        let own_etag = || text_of(headers, "etag").map(plain_etag);
        let etag = self.etag.or_else(own_etag).ok_or("the hub sent no etag")?;
        let whole_length = || {
            let range = text_of(headers, header::CONTENT_RANGE.as_str());
            let total = range.and_then(|range| range.rsplit_once('/').map(|(_, total)| total));
            let length = text_of(headers, header::CONTENT_LENGTH.as_str());
            total.or(length)?.parse().ok()
        };
        if let (Some(listed), Some(linked)) = (listed_size, self.size)
            && listed != linked
        {
            return Err(format!(
                "{listed} bytes in the list, {linked} in the answer"
            ));
        }
        let size = self
            .size
            .or(listed_size)
            .or_else(whole_length)
            .ok_or("the hub said nowhere how long it is")?;
        Ok((etag, size, sha256))
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn plain_etag(etag: &str) -> String {
    etag.trim_start_matches("W/").replace('"', "")
}

fn is_sha256(etag: &str) -> bool {
    etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// How much of a file of `size` bytes an earlier call left; 0 where that is of no use.
pub(super) fn partial_length(partial: &Path, size: u64) -> u64 {
    fs::metadata(partial)
        .map(|found| found.len())
        .ok()
        .filter(|length| *length < size)
        .unwrap_or(0)
}

/// Why a body did not become a blob.
pub(super) enum Failure {
    BrokenOff(io::Error),
    Damaged(String),
    Disk(ModelError),
}

impl Failure {
    pub(super) fn of_file(self, repo: &str, file: &str, endpoint: &str) -> ModelError {
        match self {
            Self::BrokenOff(error) => ModelError::HubUnreachable {
                repo: repo.to_owned(),
                file: file.to_owned(),
                endpoint: endpoint.to_owned(),
                detail: error.to_string(),
            },
            Self::Damaged(detail) => ModelError::HubDamaged {
                repo: repo.to_owned(),
                file: file.to_owned(),
                detail,
            },
            Self::Disk(error) => error,
        }
    }
}

/// One body on its way to the disk. It grows under the name `partial`, which nothing takes for a whole
/// file, and is renamed when it is all there.
pub(super) struct Transfer {
    pub(super) partial: PathBuf,
    pub(super) blob: PathBuf,
    pub(super) size: u64,
    pub(super) sha256: Option<String>,
    /// How many bytes lay in `partial` when the rest was asked for.
    pub(super) resume_at: u64,
}

impl Transfer {
    pub(super) fn run(
        &self,
        response: Response<Body>,
        progress: &dyn Fn(u64),
    ) -> Result<PathBuf, Failure> {
        let start = self.start_of(&response)?;
        let mut file = self.open(start)?;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut done = start;
        progress(done);
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(Failure::BrokenOff(error)),
            };
            done += read as u64;
            if done > self.size {
                return Err(self.worthless(format!("more than the promised {} bytes", self.size)));
            }
            file.write_all(&buffer[..read])
                .map_err(|error| self.disk(error))?;
            progress(done);
        }
        if done < self.size {
            // What came is kept: the next call goes on from there, if the hub lets it.
            let promised = self.size;
            return Err(Failure::Damaged(format!(
                "{done} of the promised {promised} bytes"
            )));
        }
        file.sync_all().map_err(|error| self.disk(error))?;
        drop(file);
        self.check_digest()?;
        fs::rename(&self.partial, &self.blob).map_err(|error| self.disk(error))?;
        Ok(self.blob.clone())
    }

    /// Where in the file the body begins: a server may send all of it though asked for the rest.
    fn start_of(&self, response: &Response<Body>) -> Result<u64, Failure> {
        if response.status().as_u16() != 206 {
            return Ok(0);
        }
        let range = text_of(response.headers(), header::CONTENT_RANGE.as_str()).unwrap_or("");
        if range.starts_with(&format!("bytes {}-", self.resume_at)) {
            return Ok(self.resume_at);
        }
        let asked = self.resume_at;
        Err(self.worthless(format!("bytes from {asked} were asked for, {range:?} came")))
    }

    fn open(&self, start: u64) -> Result<File, Failure> {
        create_parent(&self.partial).map_err(Failure::Disk)?;
        let opened = if start > 0 {
            File::options().append(true).open(&self.partial)
        } else {
            File::create(&self.partial)
        };
        opened.map_err(|error| self.disk(error))
    }

    fn check_digest(&self) -> Result<(), Failure> {
        let Some(promised) = &self.sha256 else {
            return Ok(());
        };
        let mut file = File::open(&self.partial).map_err(|error| self.disk(error))?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => hasher.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.disk(error)),
            }
        }
        let digest = hasher.finalize();
        let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if found.eq_ignore_ascii_case(promised) {
            return Ok(());
        }
        Err(self.worthless(format!("its SHA-256 is {found}, promised was {promised}")))
    }

    /// Bytes that no later call can build on.
    fn worthless(&self, detail: String) -> Failure {
        match fs::remove_file(&self.partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => self.disk(error),
            _ => Failure::Damaged(detail),
        }
    }

    fn disk(&self, error: io::Error) -> Failure {
        Failure::Disk(unwritable(&self.partial, error))
    }
}
