//! Tokens: truncation, very long texts, prompts and what cannot be asked for.

use modelpool::models::{EncoderFolder, EncoderPreparer, ModelError};
use modelpool::pool::capabilities::text_embedding::{
    EmbedInput, EmbedOptions, EmbedTask, TextEmbeddingCapable, TextPreparer,
};
use modelpool::pool::core::StepContext;

use super::{Loaded, Scrap, data};

fn preparer(name: &str) -> EncoderPreparer {
    let folder = EncoderFolder::open(data(name)).expect("a folder");
    folder.preparer().expect("a tokenizer")
}

fn tokens(preparer: &EncoderPreparer, text: &str) -> Vec<u32> {
    let prepared = preparer.prepare(text.to_owned(), &EmbedOptions::default());
    prepared.expect("tokens").tokens
}

#[test]
fn truncation_keeps_the_special_tokens() {
    let preparer = preparer("bert");
    let short = tokens(&preparer, "the dog");
    let long = tokens(&preparer, &"the dog ".repeat(500));
    assert_eq!(long.len(), 90, "the model's limit, special tokens included");
    assert_eq!(long[..3], short[..3], "[CLS] the dog");
    assert_eq!(long.last(), short.last(), "[SEP]");
}

/// The limit with these values of `max_seq_length`, `model_max_length` and
/// `max_position_embeddings` (whose table the tiny model has for 96).
fn limit(sentence: Option<u32>, tokenizer: Option<f64>) -> usize {
    let scrap = Scrap::copy_of("bert");
    scrap.remove("sentence_bert_config.json");
    if let Some(length) = sentence {
        let content = serde_json::json!({ "max_seq_length": length }).to_string();
        scrap.write("sentence_distilbert_config.json", content.as_bytes());
    }
    scrap.edit_json("tokenizer_config.json", |config| match tokenizer {
        Some(length) => config["model_max_length"] = length.into(),
        None => config["model_max_length"] = serde_json::Value::Null,
    });
    EncoderFolder::open(scrap.path())
        .expect("a folder")
        .max_tokens()
}

#[test]
fn the_most_tokens_are_found_where_sentence_transformers_finds_them() {
    assert_eq!(limit(Some(20), Some(30.0)), 20);
    assert_eq!(
        limit(Some(40), Some(30.0)),
        40,
        "the first wins, though larger"
    );
    assert_eq!(limit(Some(400), None), 96, "there are no more positions");
    assert_eq!(limit(None, Some(30.0)), 30);
    assert_eq!(limit(None, Some(1e30)), 96, "which stands for none");
    assert_eq!(limit(None, None), 96);
}

#[test]
fn an_empty_text_has_its_special_tokens_only() {
    assert_eq!(tokens(&preparer("bert"), "").len(), 2);
}

#[test]
fn a_text_of_ten_megabytes_gives_the_tokens_of_its_beginning_fast() {
    let preparer = preparer("bert");
    let beginning = "zürich café naïve dog ".repeat(300);
    let whole = beginning.repeat(10_000_000 / beginning.len());
    let start = std::time::Instant::now();
    assert_eq!(tokens(&preparer, &whole), tokens(&preparer, &beginning));
    // Some milliseconds; tokenising all of it takes many seconds.
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
}

#[test]
fn a_long_stretch_without_tokens_hides_no_text() {
    let preparer = preparer("bert");
    let far = format!("{}the dog", " ".repeat(100_000));
    assert_eq!(tokens(&preparer, &far), tokens(&preparer, "the dog"));
}

#[test]
fn a_tokenizer_that_truncates_left_keeps_the_end() {
    let scrap = Scrap::copy_of("bert");
    scrap.edit_json("tokenizer_config.json", |config| {
        config["truncation_side"] = "left".into();
    });
    let folder = EncoderFolder::open(scrap.path()).expect("a folder");
    let preparer = folder.preparer().expect("a tokenizer");
    let text = format!("{} the lazy fox", "dog ".repeat(100_000));
    let end = tokens(&preparer, "the lazy fox");
    let kept = tokens(&preparer, &text);
    assert_eq!(kept.len(), 90);
    assert!(kept.ends_with(&end[1..]));
}

#[test]
fn lower_case_is_applied_where_the_folder_asks_for_it() {
    let scrap = Scrap::copy_of("roberta");
    scrap.edit_json("sentence_bert_config.json", |config| {
        config["do_lower_case"] = true.into();
    });
    let plain = preparer("roberta");
    let folder = EncoderFolder::open(scrap.path()).expect("a folder");
    let lower = folder.preparer().expect("a tokenizer");
    assert_ne!(tokens(&plain, "The Dog"), tokens(&plain, "the dog"));
    assert_eq!(tokens(&lower, "The Dog"), tokens(&plain, "the dog"));
}

