//! The peers in Python, and what they are asked.

use std::path::Path;

use serde_json::{Value, json};

use super::made;
use crate::Failure;
use crate::arguments::Arguments;
use crate::peers::{self, Peer};
use crate::summary::Spread;

/// onnxruntime with the model written as ONNX from the same weights; nothing is loaded yet.
///
/// # Errors
/// If the peer's packages cannot be had, or the model cannot be written.
pub fn onnxruntime(arguments: &Arguments, folder: &Path) -> Result<Peer, Failure> {
    let python = peers::provide("embed", arguments.python.as_deref())?;
    let file = made("all-MiniLM-L6-v2.onnx");
    if !file.is_file() {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        eprintln!("peers: writing {}", file.display());
        peers::run_script(&python, "embed_export.py", [folder, file.as_path()])?;
    }
    let threads = arguments.threads.to_string();
    let with = [folder.as_os_str(), file.as_os_str(), threads.as_ref()];
    Peer::start(
        &python,
        "onnxruntime",
        "embed_onnxruntime.py",
        arguments.threads,
        with,
    )
}

/// sentence-transformers; nothing is loaded yet.
///
/// # Errors
/// If the peer's packages cannot be had.
pub fn sentence_transformers(arguments: &Arguments, folder: &Path) -> Result<Peer, Failure> {
    let python = peers::provide("embed", arguments.python.as_deref())?;
    let threads = arguments.threads.to_string();
    let with = [folder.as_os_str(), threads.as_ref()];
    let script = "embed_sentence_transformers.py";
    Peer::start(
        &python,
        "sentence-transformers",
        script,
        arguments.threads,
        with,
    )
}

/// Loads the model and hands the texts over.
pub(super) fn prepare(peer: &mut Peer, texts: &[String]) -> Result<(), Failure> {
    let _seconds: f64 = peer.ask("load", Value::Null)?;
    peer.ask("texts", json!({ "texts": texts }))
}

/// Seconds for all texts in batches, padded to their longest, sorted by length first or not.
pub(super) fn corpus(peer: &mut Peer, batch: usize, ordered: bool) -> Result<f64, Failure> {
    peer.ask("corpus", json!({ "batch": batch, "ordered": ordered }))
}

/// Seconds for all texts, of a peer that always sorts.
pub(super) fn sorted_corpus(peer: &mut Peer, batch: usize) -> Result<f64, Failure> {
    peer.ask("corpus", json!({ "batch": batch }))
}

/// The median time of `times` calls for one text, in milliseconds.
pub(super) fn one(peer: &mut Peer, text: &str, times: usize) -> Result<f64, Failure> {
    let taken: Vec<f64> = peer.ask("one", json!({ "text": text, "times": times }))?;
    Ok(Spread::of(taken).median * 1e3)
}

/// The vectors of some texts, each asked for alone.
pub(super) fn vectors(peer: &mut Peer, texts: &[String]) -> Result<Vec<Vec<f32>>, Failure> {
    peer.ask("vectors", json!({ "texts": texts }))
}
