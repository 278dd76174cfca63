//! all-MiniLM-L6-v2 through the pool: its values, and one set of weights for all its workers.

use std::path::{Path, PathBuf};

use modelpool::pool::core::{EventKind, MIB, StartReason};
use modelpool::testing::Steering;
use modelpool::{Embedding, ModelError, ModelSpec, PoolError, TextEmbedding};

use crate::checkpoints::{data, max_difference, read_rows, read_texts};
use crate::universe::{Universe, config, within};
use crate::{model_error, real_models};

/// What two correct computations of one text may differ by.
const TOLERANCE: f32 = 2e-5;

fn reference() -> (Vec<String>, Vec<Embedding>) {
    let texts = read_texts(&data("minilm"));
    let rows = read_rows(&data("minilm").join("embeddings.f32"), texts.len());
    (texts, rows)
}

fn assert_close(got: &[Embedding], wanted: &[Embedding]) {
    assert_eq!(got.len(), wanted.len());
    for (number, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let difference = max_difference(got, wanted);
        assert!(difference <= TOLERANCE, "text {number}: {difference}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_give_the_reference_values_in_a_batch_and_singly() {
    let mut universe = Universe::new(config()).await;
    let spec = ModelSpec::<TextEmbedding>::folder(real_models::minilm()).unwrap();
    let embedder = universe.register(spec.max_workers(2)).unwrap();
    assert_eq!(embedder.info().name, "all-MiniLM-L6-v2");
    within(universe.warm(&embedder)).await.unwrap();
    universe.ready(2).await;
    let (texts, wanted) = reference();
    assert_eq!(texts.len(), 200);

    let batch = within(embedder.embed_batch(texts.clone())).await.unwrap();
    assert_close(&batch, &wanted);
    let answered = |universe: &Universe| -> Vec<u64> {
        let workers = universe.status().models[0].workers.clone();
        workers.iter().map(|worker| worker.answered).collect()
    };
    let by_worker = answered(&universe);
    assert!(
        by_worker.len() == 2 && by_worker.iter().all(|&count| count > 0),
        "both serve: {by_worker:?}"
    );

    let callers: Vec<_> = texts[..64]
        .iter()
        .map(|text| {
            let (embedder, text) = (embedder.clone(), text.clone());
            tokio::spawn(async move { embedder.embed(text).await })
        })
        .collect();
    let mut single = Vec::new();
    for caller in callers {
        single.push(within(caller).await.unwrap().unwrap());
    }
    assert_close(&single, &wanted[..64]);
    universe.close().await;
}

/// A folder of links to a model's files, whose weights can be taken away.
struct Linked(PathBuf);

impl Linked {
    fn to(model: &Path) -> Self {
        let name = format!("linked-minilm-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let linked = Self(folder);
        std::fs::create_dir_all(linked.0.join("1_Pooling")).unwrap();
        for file in [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "modules.json",
            "sentence_bert_config.json",
            "1_Pooling/config.json",
        ] {
            std::fs::copy(model.join(file), linked.0.join(file)).unwrap();
        }
        linked.restore(model);
        linked
    }

    fn weights(&self) -> PathBuf {
        self.0.join("model.safetensors")
    }

    fn restore(&self, model: &Path) {
        std::fs::copy(model.join("model.safetensors"), self.weights()).unwrap();
    }

    fn take_weights_away(&self) {
        std::fs::remove_file(self.weights()).unwrap();
    }
}

impl Drop for Linked {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// With the file gone, who loads can only have what is in memory already.
#[tokio::test(flavor = "multi_thread")]
async fn workers_share_one_set_of_weights_that_goes_with_the_last_of_them() {
    let model = real_models::minilm();
    let folder = Linked::to(&model);
    let mut settings = config();
    settings.cold_start_workers = 1;
    settings.expand_after = std::time::Duration::from_millis(1);
    let mut universe = Universe::new(settings).await;
    let spec = ModelSpec::<TextEmbedding>::folder(&folder.0).unwrap();
    let file = std::fs::metadata(folder.weights()).unwrap().len();
    assert!(
        spec.info().est_memory_allocation_mb * MIB > file,
        "the estimate covers the weights"
    );
    let embedder = universe.register(spec.max_workers(2)).unwrap();
    let (texts, wanted) = reference();
    let first = within(embedder.embed(texts[0].clone())).await.unwrap();
    assert_close(&[first], &wanted[..1]);

    folder.take_weights_away();
    // More than one worker can serve at once: a second one is started, without the file.
    let both = within(embedder.embed_batch(texts.clone())).await.unwrap();
    assert_close(&both, &wanted);
    let expansion = universe
        .event(|event| {
            matches!(
                event.kind,
                EventKind::Reserved {
                    reason: StartReason::Expand,
                    ..
                }
            )
        })
        .await;
    universe
        .event(|event| {
            event.worker == expansion.worker && matches!(event.kind, EventKind::Ready { .. })
        })
        .await;
    assert_eq!(universe.status().models[0].metrics.worker_failures, 0);

    // A model that needs all the memory retires them both.
    let limit = universe.status().memory.limit_mb;
    let steering = Steering::new();
    let large = universe
        .register(steering.embedder("large", limit))
        .unwrap();
    within(large.embed("a")).await.unwrap();
    for _ in 0..2 {
        universe
            .event(|event| event.kind == EventKind::Evicted)
            .await;
    }
    let status = universe.status();
    assert!(status.models[0].workers.is_empty(), "{status:?}");

    let error = within(embedder.embed(texts[0].clone())).await.unwrap_err();
    assert!(matches!(error, PoolError::LoadFailed { .. }), "{error:?}");
    assert!(
        matches!(model_error(&error), ModelError::MissingFile { path } if *path == folder.weights()),
        "nothing held them: {error:?}"
    );

    folder.restore(&model);
    let again = within(embedder.embed(texts[1].clone())).await.unwrap();
    assert_close(&[again], &wanted[1..2]);
    universe.close().await;
}
