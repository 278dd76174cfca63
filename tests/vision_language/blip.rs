//! BLIP beside transformers: pixels, tower, question, logits; and what it refuses.

use modelpool::images::ImageSource;
use modelpool::models::{BlipFiles, BlipModel};
use modelpool::pool::capabilities::text_to_text::{
    BlockId, LogitRows, PictureRows, PlacedPicture, SequenceChunk, SequenceId, TextToTextCapable,
    WantedLogits, marks,
};
use modelpool::pool::core::StepContext;
use modelpool::{ModelError, PoolError, VisionInput, VisionLanguageCapable};
use serde_json::json;

use crate::reference::{Reference, data, difference, load_blip, queries};
use crate::scrap::Scrap;
use crate::universe::within;
use crate::{ask, one_worker, params};

/// The absolute difference from transformers that is allowed in single precision.
const TOLERANCE: f32 = 1e-4;

const FAMILIES: [&str; 2] = ["blip", "blip_vqa"];

/// The marks before each text.
const MARKS: usize = 4;

fn input(family: &str, reference: &Reference, number: usize) -> VisionInput {
    let files = BlipFiles::open(data(family)).unwrap();
    let pixels = files
        .preprocessor()
        .run(&reference.picture(number))
        .unwrap();
    VisionInput {
        question: reference.numbers(&format!("{number}.question")),
        pictures: vec![pixels],
        ..VisionInput::default()
    }
}

fn marked(reference: &Reference, number: usize) -> Vec<u32> {
    let mut tokens = marks(b"a picture", MARKS);
    tokens.extend(reference.numbers(&format!("{number}.tokens")));
    tokens
}

/// The logits of texts in one step, of each from a place on.
fn run(
    model: &mut BlipModel,
    parts: &[(&[u32], usize, &[BlockId], &PictureRows)],
    threads: usize,
) -> Vec<f32> {
    let chunks: Vec<SequenceChunk<'_>> = (1..)
        .zip(parts)
        .map(|(number, (tokens, position, blocks, rows))| SequenceChunk {
            sequence: SequenceId(number),
            tokens,
            position: *position,
            blocks,
            logits: match position + tokens.len() <= MARKS {
                true => WantedLogits::None,
                false => WantedLogits::All,
            },
            picture: Some(PlacedPicture { rows, start: 0 }),
        })
        .collect();
    let mut rows = LogitRows::new(model.limits().vocabulary);
    let context = StepContext::new(threads);
    model.forward(&chunks, &mut rows, &context).unwrap();
    let text = |part: &(&[u32], usize, &[BlockId], &PictureRows)| {
        part.0.len() - MARKS.saturating_sub(part.1).min(part.0.len())
    };
    let count = parts.iter().map(text).sum();
    rows.rows_mut(count).to_vec()
}

#[test]
fn every_stage_is_as_in_transformers() {
    for family in FAMILIES {
        let reference = Reference::of(family);
        let mut model = load_blip(family);
        for number in 0..3 {
            let close = |stage: &str, found: &[f32]| {
                let wanted = reference.floats(&format!("{number}.{stage}"));
                let worst = difference(found, &wanted);
                assert!(worst <= TOLERANCE, "{family} {number} {stage}: {worst}");
            };
            let input = input(family, &reference, number);
            close("pixels", input.pictures[0].values());
            let context = StepContext::new(1 + number);
            close("tower", &model.tower(&input.pictures[0], &context).unwrap());
            let rows = model.encode(&input, &context).unwrap();
            if family == "blip_vqa" {
                close("rows", model.question());
            }
            let tokens = marked(&reference, number);
            let blocks = [BlockId(3), BlockId(1)];
            let logits = run(&mut model, &[(&tokens, 0, &blocks, &rows)], 2);
            close("logits", &logits);
        }
    }
}

