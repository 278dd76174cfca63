//! Each stage of each family beside transformers: pixels, tower, rows, logits.

use modelpool::models::VisionLanguageModel;
use modelpool::pool::capabilities::text_to_text::{
    BlockId, LogitRows, PictureRows, PlacedPicture, SequenceChunk, SequenceId, TextToTextCapable,
    WantedLogits, is_mark, marks,
};
use modelpool::pool::core::StepContext;

use crate::reference::{PLACED, Reference, difference, load, load_from, pixels};
use crate::scrap::Scrap;

/// The absolute difference from transformers that is allowed in single precision.
const TOLERANCE: f32 = 1e-4;

/// The reference's pixels, patch by patch where the family's processor cuts them.
fn as_in_the_reference(family: &str, pixels: &modelpool::images::PixelTensor) -> Vec<f32> {
    if family != "qwen2_5_vl" {
        return pixels.values().to_vec();
    }
    let [_, height, width] = pixels.shape();
    let (patch, merge) = (4, 2);
    let square = patch * merge;
    let mut values = Vec::new();
    for place in 0..(height / square) * (width / square) {
        let (top, left) = (place / (width / square), place % (width / square));
        for inner in 0..merge * merge {
            let top = top * square + inner / merge * patch;
            let left = left * square + inner % merge * patch;
            for channel in 0..3 {
                for _frame in 0..2 {
                    for row in top..top + patch {
                        let from = (channel * height + row) * width + left;
                        values.extend(&pixels.values()[from..from + patch]);
                    }
                }
            }
        }
    }
    values
}

/// A prompt's tokens with marks at the places of the picture, and where those begin.
pub fn marked(tokens: &[u32], placeholder: u32, content: &[u8]) -> (Vec<u32>, usize) {
    let start = tokens
        .iter()
        .position(|token| *token == placeholder)
        .unwrap();
    let rows = tokens.iter().filter(|token| **token == placeholder).count();
    let mut marked = tokens.to_vec();
    marked[start..start + rows].copy_from_slice(&marks(content, rows));
    (marked, start)
}

