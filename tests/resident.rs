//! What the process has in memory once a model is gone. Resident memory is the whole process's, so
//! these tests have one to themselves, and run one after another.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modelpool::pool::core::{EventKind, FixedProbe, MIB, SystemFiles};
use modelpool::{
    CandleModel, EmbedInput, Embedding, ModelError, ModelHandle, ModelInfo, ModelSpec, Pool,
    PoolConfig, StepContext, TextEmbedding, TextEmbeddingCapable,
};

#[path = "support/real_models.rs"]
mod real_models;

static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn resident() -> u64 {
    SystemFiles::default().resident().expect("/proc tells it")
}

/// Runs a test in a process of its own, in which glibc has few arenas and keeps little at the end of
/// them: otherwise what it keeps depends on which threads were used before. Whether this is that
/// process.
fn keeps_little(test: &str) -> bool {
    let setting = "MALLOC_TRIM_THRESHOLD_";
    if std::env::var_os(setting).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(setting, "131072")
        .env("MALLOC_ARENA_MAX", "2")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    false
}

/// A pool that lets a worker go when it is told to, and not before.
async fn pool() -> Pool {
    let settings = PoolConfig {
        probe: Arc::new(FixedProbe { total_mb: 4000 }),
        idle_after: Duration::from_secs(3600),
        ..PoolConfig::default()
    };
    Pool::start(settings).await.unwrap()
}

/// Loads the model, and waits until all of its workers' threads are gone; what was resident while
/// it was loaded.
async fn load_and_unload(pool: &Pool, model: &ModelHandle<TextEmbedding>) -> u64 {
    model.embed("some text").await.unwrap();
    let loaded = resident();
    pool.retire(model, Duration::from_secs(60)).await.unwrap();
    let gone = async {
        while pool.status().threads > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone)
        .await
        .expect("the workers go");
    loaded
}

/// Within 5 % of what was resident before, or within 2 MiB: these processes are small.
fn assert_returned(before: u64, after: u64, what: &str) {
    assert!(
        after <= before + (before / 20).max(2 * MIB),
        "{what}: {} KiB were resident before, {} are after",
        before >> 10,
        after >> 10
    );
}

const PIECES: usize = 600_000;

type Piece = Box<[u8]>;

/// Holds its memory in many small pieces, as a tokenizer does.
struct InPieces {
    info: ModelInfo,
    _pieces: Vec<Piece>,
}

