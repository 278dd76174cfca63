//! Each stage of each family beside transformers: pixels, rows, vectors, similarity.

use modelpool::images::PixelTensor;
use modelpool::models::TowerFolder;
use modelpool::pool::core::StepContext;
use modelpool::{Embedding, ImageEmbeddingCapable, ModelError, PicturePreparer};

use crate::checkpoints::{max_difference, read_rows};
use crate::reference::{
    FAMILIES, LAYERS, Loaded, PAIRS, PICTURES, Reference, TEXT_LAYERS, data, scrap, texts,
};

/// The absolute difference from transformers that is allowed in single precision.
const TOLERANCE: f32 = 1e-4;
/// Between one in company and the same alone.
const COMPANY: f32 = 1e-5;

fn embed(model: &mut Loaded, pictures: &[&PixelTensor], threads: usize) -> Vec<Embedding> {
    let answers = model
        .tower
        .embed_pictures(pictures, &StepContext::new(threads));
    let answers = answers.expect("a step that runs").into_iter();
    answers
        .map(|answer| answer.expect("an embedding"))
        .collect()
}

fn embed_texts(model: &mut Loaded, texts: &[&[u32]], threads: usize) -> Vec<Embedding> {
    let answers = model.tower.embed_texts(texts, &StepContext::new(threads));
    let answers = answers.expect("a step that runs").into_iter();
    answers
        .map(|answer| answer.expect("an embedding"))
        .collect()
}

fn close(what: &str, found: &[f32], wanted: &[f32]) {
    let worst = max_difference(found, wanted);
    assert!(worst <= TOLERANCE, "{what}: {worst}");
}

#[test]
fn every_stage_of_a_picture_is_as_in_transformers() {
    for family in FAMILIES {
        let reference = Reference::of(family);
        let mut model = Loaded::open(family);
        for number in 0..PICTURES {
            let picture = reference.picture(number);
            let pixels = model.preparer.picture(&picture).expect("pixels");
            let wanted = |stage: &str| reference.floats(&format!("{number}.{stage}"));
            close(
                &format!("{family} {number} pixels"),
                pixels.values(),
                &wanted("pixels"),
            );
            // What transformers gives as CLIP's last rows is without the norm behind them.
            let has_norm = family != "clip";
            let stages = [
                ("first", 0, false),
                ("middle", LAYERS - 1, false),
                ("last", LAYERS, has_norm),
            ];
            for threads in [1, 2] {
                let context = StepContext::new(threads);
                for (stage, layers, norm) in stages {
                    let rows = model.tower.picture_rows(&pixels, layers, norm, &context);
                    let what = format!("{family} {number} {stage}");
                    close(&what, &rows.expect("rows"), &wanted(stage));
                }
                let vectors = embed(&mut model, &[&pixels], threads);
                close(
                    &format!("{family} {number} vector"),
                    &vectors[0],
                    &wanted("vector"),
                );
            }
        }
    }
}

#[test]
fn every_stage_of_a_text_is_as_in_transformers() {
    for family in PAIRS {
        let reference = Reference::of(family);
        let mut model = Loaded::open(family);
        for (number, text) in texts().iter().enumerate() {
            let tokens = model.preparer.text(text).expect("tokens");
            assert_eq!(
                tokens,
                reference.tokens(&format!("text{number}.tokens")),
                "{family}: {text}"
            );
            for threads in [1, 2] {
                let context = StepContext::new(threads);
                let stages = [
                    ("middle", TEXT_LAYERS - 1, false),
                    ("last", TEXT_LAYERS, true),
                ];
                for (stage, layers, norm) in stages {
                    let rows = model.tower.text_rows(&tokens, layers, norm, &context);
                    let wanted = reference.floats(&format!("text{number}.{stage}"));
                    let what = format!("{family} text {number} {stage}");
                    close(&what, &rows.expect("rows"), &wanted);
                }
                let vectors = embed_texts(&mut model, &[&tokens], threads);
                let wanted = reference.floats(&format!("text{number}.vector"));
                let what = format!("{family} text {number} vector");
                close(&what, &vectors[0], &wanted);
            }
        }
    }
}

#[test]
fn pictures_and_texts_are_as_similar_as_in_transformers() {
    for family in PAIRS {
        let reference = Reference::of(family);
        let mut model = Loaded::open(family);
        let pixels: Vec<_> = (0..PICTURES)
            .map(|number| reference.pixels(&format!("{number}.pixels")))
            .collect();
        let pictures = embed(&mut model, &pixels.iter().collect::<Vec<_>>(), 2);
        let tokens: Vec<_> = texts()
            .iter()
            .map(|text| model.preparer.text(text).expect("tokens"))
            .collect();
        let tokens: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
        let texts = embed_texts(&mut model, &tokens, 2);
        let scale = reference.floats("scale");
        let mut similarity = Vec::new();
        for picture in &pictures {
            for text in &texts {
                let cosine: f32 = picture.iter().zip(text).map(|(a, b)| a * b).sum();
                similarity.push(scale[0] * cosine + scale[1]);
            }
        }
        close(family, &similarity, &reference.floats("similarity"));
    }
}