#[test]
fn chunks_company_and_threads_change_no_bit() {
    for family in FAMILIES {
        let reference = Reference::of(family);
        let mut model = load_blip(family);
        let context = StepContext::new(1);
        let [mine, theirs] = [0, 1].map(|number| {
            model
                .encode(&input(family, &reference, number), &context)
                .unwrap()
        });
        let threads = StepContext::new(3);
        assert!(
            model
                .encode(&input(family, &reference, 0), &threads)
                .unwrap()
                == mine
        );
        let long: Vec<u32> = (5..45).map(|id| id * 7 % 100 + 5).collect();
        let text: Vec<u32> = marks(b"mine", MARKS).into_iter().chain(long).collect();
        let other = marked(&reference, 1);
        let blocks = [BlockId(0), BlockId(5)];
        let whole = run(&mut model, &[(&text, 0, &blocks, &mine)], 1);
        let vocabulary = model.limits().vocabulary;
        let others = [BlockId(2), BlockId(4)];
        let mut cut = Vec::new();
        let mut from = 0;
        for end in [3, 5, 6, 20, 33, text.len()] {
            let part = (&text[from..end], from, &blocks[..], &mine);
            let beside = (&other[..], 0, &others[..], &theirs);
            let rows = run(&mut model, &[part, beside], 2);
            let count = end - from - MARKS.saturating_sub(from).min(end - from);
            cut.extend_from_slice(&rows[..count * vocabulary]);
            from = end;
        }
        assert!(cut == whole, "{family}");
    }
}

#[test]
fn steps_that_cannot_be_run_are_refused() {
    let reference = Reference::of("blip");
    let mut model = load_blip("blip");
    let context = StepContext::new(1);
    let rows = model
        .encode(&input("blip", &reference, 0), &context)
        .unwrap();
    let foreign = PictureRows::new(3, vec![0.5; 9]).unwrap().beside(MARKS);
    let tokens = marked(&reference, 0);
    let unknown: Vec<u32> = tokens.iter().copied().chain([5000]).collect();
    let long = vec![7; 80];
    let blocks = [BlockId(0), BlockId(1), BlockId(2)];
    let mut logits = LogitRows::new(model.limits().vocabulary);
    let mut step = |tokens: &[u32], position, blocks: &[BlockId], rows: Option<&PictureRows>| {
        let chunk = SequenceChunk {
            sequence: SequenceId(9),
            tokens,
            position,
            blocks,
            logits: WantedLogits::Last,
            picture: rows.map(|rows| PlacedPicture { rows, start: 0 }),
        };
        model.forward(&[chunk], &mut logits, &context)
    };
    for (name, result) in [
        ("no tokens", step(&[], 0, &blocks, Some(&rows))),
        ("no picture", step(&tokens, 0, &blocks, None)),
        ("another's", step(&tokens, 0, &blocks, Some(&foreign))),
        ("no marks", step(&tokens[MARKS..], 0, &blocks, Some(&rows))),
        ("unknown", step(&unknown, 0, &blocks, Some(&rows))),
        ("too long", step(&long, MARKS, &blocks, Some(&rows))),
        ("no blocks", step(&tokens, 0, &[], Some(&rows))),
        ("no end", step(&[7, 7], usize::MAX, &blocks, Some(&rows))),
        (
            "no such block",
            step(&tokens, 0, &[BlockId(999)], Some(&rows)),
        ),
    ] {
        let refused = matches!(result, Err(ModelError::InvalidStep { sequence: 9, .. }));
        assert!(refused, "{name}: {result:?}");
    }
    assert!(step(&tokens, 0, &blocks, Some(&rows)).is_ok());
}

#[test]
fn questions_that_cannot_be_read_are_refused() {
    let reference = Reference::of("blip_vqa");
    let mut model = load_blip("blip_vqa");
    let context = StepContext::new(1);
    for question in [vec![], vec![7; 65], vec![5000]] {
        let shown = format!("{question:?}");
        let input = VisionInput {
            question,
            ..input("blip_vqa", &reference, 0)
        };
        let error = model.encode(&input, &context).unwrap_err();
        let refused = matches!(
            error,
            ModelError::Tokenize { .. } | ModelError::PromptTooLong { most: 64, .. }
        );
        assert!(refused, "{shown}: {error:?}");
    }
    let without = VisionInput {
        pictures: Vec::new(),
        ..input("blip_vqa", &reference, 0)
    };
    assert!(model.encode(&without, &context).is_err());
}

