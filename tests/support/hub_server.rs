//! A server on 127.0.0.1 that speaks the model hub's protocol for one repository of small files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use serde_json::json;
use sha2::{Digest, Sha256};

/// A commit as the hub names them.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server was asked.
#[derive(Debug, Clone)]
pub struct Request {
    pub host: String,
    pub path: String,
    pub authorization: Option<String>,
    pub range: Option<String>,
}

/// The repository, and how the server misbehaves.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    pub id: String,
    pub revision: String,
    pub commit: String,
    pub files: BTreeMap<String, Vec<u8>>,
    /// Files that are redirected to another host name, with their SHA-256 as linked etag.
    pub large: BTreeSet<String>,
    /// Names that the list gives beside those of `files`.
    pub extra_names: Vec<String>,
    pub required_token: Option<String>,
    /// Closes the connection after so many bytes of a file's body.
    pub cut: BTreeMap<String, usize>,
    /// Sends these bytes in the place of a large file's.
    pub swapped: BTreeMap<String, Vec<u8>>,
    /// Answers a request for a part of a file with all of it.
    pub ignores_ranges: bool,
    /// Sends no Content-Length.
    pub hides_length: bool,
    /// Sends this etag for every file.
    pub etag: Option<String>,
    /// Answers everything with this status.
    pub status: Option<u16>,
    /// Lists the files without their sizes.
    pub hides_sizes: bool,
}

impl Repository {
    pub fn new(id: &str, files: &[(&str, &[u8])]) -> Self {
        let files = files
            .iter()
            .map(|(name, content)| ((*name).to_owned(), content.to_vec()));
        Self {
            id: id.to_owned(),
            revision: "main".to_owned(),
            commit: COMMIT.to_owned(),
            files: files.collect(),
            ..Self::default()
        }
    }

    pub fn large(mut self, name: &str) -> Self {
        self.large.insert(name.to_owned());
        self
    }
}

pub struct HubServer {
    port: u16,
    repository: Arc<Mutex<Repository>>,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HubServer {
    pub fn start(repository: Repository) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let repository = Arc::new(Mutex::new(repository));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (repository, requests, stop) = (repository.clone(), requests.clone(), stop.clone());
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(stream) = stream else { continue };
                    let current = repository.lock().expect("not poisoned").clone();
                    // A client that hangs up early is its own affair.
                    let _ = serve(&stream, port, &current, &requests);
                }
            }
        });
        Self {
            port,
            repository,
            requests,
            stop,
            thread: Some(thread),
        }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What is served from now on.
    pub fn repository(&self) -> MutexGuard<'_, Repository> {
        self.repository.lock().expect("not poisoned")
    }

    /// What was asked since the last call.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().expect("not poisoned"))
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept loop.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    stream: &TcpStream,
    port: u16,
    repository: &Repository,
    requests: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or("").to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    if path.is_empty() {
        return Ok(());
    }
    let request = Request {
        host: headers.get("host").cloned().unwrap_or_default(),
        path,
        authorization: headers.get("authorization").cloned(),
        range: headers.get("range").cloned(),
    };
    requests.lock().expect("not poisoned").push(request.clone());
    reply(stream, port, repository, &request)
}

fn reply(
    stream: &TcpStream,
    port: u16,
    repository: &Repository,
    request: &Request,
) -> std::io::Result<()> {
    let Repository { id, commit, .. } = repository;
    let revision = repository.revision.replace('/', "%2F");
    if let Some(status) = repository.status {
        return send(stream, status, &[], b"no", None);
    }
    if let Some(name) = request.path.strip_prefix("/content/") {
        return send_file(stream, repository, request, name, &[]);
    }
    if let Some(token) = &repository.required_token
        && request.authorization.as_deref() != Some(&format!("Bearer {token}"))
    {
        return send(stream, 401, &[], b"Invalid credentials", None);
    }
    if request.path == format!("/api/models/{id}/revision/{revision}?blobs=true") {
        let names = repository.files.iter().map(|(name, content)| {
            if repository.hides_sizes {
                json!({ "rfilename": name })
            } else {
                json!({ "rfilename": name, "size": content.len() })
            }
        });
        let extra = repository
            .extra_names
            .iter()
            .map(|name| json!({ "rfilename": name }));
        let siblings: Vec<_> = names.chain(extra).collect();
        let body = json!({ "id": id, "sha": commit, "siblings": siblings }).to_string();
        return send(stream, 200, &[], body.as_bytes(), None);
    }
    let Some(name) = request
        .path
        .strip_prefix(&format!("/{id}/resolve/{commit}/"))
    else {
        return send(stream, 404, &[], b"Repository not found", None);
    };
    let Some(content) = repository.files.get(name) else {
        return send(stream, 404, &[], b"Entry not found", None);
    };
    let digest = Sha256::digest(content);
    let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let etag = repository.etag.clone().unwrap_or(sha256);
    let commit_header = ("x-repo-commit", commit.clone());
    if repository.large.contains(name) {
        let headers = [
            commit_header,
            ("x-linked-etag", format!("\"{etag}\"")),
            ("x-linked-size", content.len().to_string()),
            (
                "location",
                format!("http://localhost:{port}/content/{name}"),
            ),
        ];
        return send(stream, 302, &headers, b"Found", None);
    }
    // Small files carry the etag of their git blob, which is no SHA-256.
    let headers = [
        commit_header,
        ("etag", format!("\"{}\"", &etag[..etag.len().min(40)])),
    ];
    send_file(stream, repository, request, name, &headers)
}

fn send_file(
    stream: &TcpStream,
    repository: &Repository,
    request: &Request,
    name: &str,
    headers: &[(&str, String)],
) -> std::io::Result<()> {
    let swapped = repository.swapped.get(name);
    let Some(content) = swapped.or_else(|| repository.files.get(name)) else {
        return send(stream, 404, &[], b"no such content", None);
    };
    let mut headers = headers.to_vec();
    headers.push(("accept-ranges", "bytes".to_owned()));
    if repository.hides_length {
        headers.push(("x-no-length", String::new()));
    }
    let cut = repository.cut.get(name).copied();
    let start: Option<usize> = request.range.as_ref().and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    });
    match start {
        Some(start) if !repository.ignores_ranges && start < content.len() => {
            let (last, total) = (content.len() - 1, content.len());
            headers.push(("content-range", format!("bytes {start}-{last}/{total}")));
            send(stream, 206, &headers, &content[start..], cut)
        }
        _ => send(stream, 200, &headers, content, cut),
    }
}

fn send(
    mut stream: &TcpStream,
    status: u16,
    headers: &[(&str, String)],
    body: &[u8],
    cut: Option<usize>,
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} Reason\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "x-no-length") {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body[..cut.unwrap_or(body.len()).min(body.len())])?;
    stream.flush()
}
