//! The model that comes with the crate.

use modelpool::{EmbedOptions, EmbedTask, ModelError, ModelSpec, PoolError};

use crate::checkpoints::max_difference;
use crate::universe::{Universe, config, within};
use crate::{length, model_error};

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_without_a_file_or_a_network() {
    let universe = Universe::new(config()).await;
    let embedder = universe.register(ModelSpec::embedded()).unwrap();
    assert_eq!(embedder.info().name, "embedded");

    let cat = within(embedder.embed("The cat sat on the mat."))
        .await
        .unwrap();
    let texts = ["a kitten rested on a rug", "The cat sat on the mat."];
    let batch = within(embedder.embed_batch(texts)).await.unwrap();

    assert_eq!(cat.len(), 128);
    assert!((length(&cat) - 1.0).abs() < 1e-5);
    assert_eq!(batch.len(), 2);
    assert!(max_difference(&batch[1], &cat) <= 1e-6, "order is kept");
    assert!(max_difference(&batch[0], &cat) > 0.01);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_dimensions_are_the_first_ones_normalised_again() {
    let universe = Universe::new(config()).await;
    let embedder = universe.register(ModelSpec::embedded()).unwrap();
    let text = "a victory for the soccer club";
    let ask = |dimensions| {
        let options = EmbedOptions {
            dimensions: Some(dimensions),
            ..EmbedOptions::default()
        };
        embedder.embed_with(text, options)
    };
    let whole = within(embedder.embed(text)).await.unwrap();
    let short = within(ask(32)).await.unwrap();
    let head = &whole[..32];
    let wanted: Vec<f32> = head.iter().map(|value| value / length(head)).collect();
    assert!(max_difference(&short, &wanted) <= 1e-5);
    assert!(max_difference(&within(ask(128)).await.unwrap(), &whole) <= 1e-6);
    for wrong in [0, 129] {
        let error = within(ask(wrong)).await.unwrap_err();
        assert!(matches!(error, PoolError::Model { .. }), "{error:?}");
        assert!(
            matches!(model_error(&error), ModelError::InvalidConfig { field, .. } if field == "dimensions"),
            "{error:?}"
        );
    }
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_changes_nothing_and_a_named_prompt_is_refused() {
    let universe = Universe::new(config()).await;
    let embedder = universe.register(ModelSpec::embedded()).unwrap();
    let ask = |task| {
        let options = EmbedOptions {
            task,
            dimensions: None,
        };
        embedder.embed_with("planting roses in spring", options)
    };
    let plain = within(ask(EmbedTask::Default)).await.unwrap();
    for task in [EmbedTask::Query, EmbedTask::Passage] {
        assert_eq!(within(ask(task)).await.unwrap(), plain);
    }
    let error = within(ask(EmbedTask::Named("retrieval".to_owned())))
        .await
        .unwrap_err();
    assert!(
        matches!(model_error(&error), ModelError::InvalidConfig { field, detail, .. }
            if field == "task" && detail.contains("retrieval")),
        "{error:?}"
    );
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_without_known_words_fails_alone() {
    let universe = Universe::new(config()).await;
    let embedder = universe.register(ModelSpec::embedded()).unwrap();
    let ask = |text: &'static str| {
        let embedder = embedder.clone();
        tokio::spawn(async move { embedder.embed(text).await })
    };
    let texts = ["a known text", "漢字", " \t\n", "another known text"];
    let callers = texts.map(ask);
    for (text, caller) in texts.into_iter().zip(callers) {
        let outcome = within(caller).await.unwrap();
        if text.contains("known") {
            outcome.unwrap();
            continue;
        }
        let error = outcome.unwrap_err();
        assert!(
            matches!(&error, PoolError::Model { model, .. } if model == "embedded"),
            "{error:?}"
        );
        assert!(
            matches!(model_error(&error), ModelError::Tokenize { .. }),
            "{error:?}"
        );
    }
    let error = within(embedder.embed("")).await.unwrap_err();
    assert!(
        matches!(error, PoolError::InvalidRequest { field: "text", .. }),
        "{error:?}"
    );
    let metrics = universe.status().models[0].metrics;
    assert_eq!((metrics.answered, metrics.worker_failures), (2, 0));
    universe.close().await;
}
