//! The embedded static model: parity with the script that made it, sense, and damage.

mod tables;

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelpool::model::ModelInfo;
use modelpool::models::{ModelError, StaticEmbedder, StaticPreparer, StaticWeights};
use modelpool::pool::capabilities::text_embedding::{
    EmbedInput, EmbedOptions, EmbedTask, Embedding, TextEmbeddingCapable, TextPreparer,
};
use modelpool::pool::core::StepContext;
use serde::Deserialize;

/// Both sides add the same int8 rows in the same order in f32; what differs is the rounding of the
/// written values (six digits) and of NumPy's pairwise sums.
const TOLERANCE: f32 = 5e-6;

fn embedded() -> (StaticPreparer, StaticEmbedder) {
    let weights = Arc::new(StaticWeights::embedded().expect("the embedded table is sound"));
    let preparer = StaticPreparer::embedded().expect("the embedded vocabulary is sound");
    (preparer, StaticEmbedder::new(info(), weights))
}

fn info() -> ModelInfo {
    ModelInfo::new("static", 8)
}

fn run(model: &mut StaticEmbedder, input: &EmbedInput) -> Result<Embedding, ModelError> {
    let mut answers = model
        .embed_step(&[input], &StepContext::new(1))
        .expect("a step of a static model does not fail as a whole");
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

fn dimensions(count: usize) -> EmbedOptions {
    EmbedOptions {
        dimensions: Some(count),
        ..EmbedOptions::default()
    }
}

fn embed(
    (preparer, model): &mut (StaticPreparer, StaticEmbedder),
    text: &str,
    options: &EmbedOptions,
) -> Embedding {
    let input = preparer
        .prepare(text.to_owned(), options)
        .expect("the text has tokens");
    run(model, &input).expect("the text can be embedded")
}

fn cosine(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

fn assert_close(found: &[f32], expected: &[f32], text: &str) {
    assert_eq!(found.len(), expected.len(), "{text:?}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= TOLERANCE,
            "{text:?}, component {index}: {found}, expected {expected}"
        );
    }
}

#[derive(Deserialize)]
struct ParityCase {
    text: String,
    ids: Vec<u32>,
    vector: Vec<f32>,
    first_32: Vec<f32>,
}

#[test]
fn tokens_and_vectors_are_those_of_the_script() {
    let cases: Vec<ParityCase> =
        serde_json::from_str(include_str!("../data/static/parity.json")).expect("valid JSON");
    assert!(cases.len() >= 8);
    let mut pair = embedded();
    for case in cases {
        let input = pair
            .0
            .prepare(case.text.clone(), &EmbedOptions::default())
            .expect("the text has tokens");
        assert_eq!(input.tokens, case.ids, "{:?}", case.text);
        let whole = embed(&mut pair, &case.text, &EmbedOptions::default());
        assert_close(&whole, &case.vector, &case.text);
        let short = embed(&mut pair, &case.text, &dimensions(32));
        assert_close(&short, &case.first_32, &case.text);
    }
}

#[test]
fn the_table_is_small_and_fits_the_vocabulary() {
    let weights = StaticWeights::embedded().expect("sound");
    assert_eq!(weights.dimensions(), 128);
    assert!(weights.bytes() < 4_000_000, "{}", weights.bytes());
    let vocabulary = include_str!("../../assets/embedded/vocab.txt");
    assert_eq!(vocabulary.lines().count(), weights.tokens());
    let asset = include_bytes!("../../assets/embedded/model.safetensors");
    assert!(asset.len() + vocabulary.len() <= 4_000_000);
}

#[test]
fn texts_of_one_subject_lie_closer_than_texts_of_two() {
    let mut pair = embedded();
    let all = EmbedOptions::default();
    for (anchor, near, far) in [
        (
            "the cat sat on the mat",
            "a kitten rested on a rug",
            "the stock market fell today",
        ),
        (
            "how do I bake bread",
            "a recipe for a loaf with yeast",
            "fix a segmentation fault in C",
        ),
        (
            "the football team won",
            "a victory for the soccer club",
            "symptoms of the flu",
        ),
        (
            "parliament passed a law",
            "the government voted on a bill",
            "planting roses in spring",
        ),
    ] {
        let anchor_vector = embed(&mut pair, anchor, &all);
        let near_score = cosine(&anchor_vector, &embed(&mut pair, near, &all));
        let far_score = cosine(&anchor_vector, &embed(&mut pair, far, &all));
        assert!(
            near_score > far_score + 0.2,
            "{anchor:?}: {near:?} at {near_score}, {far:?} at {far_score}"
        );
    }
}

#[test]
fn shorter_vectors_are_the_first_components_made_unit_length() {
    let mut pair = embedded();
    let whole = embed(
        &mut pair,
        "semantic search over notes",
        &EmbedOptions::default(),
    );
    assert!((cosine(&whole, &whole) - 1.0).abs() < 1e-5);
    for count in [1, 7, 64, 127, 128] {
        let short = embed(&mut pair, "semantic search over notes", &dimensions(count));
        let length = cosine(&whole[..count], &whole[..count]).sqrt();
        let expected: Vec<f32> = whole[..count].iter().map(|value| value / length).collect();
        assert_close(&short, &expected, "semantic search over notes");
    }
}

#[test]
fn dimensions_that_the_model_lacks_are_refused_on_both_sides() {
    let (preparer, mut model) = embedded();
    for count in [0, 129, usize::MAX] {
        let refused = preparer.prepare("text".to_owned(), &dimensions(count));
        assert!(
            matches!(refused, Err(ModelError::InvalidConfig { ref field, .. }) if field == "dimensions")
        );
        let input = EmbedInput {
            tokens: vec![5],
            dimensions: Some(count),
            ..EmbedInput::default()
        };
        assert!(matches!(
            run(&mut model, &input),
            Err(ModelError::InvalidConfig { .. })
        ));
    }
}

#[test]
fn a_named_prompt_is_refused_and_the_usual_tasks_are_not() {
    let (preparer, _) = embedded();
    let options = |task| EmbedOptions {
        task,
        dimensions: None,
    };
    let plain = preparer.prepare("a text".to_owned(), &options(EmbedTask::Default));
    for task in [EmbedTask::Query, EmbedTask::Passage] {
        let prepared = preparer.prepare("a text".to_owned(), &options(task));
        assert_eq!(
            prepared.expect("no prompt"),
            *plain.as_ref().expect("tokens")
        );
    }
    let named = preparer.prepare(
        "a text".to_owned(),
        &options(EmbedTask::Named("s2p".to_owned())),
    );
    assert!(matches!(named, Err(ModelError::InvalidConfig { ref field, .. }) if field == "task"));
}

#[test]
fn a_text_without_a_known_token_is_an_error_of_its_own() {
    let (preparer, mut model) = embedded();
    for text in ["", "   \n\t ", "東京", "\u{0}\u{1}"] {
        let refused = preparer.prepare(text.to_owned(), &EmbedOptions::default());
        assert!(
            matches!(refused, Err(ModelError::Tokenize { .. })),
            "{text:?}"
        );
    }
    let known = EmbedInput {
        tokens: vec![100, 200],
        ..EmbedInput::default()
    };
    let empty = EmbedInput::default();
    let foreign = EmbedInput {
        tokens: vec![100, u32::MAX],
        ..EmbedInput::default()
    };
    let answers = model
        .embed_step(&[&known, &empty, &foreign, &known], &StepContext::new(1))
        .expect("the step itself succeeds");
    assert_eq!(answers.len(), 4);
    assert!(matches!(answers[1], Err(ModelError::Tokenize { .. })));
    assert!(matches!(answers[2], Err(ModelError::Tokenize { .. })));
    let first = answers[0].as_ref().expect("known tokens");
    assert_eq!(first, answers[3].as_ref().expect("known tokens"));
}

#[test]
fn a_huge_text_costs_no_more_than_a_long_one() {
    let mut pair = embedded();
    // Two bytes a letter, and an odd start, so that the cut falls within a character.
    for unit in ["the weather is fine ", "é", "x", " ", "\u{1F600}"] {
        let text = format!("a word {}", unit.repeat(10_000_000 / unit.len()));
        let start = Instant::now();
        let input = pair
            .0
            .prepare(text, &EmbedOptions::default())
            .expect("it has a word");
        assert!(input.tokens.len() <= 2048);
        run(&mut pair.1, &input).expect("embedded");
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{unit:?}: {:?}",
            start.elapsed()
        );
    }
}
