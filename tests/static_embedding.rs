//! The embedded static model: parity with the script that made it, sense, and damage.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelpool::model::ModelInfo;
use modelpool::models::{ModelError, StaticEmbedder, StaticFolder, StaticPreparer, StaticWeights};
use modelpool::pool::capabilities::text_embedding::{
    EmbedInput, EmbedOptions, EmbedTask, Embedding, TextEmbeddingCapable, TextPreparer,
};
use modelpool::pool::core::StepContext;
use safetensors::tensor::{Dtype, TensorView, serialize};
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
        serde_json::from_str(include_str!("data/static/parity.json")).expect("valid JSON");
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
    let vocabulary = include_str!("../assets/embedded/vocab.txt");
    assert_eq!(vocabulary.lines().count(), weights.tokens());
    let asset = include_bytes!("../assets/embedded/model.safetensors");
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

/// A safetensors file of these tensors.
fn file(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        let view = TensorView::new(*dtype, shape.to_vec(), data).expect("a consistent tensor");
        (*name, view)
    });
    serialize(views, None).expect("serialisable")
}

fn le_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

#[test]
fn damaged_tables_are_typed_errors() {
    let sound = include_bytes!("../assets/embedded/model.safetensors");
    for length in [0, 1, 7, 8, 100, sound.len() / 2, sound.len() - 1] {
        let found = StaticWeights::from_bytes(&sound[..length]);
        assert!(
            matches!(found, Err(ModelError::Corrupt { .. })),
            "{length}: {found:?}"
        );
    }
    let mut longer = sound.to_vec();
    longer.push(0);
    assert!(matches!(
        StaticWeights::from_bytes(&longer),
        Err(ModelError::Corrupt { .. })
    ));
    let huge_header = [0xff_u8; 64];
    assert!(matches!(
        StaticWeights::from_bytes(&huge_header),
        Err(ModelError::Corrupt { .. })
    ));

    let rows: &[u8] = &[1, 2, 3, 4, 5, 6];
    let two = le_bytes(&[1.0, 2.0]);
    let nan = le_bytes(&[1.0, f32::NAN, 0.0, 0.0]);
    let missing = file(&[("other", Dtype::I8, &[3, 2], rows)]);
    assert!(matches!(
        StaticWeights::from_bytes(&missing),
        Err(ModelError::MissingTensor { tensor }) if tensor == "embeddings"
    ));
    for shape in [&[6][..], &[1, 3, 2], &[]] {
        let data = if shape.is_empty() { &rows[..1] } else { rows };
        let bytes = file(&[("embeddings", Dtype::I8, shape, data)]);
        let found = StaticWeights::from_bytes(&bytes);
        assert!(
            matches!(found, Err(ModelError::WrongShape { .. })),
            "{shape:?}: {found:?}"
        );
    }
    let no_rows = file(&[("embeddings", Dtype::I8, &[0, 2], &[])]);
    assert!(matches!(
        StaticWeights::from_bytes(&no_rows),
        Err(ModelError::WrongShape { .. })
    ));
    let unsigned = file(&[("embeddings", Dtype::U8, &[3, 2], rows)]);
    assert!(matches!(
        StaticWeights::from_bytes(&unsigned),
        Err(ModelError::WrongDtype { .. })
    ));
    let not_finite = file(&[("embeddings", Dtype::F32, &[2, 2], &nan)]);
    assert!(matches!(
        StaticWeights::from_bytes(&not_finite),
        Err(ModelError::NotFiniteWeights { tensor }) if tensor == "embeddings"
    ));
    let infinite_half = [0x00, 0x7c, 0x00, 0x3c, 0x00, 0x3c];
    let bad_weights: [(Dtype, &[usize], &[u8]); 3] = [
        (Dtype::F32, &[2], &two),
        (Dtype::I8, &[3], &rows[..3]),
        (Dtype::F16, &[3], &infinite_half),
    ];
    for (dtype, shape, data) in bad_weights {
        let bytes = file(&[
            ("embeddings", Dtype::I8, &[3, 2], rows),
            ("weights", dtype, shape, data),
        ]);
        let found = StaticWeights::from_bytes(&bytes);
        let tensor = match found {
            Err(ModelError::WrongShape { tensor, .. })
            | Err(ModelError::WrongDtype { tensor, .. })
            | Err(ModelError::NotFiniteWeights { tensor }) => tensor,
            other => panic!("{dtype:?}: {other:?}"),
        };
        assert_eq!(tensor, "weights");
    }
    for row in [-1_i64, 3, i64::MAX] {
        let bytes = file(&[
            ("embeddings", Dtype::I8, &[3, 2], rows),
            ("mapping", Dtype::I64, &[1], &row.to_le_bytes()),
        ]);
        let found = StaticWeights::from_bytes(&bytes);
        assert!(
            matches!(found, Err(ModelError::InvalidConfig { .. })),
            "{row}: {found:?}"
        );
    }
}

