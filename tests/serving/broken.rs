//! Models that are broken, beside one that is not.

use std::error::Error;
use std::sync::Arc;

use modelpool::pool::core::RestartConfig;
use modelpool::{
    Embedding, ModelError, ModelHandle, ModelInfo, ModelSpec, PoolConfig, PoolError, TextEmbedding,
    TextEmbeddingCapable,
};

use crate::checkpoints::{Scrap, data, max_difference, read_rows, read_texts};
use crate::model_error;
use crate::universe::{Universe, config, within};

/// Models may fail as often as a test likes.
fn patient() -> PoolConfig {
    PoolConfig {
        restart: RestartConfig {
            max_failures: 1000,
            initial_backoff: std::time::Duration::ZERO,
            ..RestartConfig::default()
        },
        ..config()
    }
}

/// A healthy model that is asked again and again.
struct Healthy {
    embedder: ModelHandle<TextEmbedding>,
    text: String,
    wanted: Embedding,
}

impl Healthy {
    fn register(universe: &Universe) -> Self {
        let spec = ModelSpec::<TextEmbedding>::folder(data("mpnet")).unwrap();
        let texts = read_texts(&data(""));
        let rows = read_rows(&data("mpnet").join("embeddings.f32"), texts.len());
        Self {
            embedder: universe.register(spec.named("healthy")).unwrap(),
            text: texts[0].clone(),
            wanted: rows[0].clone(),
        }
    }

    async fn answers(&self, after: &str) {
        let answer = within(self.embedder.embed(self.text.clone())).await;
        let vector = answer.unwrap_or_else(|error| panic!("{after}: {error:?}"));
        let difference = max_difference(&vector, &self.wanted);
        assert!(difference <= 1e-4, "{after}: {difference}");
    }
}

type Spoil = fn(&Scrap);
type Wanted = fn(&ModelError) -> bool;

/// What is known to be wrong without loading anything.
const AT_REGISTRATION: &[(&str, Spoil, Wanted)] = &[
    (
        "no config.json",
        |scrap| scrap.remove("config.json"),
        |error| matches!(error, ModelError::MissingFile { path } if path.ends_with("config.json")),
    ),
    (
        "no weights",
        |scrap| scrap.remove("model.safetensors"),
        |error| matches!(error, ModelError::MissingFile { path } if path.ends_with("model.safetensors")),
    ),
    (
        "no tokenizer.json",
        |scrap| scrap.remove("tokenizer.json"),
        |error| matches!(error, ModelError::MissingFile { path } if path.ends_with("tokenizer.json")),
    ),
    (
        "truncated weights",
        |scrap| {
            let whole = scrap.read("model.safetensors");
            scrap.write("model.safetensors", &whole[..whole.len() / 2]);
        },
        |error| matches!(error, ModelError::Corrupt { path, .. } if path.ends_with("model.safetensors")),
    ),
    (
        "a config.json that is no JSON",
        |scrap| scrap.write("config.json", b"{\"model_type\": \"bert\""),
        |error| matches!(error, ModelError::Corrupt { path, .. } if path.ends_with("config.json")),
    ),
    (
        "whole numbers for weights",
        |scrap| scrap.edit_header(|header| header.replacen("\"F32\"", "\"I32\"", 1)),
        |error| {
            matches!(error, ModelError::WrongDtype { tensor, found, .. }
                if tensor.starts_with("bert.") && found == "I32")
        },
    ),
    (
        "another shape than configured",
        |scrap| {
            scrap.edit_json("config.json", |config| {
                config["intermediate_size"] = 47.into()
            })
        },
        |error| {
            matches!(error, ModelError::WrongShape { tensor, expected, found }
                if tensor == "bert.encoder.layer.0.intermediate.dense.weight"
                    && *expected == [47, 32] && *found == [48, 32])
        },
    ),
    (
        "an unknown architecture",
        |scrap| {
            scrap.edit_json("config.json", |config| {
                config["model_type"] = "mamba".into()
            })
        },
        |error| {
            matches!(error, ModelError::UnsupportedArchitecture { found, supported }
                if found == "mamba" && supported.contains(&"bert"))
        },
    ),
    (
        "a field without sense",
        |scrap| {
            scrap.edit_json("config.json", |config| {
                config["num_attention_heads"] = 5.into()
            })
        },
        |error| {
            matches!(error, ModelError::InvalidConfig { file, field, .. }
                if file == "config.json" && field == "num_attention_heads")
        },
    ),
];

