//! Answers through a pool: as in transformers, in any company, each to its own picture.

use futures_util::future::join_all;
use modelpool::images::RgbImage;
use modelpool::{Constraint, FinishReason};

use crate::reference::{FAMILIES, Reference, queries};
use crate::{ask, ids, one_worker, params};

/// The reference's answer, up to the token that ends it.
fn wanted(reference: &Reference, number: usize, end: u32) -> Vec<u32> {
    let answer = reference.numbers(&format!("{number}.answer"));
    answer.into_iter().take_while(|id| *id != end).collect()
}

fn end(family: &str) -> u32 {
    match family {
        "llava" => 257,
        _ => 258,
    }
}

/// Another picture of the same size.
fn other(picture: &RgbImage) -> RgbImage {
    let pixels = picture.pixels().iter().map(|value| 255 - value).collect();
    RgbImage::new(picture.width(), picture.height(), pixels).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_in_transformers_one_after_another_and_together() {
    for family in FAMILIES {
        let reference = Reference::of(family);
        let (universe, model) = one_worker(family).await;
        let queries = queries();
        for (number, query) in queries.iter().enumerate() {
            let found = ask(&model, &reference.picture(number), query, params()).await;
            let wanted = wanted(&reference, number, end(family));
            assert_eq!(ids(&found), wanted, "{family} {number}");
            let prompt = reference.numbers(&format!("{number}.tokens")).len();
            assert_eq!(found.summary.usage.prompt_tokens, prompt, "{family}");
        }
        universe.close().await;

        let (universe, model) = one_worker(family).await;
        let pictures: Vec<RgbImage> = (0..3).map(|number| reference.picture(number)).collect();
        let together = pictures
            .iter()
            .zip(&queries)
            .map(|(picture, query)| ask(&model, picture, query, params()));
        for (number, found) in join_all(together).await.iter().enumerate() {
            let wanted = wanted(&reference, number, end(family));
            assert_eq!(ids(found), wanted, "{family} {number} in company");
        }
        universe.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_asked_about_again_is_found_in_the_cache_and_no_other_is() {
    for family in FAMILIES {
        let picture = Reference::of(family).picture(0);
        let other = other(&picture);
        let query = "What is to be seen in this picture, and what is not?";
        let mut params = params();
        params.sampling.logprobs = Some(1);
        let (universe, model) = one_worker(family).await;
        let alone = ask(&model, &other, query, params.clone()).await;
        universe.close().await;

        let (universe, model) = one_worker(family).await;
        let first = ask(&model, &picture, query, params.clone()).await;
        assert_eq!(first.summary.usage.cached_tokens, 0, "{family}");
        let again = ask(&model, &picture, query, params.clone()).await;
        assert!(again.summary.usage.cached_tokens >= 32, "{family}");
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
    for family in FAMILIES {
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
        let kept = params().constraint(Constraint::Regex("(yes|no)".to_owned()));
        let found = ask(&model, &picture, "Is it?", kept).await;
        let text = found.answers[0].text.as_str();
        assert!(matches!(text, "yes" | "no"), "{family}: {text}");
        assert_eq!(found.answers[0].finish, FinishReason::Constraint);
        universe.close().await;
    }
}