#[test]
fn the_default_prompt_serves_a_task_that_has_none() {
    let scrap = Scrap::copy_of("xlm-roberta");
    scrap.edit_json("config_sentence_transformers.json", |config| {
        config["prompts"] = serde_json::json!({"query": "What is: ", "house": "Text: "});
        config["default_prompt_name"] = "house".into();
    });
    let folder = EncoderFolder::open(scrap.path()).expect("a folder");
    let preparer = folder.preparer().expect("a tokenizer");
    let plain = super::preparing::preparer("xlm-roberta");
    let ask = |task| {
        let options = EmbedOptions {
            task,
            dimensions: None,
        };
        preparer
            .prepare("Paris".to_owned(), &options)
            .expect("tokens")
            .tokens
    };
    assert_eq!(ask(EmbedTask::Default), tokens(&plain, "Text: Paris"));
    assert_eq!(ask(EmbedTask::Passage), tokens(&plain, "Text: Paris"));
    assert_eq!(ask(EmbedTask::Query), tokens(&plain, "What is: Paris"));
    let names: Vec<_> = preparer.prompts().collect();
    assert_eq!(names, [("house", "Text: "), ("query", "What is: ")]);
}

#[test]
fn what_the_model_does_not_have_is_refused() {
    let preparer = preparer("bert");
    let ask = |task, dimensions| {
        let options = EmbedOptions { task, dimensions };
        preparer.prepare("dog".to_owned(), &options)
    };
    for (task, dimensions, wanted) in [
        (EmbedTask::Named("nobody".to_owned()), None, "prompts"),
        (EmbedTask::Default, Some(0), "dimensions"),
        (EmbedTask::Default, Some(33), "dimensions"),
    ] {
        match ask(task, dimensions) {
            Err(ModelError::InvalidConfig { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{other:?}"),
        }
    }
    assert!(ask(EmbedTask::Query, Some(32)).is_ok());
}

#[test]
fn a_bad_input_fails_alone() {
    let mut model = Loaded::open(&data("bert"));
    let good = model.prepare("the dog");
    let of = |tokens: Vec<u32>, dimensions| EmbedInput {
        text: String::new(),
        tokens,
        dimensions,
    };
    let bad = [
        of(vec![], None),
        of(vec![2, 1_000_000, 3], None),
        of(vec![5; 91], None),
        of(good.tokens.clone(), Some(0)),
        of(good.tokens.clone(), Some(33)),
    ];
    let mut inputs: Vec<&EmbedInput> = bad.iter().collect();
    inputs.insert(2, &good);
    let answers = model
        .encoder
        .embed_step(&inputs, &StepContext::new(1))
        .expect("a step that runs");
    let alone = model.step(std::slice::from_ref(&good), 1);
    for (number, answer) in answers.iter().enumerate() {
        match (number, answer) {
            (2, Ok(vector)) => assert_eq!(vector, &alone[0]),
            (0 | 1 | 3, Err(ModelError::Tokenize { .. })) => {}
            (4 | 5, Err(ModelError::InvalidConfig { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(model.step(&[], 2).is_empty());
}

#[test]
fn an_output_that_is_not_finite_fails_alone() {
    let scrap = Scrap::copy_of("distilbert");
    // So large that the layer norm's square overflows: finite weights, but no finite output.
    scrap.edit_tensor("embeddings.word_embeddings.weight", |values| {
        values[7 * 32..8 * 32].fill(3e38);
        values[7 * 32] = -3e38;
    });
    let mut model = Loaded::open(scrap.path());
    let of = |tokens: &[u32]| EmbedInput {
        text: String::new(),
        tokens: tokens.to_vec(),
        dimensions: None,
    };
    let (good, bad) = (of(&[2, 9, 3]), of(&[2, 7, 3]));
    let answers = model
        .encoder
        .embed_step(&[&good, &bad, &good], &StepContext::new(1))
        .expect("a step that runs");
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert!(
        matches!(answers[1], Err(ModelError::NotFiniteOutput)),
        "{:?}",
        answers[1]
    );
    // Nothing of it stays in the buffers.
    let again = model.step(std::slice::from_ref(&good), 1);
    assert_eq!(answers[0].as_ref().expect("an embedding"), &again[0]);
}