impl CandleModel for InPieces {
    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

impl TextEmbeddingCapable for InPieces {
    fn embed_step(
        &mut self,
        inputs: &[&EmbedInput],
        _context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        Ok(inputs.iter().map(|_| Ok(vec![1.0])).collect())
    }
}

/// A few pieces outlive the model, each above freed ones: the allocator alone would keep all that
/// lies below them.
#[tokio::test(flavor = "multi_thread")]
async fn pages_go_back_to_the_system_when_a_model_is_gone() {
    let _alone = ALONE.lock().await;
    if !keeps_little("pages_go_back_to_the_system_when_a_model_is_gone") {
        return;
    }
    let pool = pool().await;
    let survivors: Arc<Mutex<Vec<Piece>>> = Arc::default();
    let info = ModelInfo::new("pieces", 150);
    let spec = {
        let survivors = Arc::clone(&survivors);
        ModelSpec::text_embedding(info.clone(), move || {
            let mut pieces = Vec::new();
            for number in 1..=PIECES {
                pieces.push(vec![number as u8; 200].into());
                if number % (PIECES / 8) == 0 {
                    survivors.lock().unwrap().push(vec![1; 200].into());
                }
            }
            Ok(InPieces {
                info: info.clone(),
                _pieces: pieces,
            })
        })
    };
    let model = pool.register(spec.max_workers(1)).unwrap();
    load_and_unload(&pool, &model).await;
    let before = resident();
    for cycle in 0..5 {
        let loaded = load_and_unload(&pool, &model).await;
        assert!(loaded > before + 100 * MIB, "it was resident");
        assert_returned(before, resident(), &format!("cycle {cycle}"));
    }
    pool.shutdown(Duration::from_secs(30)).await;
    assert!(survivors.lock().unwrap().len() >= 48);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_model_leaves_nothing_behind() {
    let _alone = ALONE.lock().await;
    if !keeps_little("the_embedded_model_leaves_nothing_behind") {
        return;
    }
    let pool = pool().await;
    let model = pool.register(ModelSpec::embedded().max_workers(1)).unwrap();
    for _ in 0..20 {
        load_and_unload(&pool, &model).await;
    }
    let before = resident();
    for cycle in 0..30 {
        load_and_unload(&pool, &model).await;
        assert_returned(before, resident(), &format!("cycle {cycle}"));
    }
    pool.shutdown(Duration::from_secs(30)).await;
}

/// Prints its figures: run it with `--nocapture`.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_of_a_real_encoder_takes_little_time_and_memory() {
    let _alone = ALONE.lock().await;
    let settings = PoolConfig {
        probe: Arc::new(FixedProbe { total_mb: 4000 }),
        cold_start_workers: 1,
        expand_after: Duration::from_millis(1),
        ..PoolConfig::default()
    };
    let pool = Pool::start(settings).await.unwrap();
    let mut events = pool.events();
    let mut ready = async || loop {
        let event = tokio::time::timeout(Duration::from_secs(60), events.next());
        if let EventKind::Ready { load_time } = event.await.unwrap().unwrap().kind {
            return load_time;
        }
    };
    let spec = ModelSpec::<TextEmbedding>::folder(real_models::minilm()).unwrap();
    let model = pool.register(spec.max_workers(2)).unwrap();
    let before = resident();
    model.embed("some text").await.unwrap();
    let first_load = ready().await;
    let (one, reserved_one) = (resident() - before, pool.status().memory.reserved_mb);

    let texts: Vec<String> = (0..40)
        .map(|n| format!("text number {n}").repeat(30))
        .collect();
    let batch = tokio::spawn(async move { model.embed_batch(texts).await });
    let second_load = ready().await;
    batch.await.unwrap().unwrap();
    let status = pool.status();
    let (two, reserved_two) = (resident() - before, status.memory.reserved_mb);
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    eprintln!(
        "one worker: {reserved_one} MiB reserved, {:.1} resident, loaded in {first_load:?}; \
         two: {reserved_two} MiB reserved, {:.1} resident, the second loaded in {second_load:?}",
        mib(one),
        mib(two),
    );
    let own_mb = status.models[0].footprint.worker_bytes / MIB;
    assert_eq!(reserved_two, reserved_one + own_mb);
    assert_eq!(status.models[0].workers.len(), 2);
    assert!(mib(two) < mib(one) + 40.0, "no second copy of 87 MiB");
    assert!(
        second_load < first_load / 4,
        "{second_load:?}, {first_load:?}"
    );
    pool.shutdown(Duration::from_secs(30)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_encoder_leaves_nothing_behind_and_takes_what_was_estimated() {
    let _alone = ALONE.lock().await;
    if !keeps_little("a_real_encoder_leaves_nothing_behind_and_takes_what_was_estimated") {
        return;
    }
    let folder = real_models::minilm();
    let pool = pool().await;
    let spec = ModelSpec::<TextEmbedding>::folder(folder).unwrap();
    let estimate = spec.info().est_memory_allocation_mb * MIB;
    let model = pool.register(spec.max_workers(1)).unwrap();
    for _ in 0..3 {
        load_and_unload(&pool, &model).await;
    }
    let before = resident();
    for cycle in 0..4 {
        let loaded = load_and_unload(&pool, &model).await;
        let taken = loaded.saturating_sub(before);
        assert!(
            taken > 80 * MIB && taken <= estimate,
            "{taken} of {estimate}"
        );
        assert_returned(before, resident(), &format!("cycle {cycle}"));
    }
    pool.shutdown(Duration::from_secs(30)).await;
}
