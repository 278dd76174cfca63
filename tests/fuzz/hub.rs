//! What a model hub answers.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc;

use modelpool::sources::{HubModel, HubSettings};

/// What stands between two answers in the fuzzer's bytes.
const BETWEEN: &[u8] = b"\n----\n";

/// A server that gives each connection the next answer, and after the last none.
struct Server {
    address: SocketAddr,
    answers: mpsc::Sender<Vec<u8>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (answers, next) = mpsc::channel::<Vec<u8>>();
        std::thread::spawn(move || {
            let mut ready = Vec::new();
            for connection in listener.incoming().flatten() {
                loop {
                    match next.try_recv() {
                        Ok(answer) => ready.push(answer),
                        Err(mpsc::TryRecvError::Empty) => break,
                        Err(mpsc::TryRecvError::Disconnected) => return,
                    }
                }
                if !ready.is_empty() {
                    let _ = respond(connection, &ready.remove(0));
                }
            }
        });
        Self { address, answers }
    }
}

fn respond(mut connection: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection.try_clone()?);
    let mut line = String::new();
    while lines.read_line(&mut line)? > 2 {
        line.clear();
    }
    connection.write_all(answer)
}

thread_local! {
    static FOLDER: PathBuf = std::env::temp_dir()
        .join(format!("modelpool-fuzz-hub-{}", std::process::id()));
}

/// The list of a repository and the files that follow, as raw HTTP answers.
pub fn hub_answers(bytes: &[u8]) {
    let text = bytes.to_ascii_lowercase();
    if text.windows(9).any(|window| window == b"location:") {
        // A redirect would lead to wherever the fuzzer says; no host but this one is asked.
        return;
    }
    let server = Server::start();
    for answer in split(bytes).take(8) {
        let _ = server.answers.send(answer.to_vec());
    }
    let folder = FOLDER.with(Clone::clone);
    let cache = folder.join("cache");
    let model = HubModel::with_settings("owner/name", HubSettings::from_lookup(|_| None, None))
        .endpoint(format!("http://{}", server.address))
        .cache_folder(&cache);
    if let Ok(found) = model.fetch_blocking() {
        assert!(found.starts_with(&cache), "{}", found.display());
    }
    let beside = std::fs::read_dir(&folder).map_or(0, Iterator::count);
    assert!(beside <= 1, "nothing is written beside the cache");
    let _ = std::fs::remove_dir_all(&folder);
    drop(server.answers);
    // Wakes the server's thread, which finds that nobody will send any more.
    let _ = TcpStream::connect(server.address);
}

fn split(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let all = rest?;
        let end = all
            .windows(BETWEEN.len())
            .position(|window| window == BETWEEN);
        rest = end.map(|end| &all[end + BETWEEN.len()..]);
        Some(&all[..end.unwrap_or(all.len())])
    })
}