#[test]
fn every_element_type_mapping_and_weights_give_the_sum_they_should() {
    // Rows (3, 4), (0, 5) and (-6, 8); tokens 0 to 3 take rows 2, 0, 0, 1 and weigh 1, 2, 0.5, 1.
    let values = [3.0_f32, 4.0, 0.0, 5.0, -6.0, 8.0];
    let halves: [u16; 6] = [0x4200, 0x4400, 0x0000, 0x4500, 0xc600, 0x4800];
    let tables = [
        (
            Dtype::I8,
            values.iter().map(|value| *value as i8 as u8).collect(),
        ),
        (Dtype::F32, le_bytes(&values)),
        (
            Dtype::F64,
            values
                .iter()
                .flat_map(|value| f64::from(*value).to_le_bytes())
                .collect(),
        ),
        (
            Dtype::F16,
            halves
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect::<Vec<u8>>(),
        ),
    ];
    let mapping: Vec<u8> = [2_i64, 0, 0, 1]
        .iter()
        .flat_map(|row| row.to_le_bytes())
        .collect();
    let weights = le_bytes(&[1.0, 2.0, 0.5, 1.0]);
    for (dtype, data) in tables {
        let bytes = file(&[
            ("embeddings", dtype, &[3, 2], &data),
            ("mapping", Dtype::I64, &[4], &mapping),
            ("weights", Dtype::F32, &[4], &weights),
        ]);
        let table = Arc::new(StaticWeights::from_bytes(&bytes).expect("sound"));
        assert_eq!((table.tokens(), table.dimensions()), (4, 2));
        let mut model = StaticEmbedder::new(info(), table);
        // (-6, 8) + 2 (3, 4) + (0, 5) = (0, 21)
        let input = EmbedInput {
            tokens: vec![0, 1, 3],
            ..EmbedInput::default()
        };
        assert_close(
            &run(&mut model, &input).expect("known tokens"),
            &[0.0, 1.0],
            "sum",
        );
        // 0.5 (3, 4)
        let input = EmbedInput {
            tokens: vec![2],
            ..EmbedInput::default()
        };
        assert_close(
            &run(&mut model, &input).expect("known token"),
            &[0.6, 0.8],
            "scaled",
        );
    }
}

#[test]
fn a_folder_with_table_and_tokenizer_opens() {
    let folder = std::env::temp_dir().join(format!("modelpool-static-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a writable folder");
    assert!(matches!(
        StaticFolder::open(&folder),
        Err(ModelError::MissingFile { .. })
    ));
    let rows = file(&[("embeddings", Dtype::I8, &[3, 2], &[0, 0, 3, 4, 4, 3])]);
    std::fs::write(folder.join("model.safetensors"), rows).expect("written");
    std::fs::write(folder.join("tokenizer.json"), "{").expect("written");
    assert!(matches!(
        StaticFolder::open(&folder),
        Err(ModelError::Corrupt { path, .. }) if path.ends_with("tokenizer.json")
    ));
    let tokenizer = |vocabulary: &str| {
        format!(
            r###"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],
            "normalizer":{{"type":"Lowercase"}},"pre_tokenizer":{{"type":"Whitespace"}},
            "post_processor":null,"decoder":null,"model":{{"type":"WordPiece","unk_token":"[UNK]",
            "continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{vocabulary}}}}}"###
        )
    };
    let too_many = tokenizer(r#"{"[UNK]":0,"red":1,"blue":2,"green":3}"#);
    std::fs::write(folder.join("tokenizer.json"), too_many).expect("written");
    assert!(matches!(
        StaticFolder::open(&folder),
        Err(ModelError::WrongShape { .. })
    ));
    let fitting = tokenizer(r#"{"[UNK]":0,"red":1,"blue":2}"#);
    std::fs::write(folder.join("tokenizer.json"), fitting).expect("written");
    let opened = StaticFolder::open(&folder).expect("sound");
    let input = opened
        .preparer()
        .prepare("RED mauve".to_owned(), &EmbedOptions::default())
        .expect("one known token");
    let mut model = StaticEmbedder::new(info(), opened.weights());
    assert_close(&run(&mut model, &input).expect("known"), &[0.6, 0.8], "red");
    std::fs::remove_dir_all(&folder).expect("removed");
}