fn run(
    model: &mut VisionLanguageModel,
    parts: &[(&[u32], usize, &[BlockId], PlacedPicture<'_>)],
    threads: usize,
) -> Vec<f32> {
    let chunks: Vec<SequenceChunk<'_>> = (1..)
        .zip(parts)
        .map(
            |(number, (tokens, position, blocks, picture))| SequenceChunk {
                sequence: SequenceId(number),
                tokens,
                position: *position,
                blocks,
                logits: WantedLogits::All,
                picture: Some(*picture),
            },
        )
        .collect();
    let mut rows = LogitRows::new(model.limits().vocabulary);
    model
        .forward(&chunks, &mut rows, &StepContext::new(threads))
        .unwrap();
    let count = chunks.iter().map(SequenceChunk::wanted_rows).sum();
    rows.rows_mut(count).to_vec()
}

fn placeholder(family: &str) -> u32 {
    match family {
        "llava" => 259,
        "moondream" => 0,
        _ => 261,
    }
}

#[test]
fn every_stage_is_as_in_transformers() {
    for family in PLACED {
        let reference = Reference::of(family);
        let mut model = load(family);
        for number in 0..3 {
            let close = |stage: &str, found: &[f32]| {
                let wanted = reference.floats(&format!("{number}.{stage}"));
                let worst = difference(found, &wanted);
                assert!(worst <= TOLERANCE, "{family} {number} {stage}: {worst}");
            };
            let picture = reference.picture(number);
            let prepared = pixels(family, &picture);
            close("pixels", &as_in_the_reference(family, &prepared));
            let context = StepContext::new(1 + number);
            close("tower", &model.tower(&prepared, &context).unwrap());
            let rows = model.look(&prepared, &context).unwrap();
            close("rows", rows.values());
            let tokens = reference.numbers(&format!("{number}.tokens"));
            let (tokens, start) = marked(&tokens, placeholder(family), picture.pixels());
            let placed = PlacedPicture { rows: &rows, start };
            let blocks = [BlockId(3), BlockId(1), BlockId(6)];
            close(
                "logits",
                &run(&mut model, &[(&tokens, 0, &blocks, placed)], 2),
            );
        }
    }
}

#[test]
fn chunks_company_and_threads_change_no_bit() {
    for family in PLACED {
        let reference = Reference::of(family);
        let mut model = load(family);
        let seen: Vec<(Vec<u32>, usize, PictureRows)> = (0..2)
            .map(|number| {
                let picture = reference.picture(number);
                let prepared = pixels(family, &picture);
                let rows = model.look(&prepared, &StepContext::new(1)).unwrap();
                let other = model.look(&prepared, &StepContext::new(3)).unwrap();
                assert!(rows == other, "{family}, threads of the tower");
                let tokens = reference.numbers(&format!("{number}.tokens"));
                let (tokens, start) = marked(&tokens, placeholder(family), picture.pixels());
                (tokens, start, rows)
            })
            .collect();
        let placed: Vec<PlacedPicture<'_>> = seen
            .iter()
            .map(|(_, start, rows)| PlacedPicture {
                rows,
                start: *start,
            })
            .collect();
        let (mine, theirs) = (&seen[0].0, &seen[1].0);
        let blocks = [BlockId(0), BlockId(1), BlockId(2)];
        let whole = run(&mut model, &[(mine, 0, &blocks, placed[0])], 1);
        let others = [BlockId(5), BlockId(4), BlockId(3)];
        let vocabulary = model.limits().vocabulary;
        let mut cut = Vec::new();
        // In pieces that begin and end within the picture, beside a sequence with another one.
        let start = start_of(mine);
        let ends = [
            start + 2,
            start + 6,
            (start + 6).midpoint(mine.len()),
            mine.len(),
        ];
        let mut from = 0;
        for end in ends {
            let beside = from.min(theirs.len() - 2)..end.min(theirs.len() - 1);
            let parts = [
                (&mine[from..end], from, &blocks[..], placed[0]),
                (
                    &theirs[beside.clone()],
                    beside.start,
                    &others[..],
                    placed[1],
                ),
            ];
            let rows = run(&mut model, &parts, 2);
            cut.extend_from_slice(&rows[..(end - from) * vocabulary]);
            from = end;
        }
        assert!(cut == whole, "{family}");
    }
}

fn start_of(tokens: &[u32]) -> usize {
    tokens.iter().position(|token| is_mark(*token)).unwrap()
}

#[test]
fn configurations_and_names_in_other_forms_mean_the_same() {
    // As the hub has it: the language model's fields beside the tower's.
    let flat = Scrap::copy_of("qwen2_5_vl");
    flat.edit_json("config.json", |config| {
        let mut text = config["text_config"].take();
        text["rope_theta"] = text["rope_parameters"]["rope_theta"].take();
        let sections = text["rope_parameters"]["mrope_section"].take();
        text["rope_scaling"] = serde_json::json!({ "type": "mrope", "mrope_section": sections });
        text["rope_parameters"].take();
        text["model_type"].take();
        for (name, value) in text.as_object().unwrap() {
            if !value.is_null() {
                config[name] = value.clone();
            }
        }
    });
    // What is as usual left out, and names as transformers has them in memory.
    let short = Scrap::copy_of("llava");
    short.edit_json("config.json", |config| {
        for field in [
            "projector_hidden_act",
            "vision_feature_layer",
            "tie_word_embeddings",
        ] {
            config[field].take();
        }
        for field in ["hidden_act", "layer_norm_eps", "model_type", "num_channels"] {
            config["vision_config"][field].take();
        }
    });
    short.edit_tensors(|tensors| {
        let renamed = std::mem::take(tensors).into_iter().map(|(name, tensor)| {
            let name = name
                .replace("language_model.model.", "model.language_model.")
                .replace("language_model.lm_head", "lm_head")
                .replace("vision_tower.", "model.vision_tower.vision_model.")
                .replace("multi_modal_projector.", "model.multi_modal_projector.");
            (name, tensor)
        });
        *tensors = renamed.collect();
    });
    for (family, scrap) in [("qwen2_5_vl", flat), ("llava", short)] {
        let reference = Reference::of(family);
        let mut model = load_from(scrap.path());
        let picture = reference.picture(0);
        let prepared = pixels(family, &picture);
        let rows = model.look(&prepared, &StepContext::new(1)).unwrap();
        let tokens = reference.numbers("0.tokens");
        let (tokens, start) = marked(&tokens, placeholder(family), picture.pixels());
        let placed = PlacedPicture { rows: &rows, start };
        let blocks = [BlockId(3), BlockId(1), BlockId(6)];
        let found = run(&mut model, &[(&tokens, 0, &blocks, placed)], 1);
        let worst = difference(&found, &reference.floats("0.logits"));
        assert!(worst <= TOLERANCE, "{family}: {worst}");
    }
}