#[test]
fn company_does_not_change_a_vector() {
    for family in FAMILIES {
        let reference = Reference::of(family);
        let mut model = Loaded::open(family);
        let pixels: Vec<_> = (0..PICTURES)
            .map(|number| reference.pixels(&format!("{number}.pixels")))
            .collect();
        // More than one step takes, too.
        for count in [3, 20] {
            let pictures: Vec<_> = pixels.iter().cycle().take(count).collect();
            let together = embed(&mut model, &pictures, 2);
            for (picture, vector) in pictures.iter().zip(&together) {
                let alone = &embed(&mut model, &[picture], 1)[0];
                let worst = max_difference(alone, vector);
                assert!(worst <= COMPANY, "{family}: {worst}");
            }
        }
    }
    for family in PAIRS {
        let mut model = Loaded::open(family);
        let tokens: Vec<_> = texts()
            .iter()
            .map(|text| model.preparer.text(text).expect("tokens"))
            .collect();
        let many: Vec<&[u32]> = tokens.iter().cycle().take(90).map(Vec::as_slice).collect();
        let together = embed_texts(&mut model, &many, 2);
        for (text, vector) in many.iter().zip(&together) {
            let alone = &embed_texts(&mut model, &[text], 1)[0];
            assert!(max_difference(alone, vector) <= COMPANY, "{family}");
        }
    }
}

#[test]
fn positions_are_interpolated_as_in_transformers() {
    for family in ["dinov2", "dinov2_swiglu", "dinov2_with_registers"] {
        let reference = Reference::of(family);
        // Left to the picture's shape, so that larger ones than were learned for are taken.
        let scrap = scrap(family);
        scrap.edit_json("preprocessor_config.json", |config| {
            config["do_center_crop"] = false.into();
        });
        let folder = TowerFolder::open(scrap.path()).expect("a folder");
        let mut model = Loaded::of(&folder);
        let pixels: Vec<_> = (0..6)
            .map(|number| reference.pixels(&format!("size{number}.pixels")))
            .collect();
        // All sizes in one step, and each by itself.
        let together = embed(&mut model, &pixels.iter().collect::<Vec<_>>(), 2);
        for (number, pixels) in pixels.iter().enumerate() {
            let wanted = reference.floats(&format!("size{number}.vector"));
            let what = format!("{family} {:?}", pixels.shape());
            close(&what, &together[number], &wanted);
            close(&what, &embed(&mut model, &[pixels], 1)[0], &wanted);
        }
        let shape = [3, 12, 6 * 33];
        let long = PixelTensor::new(shape, vec![0.5; 3 * 12 * 6 * 33]).expect("pixels");
        let answer = model.tower.embed_pictures(&[&long], &StepContext::new(1));
        let answer = answer.expect("a step that runs").remove(0);
        assert!(
            matches!(&answer, Err(ModelError::WrongShape { found, .. }) if *found == shape),
            "more than four times the patches: {answer:?}"
        );
    }
}

#[test]
fn the_end_of_a_text_is_found_by_the_older_rule_where_the_configuration_is_older() {
    let scrap = scrap("clip");
    scrap.edit_json("config.json", |config| {
        config["text_config"]["eos_token_id"] = 2.into();
    });
    let folder = TowerFolder::open(scrap.path()).expect("a folder");
    let mut model = Loaded::of(&folder);
    let reference = Reference::of("clip");
    let texts = texts();
    let legacy = read_rows(&data("clip/legacy.f32"), texts.len());
    let mut differ = 0;
    for (number, (text, wanted)) in texts.iter().zip(&legacy).enumerate() {
        let tokens = model.preparer.text(text).expect("tokens");
        close(text, &embed_texts(&mut model, &[&tokens], 1)[0], wanted);
        let newer = reference.floats(&format!("text{number}.vector"));
        differ += usize::from(max_difference(&newer, wanted) > 0.01);
    }
    assert_eq!(
        differ, 1,
        "a token above the end of a text makes the rules differ"
    );
}

#[test]
fn padding_after_the_end_changes_no_text_of_clip() {
    let mut model = Loaded::open("clip");
    let tokens = model.preparer.text("two dogs").expect("tokens");
    let mut padded = tokens.clone();
    padded.resize(16, *tokens.last().expect("an end"));
    let vectors = embed_texts(&mut model, &[&tokens, &padded], 1);
    assert!(max_difference(&vectors[0], &vectors[1]) <= COMPANY);
}

#[test]
fn every_instruction_set_gives_the_same_vectors() {
    for family in FAMILIES {
        let reference = Reference::of(family);
        let sets = TowerFolder::open_for_each_instruction_set(data(family)).expect("folders");
        for (set, folder) in sets {
            let mut model = Loaded::of(&folder);
            let pixels = reference.pixels("0.pixels");
            let vectors = embed(&mut model, &[&pixels], 1);
            let wanted = reference.floats("0.vector");
            close(&format!("{family} by {set}"), &vectors[0], &wanted);
        }
    }
}

#[test]
fn a_worker_holds_no_more_than_was_said() {
    for family in FAMILIES {
        let folder = TowerFolder::open(data(family)).expect("a folder");
        let mut model = Loaded::of(&folder);
        let pixels = Reference::of(family).pixels("0.pixels");
        // Growing steps, so that buffers grow with them; more than one step takes at the end.
        for count in [1, 2, 3, 5, 8, 40] {
            embed(&mut model, &vec![&pixels; count], 8);
            if folder.has_texts() {
                let longest = model.preparer.text(&"a cat ".repeat(99)).expect("tokens");
                embed_texts(&mut model, &vec![longest.as_slice(); count], 8);
            }
        }
        let (held, said) = (model.tower.held_bytes(), folder.worker_bytes());
        assert!(held > 0 && held <= said, "{family}: {held} of {said}");
    }
}