#[test]
fn fields_and_tensors_that_do_not_fit_are_named() {
    let opened = |scrap: &Scrap| BlipFiles::open(scrap.path()).unwrap_err();
    for (part, field, value, named) in [
        (
            "vision_config",
            "hidden_size",
            json!(25),
            "num_attention_heads",
        ),
        ("vision_config", "image_size", json!(13), "image_size"),
        ("vision_config", "image_size", json!(16), "crop_size"),
        (
            "vision_config",
            "num_hidden_layers",
            json!(1 << 20),
            "num_hidden_layers",
        ),
        (
            "text_config",
            "num_attention_heads",
            json!(5),
            "num_attention_heads",
        ),
        (
            "text_config",
            "encoder_hidden_size",
            json!(32),
            "encoder_hidden_size",
        ),
        ("text_config", "hidden_act", json!("magic"), "hidden_act"),
        (
            "text_config",
            "layer_norm_eps",
            json!(-1.0),
            "layer_norm_eps",
        ),
        ("text_config", "bos_token_id", json!(9999), "bos_token_id"),
        ("text_config", "sep_token_id", json!(-1), "sep_token_id"),
        (
            "text_config",
            "max_position_embeddings",
            json!(0),
            "max_position_embeddings",
        ),
    ] {
        let scrap = Scrap::copy_of("blip");
        scrap.edit_json("config.json", |config| config[part][field] = value.clone());
        match opened(&scrap) {
            ModelError::InvalidConfig { field: found, .. } => {
                assert_eq!(found, named, "{field} = {value}");
            }
            other => panic!("{field} = {value}: {other:?}"),
        }
    }
    let scrap = Scrap::copy_of("blip");
    scrap.edit_json("config.json", |config| {
        config["architectures"] = json!(["BlipForImageTextRetrieval"]);
    });
    let error = opened(&scrap);
    assert!(
        matches!(error, ModelError::UnsupportedArchitecture { .. }),
        "{error:?}"
    );
    for name in [
        "vision_model.post_layernorm.bias",
        "text_encoder.encoder.layer.1.crossattention.self.key.weight",
        "text_decoder.cls.predictions.transform.dense.bias",
        "text_decoder.bert.embeddings.position_embeddings.weight",
    ] {
        let scrap = Scrap::copy_of("blip_vqa");
        scrap.edit_tensors(|tensors| drop(tensors.remove(name)));
        let error = opened(&scrap);
        let missing = matches!(&error, ModelError::MissingTensor { tensor } if tensor == name);
        assert!(missing, "{name}: {error:?}");
        let scrap = Scrap::copy_of("blip_vqa");
        scrap.edit_tensors(|tensors| tensors.get_mut(name).unwrap().shape.push(1));
        let error = opened(&scrap);
        let shape = matches!(&error, ModelError::WrongShape { tensor, .. } if tensor == name);
        assert!(shape, "{name}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caption_needs_no_query_and_an_answer_does() {
    let picture = Reference::of("blip").picture(0);
    let (universe, model) = one_worker("blip").await;
    let caption = ask(&model, &picture, "", params()).await;
    assert_eq!(caption.summary.usage.prompt_tokens, MARKS + 1);
    let long = "what ".repeat(63);
    let source = ImageSource::pixels(picture.clone());
    let error = within(model.describe_image(source, long, params())).await;
    let told = matches!(
        &error,
        Err(PoolError::Model {
            source: ModelError::PromptTooLong {
                tokens: 63,
                most: 62
            },
            ..
        })
    );
    assert!(told, "{error:?}");
    universe.close().await;

    let (universe, model) = one_worker("blip_vqa").await;
    let source = ImageSource::pixels(picture.clone());
    let error = within(model.describe_image(source, "", params())).await;
    let told = matches!(
        &error,
        Err(PoolError::InvalidRequest { field: "query", .. })
    );
    assert!(told, "{error:?}");
    // Two questions about one picture have their own answers, and a control token is text.
    let mut likely = params();
    likely.sampling.logprobs = Some(1);
    let first = ask(&model, &picture, &queries()[0], likely.clone()).await;
    let second = ask(&model, &picture, "[SEP] [CLS]", likely).await;
    assert_ne!(first.answers, second.answers);
    universe.close().await;
}
