//! The hub source against a local server that speaks the hub's protocol.

mod damage;
mod fetching;
#[path = "../support/hub_server.rs"]
mod hub_server;
mod pipelines;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};

use hub_server::{HubServer, Repository};
use modelpool::sources::{HubModel, HubSettings};

const ID: &str = "someone/small-model";

/// A folder that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("modelpool-hub-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a writable folder");
        Self(path)
    }

    fn cache(&self) -> PathBuf {
        self.0.join("hub")
    }

    /// Every file below the folder, by its path.
    fn files(&self) -> Vec<String> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    walk(&path, found)
                } else {
                    found.push(path)
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.0, &mut found);
        let names = found
            .iter()
            .filter_map(|path| path.strip_prefix(&self.0).ok());
        let mut names: Vec<String> = names.map(|name| name.display().to_string()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn weights() -> Vec<u8> {
    (0..600_000_u32).map(|value| (value % 251) as u8).collect()
}

fn sentence_model() -> Repository {
    let modules = br#"[
        {"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
        {"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
        {"idx":2,"name":"2","path":"2_Dense","type":"sentence_transformers.models.Dense"}]"#;
    Repository::new(
        ID,
        &[
            ("README.md", b"# not needed"),
            ("config.json", b"{}"),
            ("tokenizer.json", b"{\"version\":\"1.0\"}"),
            ("tokenizer_config.json", b"{\"a\":1}"),
            ("special_tokens_map.json", b"{\"b\":1}"),
            ("sentence_bert_config.json", b"{\"max_seq_length\":256}"),
            ("config_sentence_transformers.json", b"{\"c\":1}"),
            ("modules.json", modules),
            ("1_Pooling/config.json", b"{\"d\":1}"),
            ("2_Dense/config.json", b"{\"e\":1}"),
            ("2_Dense/model.safetensors", b"dense"),
            ("2_Dense/pytorch_model.bin", b"pickle"),
            ("model.safetensors", &weights()),
            ("pytorch_model.bin", b"pickle"),
            ("onnx/model.onnx", b"onnx"),
            ("openvino/config.json", b"{}"),
            ("tf_model.h5", b"h5"),
        ],
    )
    .large("model.safetensors")
}

/// Settings that owe nothing to the environment of the test run.
fn model(server: &HubServer, scratch: &Scratch) -> HubModel {
    let settings = HubSettings::from_lookup(|_| None, None);
    HubModel::with_settings(ID, settings)
        .endpoint(server.endpoint())
        .cache_folder(scratch.cache())
}

fn offline(scratch: &Scratch) -> HubModel {
    HubModel::with_settings(ID, HubSettings::from_lookup(|_| None, None))
        .endpoint("http://127.0.0.1:9")
        .cache_folder(scratch.cache())
        .offline(true)
}
