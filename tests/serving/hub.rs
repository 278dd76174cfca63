//! Models of a hub through the pool.

use std::path::{Path, PathBuf};

use modelpool::sources::{HubModel, HubSettings};
use modelpool::{ModelError, ModelSpec, TextEmbedding};

use crate::checkpoints::{data, max_difference, read_rows, read_texts};
use crate::hub_server::{HubServer, Repository};
use crate::universe::{Universe, config, within};

const ID: &str = "someone/tiny-bert";

/// A cache of one test's own, which goes with it.
struct Cache(PathBuf);

impl Cache {
    fn new(name: &str) -> Self {
        let name = format!("serving-hub-{name}-{}", std::process::id());
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_cannot_be_reached_is_named() {
    let cache = Cache::new("unreachable");
    let model = HubModel::new(ID)
        .endpoint("http://127.0.0.1:1")
        .offline(false)
        .cache_folder(&cache.0);
    let error = within(ModelSpec::<TextEmbedding>::hub(model))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ModelError::HubUnreachable { repo, endpoint, .. }
            if repo == ID && endpoint == "http://127.0.0.1:1"),
        "{error:?}"
    );
    let message = error.to_string();
    assert!(
        message.contains("http://127.0.0.1:1") && message.contains(ID),
        "{message}"
    );
}

fn files_below(root: &Path, folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files_below(root, &path, found);
            continue;
        }
        let inside = path.strip_prefix(root).expect("a file below the root");
        let name = inside.to_str().expect("Unicode").replace('\\', "/");
        found.push((name, std::fs::read(&path).expect("a readable file")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetched_model_serves_under_its_repository_s_id() {
    let mut files = Vec::new();
    files_below(&data("bert"), &data("bert"), &mut files);
    let listed: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_slice()))
        .collect();
    let server = HubServer::start(Repository::new(ID, &listed).large("model.safetensors"));
    let cache = Cache::new("fetched");
    let model = HubModel::with_settings(ID, HubSettings::from_lookup(|_| None, None))
        .endpoint(server.endpoint())
        .cache_folder(&cache.0);

    let spec = within(ModelSpec::<TextEmbedding>::hub(model))
        .await
        .unwrap();
    assert!(!server.take_requests().is_empty());
    let universe = Universe::new(config()).await;
    let embedder = universe.register(spec).unwrap();
    assert_eq!(embedder.info().name, ID);

    let texts = read_texts(&data(""));
    let rows = read_rows(&data("bert").join("embeddings.f32"), texts.len());
    // The references have an empty text among them, which a pool refuses.
    let (texts, wanted): (Vec<_>, Vec<_>) = texts
        .into_iter()
        .zip(rows)
        .filter(|(text, _)| !text.is_empty())
        .unzip();
    let got = within(embedder.embed_batch(texts)).await.unwrap();
    assert_eq!(got.len(), wanted.len());
    for (number, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
        let difference = max_difference(got, wanted);
        assert!(difference <= 1e-4, "text {number}: {difference}");
    }
    assert!(
        server.take_requests().is_empty(),
        "loading and serving need no network"
    );
    universe.close().await;
}
