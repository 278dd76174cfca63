//! One peer: a child process that answers one line of JSON with another.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::scripts;
use crate::Failure;

/// What the usual numeric libraries take their number of threads from.
const THREAD_VARIABLES: [&str; 4] = [
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
];

/// The resident set of a process in MiB.
///
/// # Errors
/// If the system does not tell.
pub fn resident_mib(process: u32) -> Result<f64, Failure> {
    let id = Pid::from_u32(process);
    let kind = ProcessRefreshKind::nothing().with_memory();
    let mut system = System::new()?;
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[id]), false, kind);
    let process = system.process(id).ok_or("no such process")?;
    Ok(process.memory() as f64 / f64::from(1 << 20))
}

/// A running peer. It ends when this is dropped.
#[derive(Debug)]
pub struct Peer {
    name: String,
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
    versions: Vec<String>,
}

impl Peer {
    /// Starts `peers/<script>` and waits until it serves.
    ///
    /// # Errors
    /// If it cannot be started, or ends before it serves.
    pub fn start<A: AsRef<OsStr>>(
        python: &Path,
        name: &str,
        script: &str,
        threads: usize,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(python);
        command.arg(scripts().join(script)).args(arguments);
        Self::run(name, threads, command)
    }

    /// Starts this program once more, as a peer: for what wants a process of its own.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_self<A: AsRef<OsStr>>(
        name: &str,
        threads: usize,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments);
        Self::run(name, threads, command)
    }

    /// What it writes to standard error goes to `target/python/<name>.log`.
    fn run(name: &str, threads: usize, mut command: Command) -> Result<Self, Failure> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python");
        fs::create_dir_all(&folder)?;
        let log = folder.join(format!("{name}.log"));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            // A hub that cannot be reached must not cost time, nor one that can.
            .env("HF_HUB_OFFLINE", "1")
            .env("TOKENIZERS_PARALLELISM", "true");
        for variable in THREAD_VARIABLES {
            command.env(variable, threads.to_string());
        }
        let mut child = command
            .spawn()
            .map_err(|error| format!("{name} cannot be started: {error}"))?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a child process without pipes".into());
        };
        let mut peer = Self {
            name: name.to_owned(),
            child,
            requests,
            answers: BufReader::new(answers),
            log,
            versions: Vec::new(),
        };
        // It greets with the versions of what it measures.
        peer.versions = peer.answer()?;
        Ok(peer)
    }

    /// What it measures, with versions.
    pub fn versions(&self) -> &[String] {
        &self.versions
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its resident set in MiB.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn resident_mib(&self) -> Result<f64, Failure> {
        resident_mib(self.child.id())
    }

    /// Has it do `operation` with `arguments` and waits for what comes of it.
    ///
    /// # Errors
    /// What the peer says went wrong, or that it has ended.
    pub fn ask<T: DeserializeOwned>(
        &mut self,
        operation: &str,
        arguments: Value,
    ) -> Result<T, Failure> {
        let mut line = json!({"do": operation, "with": arguments}).to_string();
        line.push('\n');
        let sent = self.requests.write_all(line.as_bytes());
        if sent.and_then(|()| self.requests.flush()).is_err() {
            return Err(self.epitaph());
        }
        self.answer()
    }

    fn answer<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(self.epitaph());
        }
        let mut answer: Value = serde_json::from_str(&line)
            .map_err(|error| format!("{}: {error} in {line:?}", self.name))?;
        if let Some(error) = answer.get("error") {
            return Err(format!("{}: {error}", self.name).into());
        }
        let made = answer.get_mut("ok").map_or(Value::Null, Value::take);
        Ok(serde_json::from_value(made)
            .map_err(|error| format!("{}: {error} in {line:?}", self.name))?)
    }

    /// Why it is no longer there, by the last line of its log.
    fn epitaph(&mut self) -> Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let last = log.lines().rfind(|line| !line.trim().is_empty());
        let (name, log) = (&self.name, self.log.display());
        format!("{name} ended: {} ({log})", last.unwrap_or("no word")).into()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already, and nobody is left to tell of anything else.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