/// What shows only when a worker or a caller reads it.
const AT_LOAD: &[(&str, Spoil, Wanted)] = &[
    (
        "a NaN among the weights",
        |scrap| {
            scrap.edit_tensor("bert.encoder.layer.1.output.dense.weight", |values| {
                values[5] = f32::NAN;
            });
        },
        |error| {
            matches!(error, ModelError::NotFiniteWeights { tensor }
                if tensor == "bert.encoder.layer.1.output.dense.weight")
        },
    ),
    (
        "a tokenizer.json that is none",
        |scrap| scrap.write("tokenizer.json", br#"{"model": 3}"#),
        |error| matches!(error, ModelError::Corrupt { path, .. } if path.ends_with("tokenizer.json")),
    ),
];

/// What happens to a folder between its registration and its first request.
const AFTER_REGISTRATION: &[(&str, Spoil, Wanted)] = &[
    (
        "weights taken away",
        |scrap| scrap.remove("model.safetensors"),
        |error| matches!(error, ModelError::MissingFile { path } if path.ends_with("model.safetensors")),
    ),
    (
        "weights cut short",
        |scrap| {
            let whole = scrap.read("model.safetensors");
            scrap.write("model.safetensors", &whole[..whole.len() - 100]);
        },
        |error| matches!(error, ModelError::Corrupt { path, .. } if path.ends_with("model.safetensors")),
    ),
    (
        "tokenizer taken away",
        |scrap| scrap.remove("tokenizer.json"),
        |error| matches!(error, ModelError::MissingFile { path } if path.ends_with("tokenizer.json")),
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_folder_is_refused_by_its_fault_and_harms_no_other_model() {
    let universe = Universe::new(patient()).await;
    let healthy = Healthy::register(&universe);
    for (fault, spoil, wanted) in AT_REGISTRATION {
        let scrap = Scrap::copy_of("bert");
        spoil(&scrap);
        let error = ModelSpec::<TextEmbedding>::folder(scrap.path()).unwrap_err();
        assert!(wanted(&error), "{fault}: {error:?}");
        healthy.answers(fault).await;
    }

    let scrap = Scrap::copy_of("bert");
    let file = scrap.path().join("config.json");
    let error = ModelSpec::<TextEmbedding>::folder(&file).unwrap_err();
    assert!(
        matches!(&error, ModelError::WrongFileKind { path, expected: "a directory" } if *path == file),
        "{error:?}"
    );
    let nowhere = scrap.path().join("nowhere");
    let error = ModelSpec::<TextEmbedding>::folder(&nowhere).unwrap_err();
    assert!(
        matches!(&error, ModelError::MissingFile { path } if *path == nowhere),
        "{error:?}"
    );
    healthy.answers("all of them").await;
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_fails_tells_its_callers_why_and_harms_no_other_model() {
    let universe = Universe::new(patient()).await;
    let healthy = Healthy::register(&universe);
    let at_load = AT_LOAD.iter().map(|case| (true, case));
    let after = AFTER_REGISTRATION.iter().map(|case| (false, case));
    for (before_registration, (fault, spoil, wanted)) in at_load.chain(after) {
        let scrap = Scrap::copy_of("bert");
        if before_registration {
            spoil(&scrap);
        }
        let spec = ModelSpec::<TextEmbedding>::folder(scrap.path())
            .unwrap_or_else(|error| panic!("{fault}: {error:?}"));
        let broken = universe.register(spec.named(*fault)).unwrap();
        if !before_registration {
            spoil(&scrap);
        }
        let callers = [(); 3].map(|()| {
            let broken = broken.clone();
            tokio::spawn(async move { broken.embed("the dog").await })
        });
        for caller in callers {
            healthy.answers(fault).await;
            let error = within(caller).await.unwrap().unwrap_err();
            assert!(
                matches!(&error, PoolError::LoadFailed { model, .. } if model == fault),
                "{fault}: {error:?}"
            );
            assert!(wanted(model_error(&error)), "{fault}: {error:?}");
        }
    }
    healthy.answers("all of them").await;
    let status = universe.status();
    assert_eq!(status.models[0].metrics.worker_failures, 0);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_folder_serves_without_being_registered_again() {
    let universe = Universe::new(patient()).await;
    let scrap = Scrap::copy_of("bert");
    let weights = scrap.read("model.safetensors");
    let spec = ModelSpec::<TextEmbedding>::folder(scrap.path()).unwrap();
    let embedder = universe.register(spec).unwrap();
    scrap.remove("model.safetensors");
    let error = within(embedder.embed("the dog")).await.unwrap_err();
    assert!(matches!(error, PoolError::LoadFailed { .. }), "{error:?}");

    scrap.write("model.safetensors", &weights);

    assert_eq!(within(embedder.embed("the dog")).await.unwrap().len(), 32);
    universe.close().await;
}

/// Never loaded: its loader fails first.
struct Unreachable(ModelInfo);

impl modelpool::CandleModel for Unreachable {
    fn info(&self) -> &ModelInfo {
        &self.0
    }
}

impl TextEmbeddingCapable for Unreachable {
    fn embed_step(
        &mut self,
        _inputs: &[&modelpool::pool::capabilities::text_embedding::EmbedInput],
        _context: &modelpool::pool::core::StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        Ok(Vec::new())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_of_sources_reaches_down_to_the_operating_system() {
    let universe = Universe::new(config()).await;
    let info = ModelInfo::new("unreadable", 10);
    let spec = ModelSpec::text_embedding(info, || {
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        Err::<Unreachable, _>(ModelError::Unreadable {
            path: "weights".into(),
            source: Arc::new(denied),
        })
    });
    let embedder = universe.register(spec).unwrap();
    let error = within(embedder.embed("a")).await.unwrap_err();

    let mut chain = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        chain.push(cause.to_string());
        source = cause.source();
    }
    assert_eq!(
        chain,
        [
            "model unreadable could not be loaded",
            "cannot read weights",
            "permission denied"
        ]
    );
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_ten_megabytes_is_refused_unless_it_is_allowed() {
    let universe = Universe::new(config()).await;
    let beginning = "the dog and the fox ".repeat(500);
    let text = beginning.repeat(10_000_000 / beginning.len());
    let folder = || ModelSpec::<TextEmbedding>::folder(data("bert")).unwrap();
    for (name, spec) in [("encoder", folder()), ("static", ModelSpec::embedded())] {
        let by_default = universe.register(spec.named(name)).unwrap();
        let error = within(by_default.embed(text.clone())).await.unwrap_err();
        assert!(
            matches!(error, PoolError::InputTooLarge { bytes: 10_000_000, limit }
                if limit == 4 * 1024 * 1024),
            "{name}: {error:?}"
        );
        assert_eq!(universe.status().memory.reserved_mb, 0, "nothing is loaded");
    }

    let roomy = folder().named("roomy").max_input_bytes(10_000_000);
    let roomy = universe.register(roomy).unwrap();
    let whole = within(roomy.embed(text.clone())).await.unwrap();
    let start = within(roomy.embed(beginning)).await.unwrap();
    assert!(
        max_difference(&whole, &start) <= 1e-6,
        "only what the model takes counts"
    );
    let error = within(roomy.embed(text + ".")).await.unwrap_err();
    assert!(
        matches!(
            error,
            PoolError::InputTooLarge {
                bytes: 10_000_001,
                limit: 10_000_000
            }
        ),
        "{error:?}"
    );
    universe.close().await;
}
