//! Answers through a pool: as in transformers, in any company, each to its own picture.

use futures_util::future::join_all;
use modelpool::images::RgbImage;
use modelpool::{Constraint, FinishReason, ModelSpec, Vision};

use crate::reference::{ALL, Reference, data, options, queries};
use crate::universe::{Universe, config};
use crate::{ask, ids, one_worker, params};

/// The reference's answer, up to the token that ends it.
fn wanted(reference: &Reference, family: &str, number: usize) -> Vec<u32> {
    let ends: &[u32] = match family {
        "llava" => &[257],
        "moondream" => &[256],
        "qwen2_5_vl" => &[256, 258],
        _ => &[SEPARATOR],
    };
    let answer = reference.numbers(&format!("{number}.answer"));
    let goes_on = |id: &u32| !ends.contains(id);
    answer.into_iter().take_while(goes_on).collect()
}

/// Ends what BLIP writes.
const SEPARATOR: u32 = 4;

/// Another picture of the same size.
fn other(picture: &RgbImage) -> RgbImage {
    let pixels = picture.pixels().iter().map(|value| 255 - value).collect();
    RgbImage::new(picture.width(), picture.height(), pixels).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_in_transformers_one_after_another_and_together() {
    for family in ALL {
        let reference = Reference::of(family);
        let (universe, model) = one_worker(family).await;
        let queries = queries();
        for (number, query) in queries.iter().enumerate() {
            let found = ask(&model, &reference.picture(number), query, params()).await;
            let wanted = wanted(&reference, family, number);
            assert_eq!(ids(&found), wanted, "{family} {number}");
            let prompt = reference.numbers(&format!("{number}.tokens")).len();
            // BLIP's pictures stand beside the prompt, marked by four tokens.
            let marks = if family.starts_with("blip") { 4 } else { 0 };
            let counted = found.summary.usage.prompt_tokens;
            assert_eq!(counted, marks + prompt, "{family}");
        }
        universe.close().await;

        let (universe, model) = one_worker(family).await;
        let pictures: Vec<RgbImage> = (0..3).map(|number| reference.picture(number)).collect();
        let together = pictures
            .iter()
            .zip(&queries)
            .map(|(picture, query)| ask(&model, picture, query, params()));
        for (number, found) in join_all(together).await.iter().enumerate() {
            let wanted = wanted(&reference, family, number);
            assert_eq!(ids(found), wanted, "{family} {number} in company");
        }
        universe.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_asked_about_again_is_found_in_the_cache_and_no_other_is() {
    for family in ALL {
        let picture = Reference::of(family).picture(0);
        let other = other(&picture);
        let query = "What is to be seen in this picture, and what is not? Look twice, please.";
        let mut params = params();
        params.sampling.logprobs = Some(1);
        let (universe, model) = one_worker(family).await;
        let alone = ask(&model, &other, query, params.clone()).await;
        universe.close().await;

        let (universe, model) = one_worker(family).await;
        let first = ask(&model, &picture, query, params.clone()).await;
        assert_eq!(first.summary.usage.cached_tokens, 0, "{family}");
        let again = ask(&model, &picture, query, params.clone()).await;
        let cached = again.summary.usage.cached_tokens;
        assert!(cached >= 32 || family == "blip_vqa", "{family}: {cached}");
        assert_eq!(again.answers, first.answers, "{family}");
        let second = ask(&model, &other, query, params).await;
        // At most what stands before the picture, which is less than a block.
        assert_eq!(second.summary.usage.cached_tokens, 0, "{family}");
        assert_eq!(second.answers, alone.answers, "{family}");
        assert_ne!(second.answers, first.answers, "{family}");
        universe.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_answers_penalties_stops_and_constraints_are_as_for_texts() {
    for family in ALL {
        let picture = Reference::of(family).picture(1);
        let (universe, model) = one_worker(family).await;
        let several = params().n(3).temperature(0.9).seed(4);
        let found = ask(&model, &picture, "Which?", several.clone()).await;
        assert_eq!(found.answers.len(), 3);
        for (number, answer) in found.answers.iter().enumerate() {
            let one = several.clone().n(1).seed(4 + number as u64);
            let alone = ask(&model, &picture, "Which?", one).await;
            assert_eq!(&alone.answers[0], answer, "{family} {number}");
        }
        let mut penalised = params().ignore_eos(true);
        penalised.sampling.presence_penalty = 2.0;
        penalised.sampling.repetition_penalty = 100.0;
        let found = ask(&model, &picture, "Which?", penalised).await;
        let mut seen = ids(&found);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 10, "{family}: no token twice");
        if family.starts_with("blip") {
            // Its tokens bring a space before each word; constraints are for others.
            universe.close().await;
            continue;
        }
        let kept = params().constraint(Constraint::Regex("(yes|no)".to_owned()));
        let found = ask(&model, &picture, "Is it?", kept).await;
        let text = found.answers[0].text.as_str();
        assert!(matches!(text, "yes" | "no"), "{family}: {text}");
        assert_eq!(found.answers[0].finish, FinishReason::Constraint);
        universe.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_to_give_way_is_computed_anew_with_its_picture() {
    for family in ALL {
        let reference = Reference::of(family);
        let pictures: Vec<RgbImage> = (0..3).map(|number| reference.picture(number)).collect();
        // Three texts of which the cache has room for one, as long as they get.
        let context = if family.starts_with("blip") { 64 } else { 256 };
        let long = params().max_tokens(context * 2 / 3 - 10).ignore_eos(true);
        let options = options(family).cache_tokens(context);
        let universe = Universe::new(config()).await;
        let spec = ModelSpec::<Vision>::folder(data(family), options).unwrap();
        let model = universe.register(spec.max_workers(1)).unwrap();
        let asked = |picture| ask(&model, picture, "What?", long.clone());
        let together = join_all(pictures.iter().map(asked)).await;
        assert!(universe.status().models[0].metrics.tokens.put_off > 0);
        universe.close().await;
        for (picture, found) in pictures.iter().zip(together) {
            let (universe, model) = one_worker(family).await;
            let alone = ask(&model, picture, "What?", long.clone()).await;
            assert!(found.answers == alone.answers, "{family}");
            universe.close().await;
        }
    }
}
