//! From logits to tokens.

use std::collections::BTreeMap;

use modelpool::language::{LanguageError, Sampler, SamplingParams};
use proptest::prelude::*;
use serde::Deserialize;

use crate::{data, read_json};

#[derive(Deserialize)]
struct Case {
    params: SamplingParams,
    logits: Vec<f32>,
    history: Vec<u32>,
    probabilities: Vec<(u32, f32)>,
    top: Vec<(u32, f32)>,
}

fn sampler(params: &SamplingParams) -> Sampler {
    Sampler::new(params, 7).expect("sound parameters")
}

#[test]
fn greedy_takes_the_first_of_the_likeliest() {
    let mut greedy = sampler(&SamplingParams::greedy());
    let mut logits = [0.5, 2.0, -1.0, 2.0];
    let sampled = greedy.sample(&mut logits, &[]).expect("a token");
    assert_eq!(sampled.token, 1);
    assert_eq!(sampled.logprob, None);
}

#[test]
fn logits_that_are_not_finite_are_refused() {
    for params in [
        SamplingParams::greedy(),
        SamplingParams::with_temperature(1.0).top_k(2),
    ] {
        for wrong in [f32::NAN, f32::INFINITY] {
            // One that is seen by a vector of lanes, and one in the rest.
            for place in [0, 36] {
                let mut logits = vec![0.0; 37];
                logits[place] = wrong;
                let error = sampler(&params).sample(&mut logits, &[]);
                assert_eq!(error, Err(LanguageError::NotFiniteLogits));
            }
        }
        let mut none = [f32::NEG_INFINITY; 5];
        let error = sampler(&params).sample(&mut none, &[]);
        assert_eq!(error, Err(LanguageError::NoTokenAllowed));
        let error = sampler(&params).sample(&mut [], &[]);
        assert_eq!(error, Err(LanguageError::NoTokenAllowed));
    }
}

#[test]
fn senseless_parameters_are_refused_by_name() {
    let sound = SamplingParams::default;
    let wrong = [
        ("temperature", SamplingParams::with_temperature(-1.0)),
        ("temperature", SamplingParams::with_temperature(f32::NAN)),
        ("temperature", SamplingParams::with_temperature(1e-9)),
        ("top_p", sound().top_p(0.0)),
        ("top_p", sound().top_p(1.1)),
        ("top_p", sound().top_p(f32::NAN)),
        ("min_p", sound().min_p(-0.1)),
        ("repetition_penalty", sound().repetition_penalty(0.0)),
        (
            "frequency_penalty",
            sound().frequency_penalty(f32::INFINITY),
        ),
        ("presence_penalty", sound().presence_penalty(-101.0)),
        ("logprobs", sound().logprobs(101)),
    ];
    for (name, params) in wrong {
        match Sampler::new(&params, 0) {
            Err(LanguageError::InvalidParameter { field, .. }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn probabilities_are_those_of_transformers() {
    let cases: Vec<Case> = read_json(&data("sampling.json"));
    assert!(cases.len() >= 90);
    for (number, case) in cases.iter().enumerate() {
        let mut got = sampler(&case.params)
            .distribution(&mut case.logits.clone(), &case.history)
            .expect("a distribution");
        got.sort_by_key(|(token, _)| *token);
        let ids = |list: &[(u32, f32)]| list.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        assert_eq!(
            ids(&got),
            ids(&case.probabilities),
            "case {number}: {:?}",
            case.params
        );
        for ((token, got), (_, wanted)) in got.iter().zip(&case.probabilities) {
            assert!(
                (got - wanted).abs() <= 1e-6,
                "case {number}, token {token}: {got}, wanted {wanted}"
            );
        }

        // Log-probabilities are of the logits as they came.
        let params = case.params.clone().logprobs(5);
        let sampled = sampler(&params)
            .sample(&mut case.logits.clone(), &case.history)
            .expect("a token");
        assert!(
            case.probabilities
                .iter()
                .any(|(id, _)| *id == sampled.token)
        );
        assert_eq!(ids(&sampled.top), ids(&case.top));
        for ((_, got), (_, wanted)) in sampled.top.iter().zip(&case.top) {
            assert!(
                (got - wanted).abs() <= 1e-5,
                "case {number}: {got}, wanted {wanted}"
            );
        }
        let of_token = sampled.logprob.expect("its log-probability");
        if let Some((_, listed)) = sampled.top.iter().find(|(id, _)| *id == sampled.token) {
            assert_eq!(of_token, *listed);
        }
    }
}

#[test]
fn draws_are_as_frequent_as_they_should_be() {
    let cases: Vec<Case> = read_json(&data("sampling.json"));
    for case in cases.iter().step_by(6) {
        let mut sampler = sampler(&case.params);
        let draws = 20_000_u32;
        let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
        for _ in 0..draws {
            let sampled = sampler.sample(&mut case.logits.clone(), &case.history);
            *counts.entry(sampled.expect("a token").token).or_default() += 1;
        }
        for (token, probability) in &case.probabilities {
            let count = counts.remove(token).unwrap_or(0);
            let expected = f64::from(*probability) * f64::from(draws);
            // Five standard deviations; the seed is fixed, so this does not flicker.
            let allowed = 5.0 * (expected * (1.0 - f64::from(*probability))).sqrt() + 1.0;
            let difference = (f64::from(count) - expected).abs();
            assert!(
                difference <= allowed,
                "{token}: {count}, expected {expected}"
            );
        }
        assert!(
            counts.is_empty(),
            "tokens that must not be drawn: {counts:?}"
        );
    }
}

#[test]
fn a_seed_decides_the_draws_and_nothing_else_does() {
    let params = SamplingParams::with_temperature(1.0);
    let draws = |seed| -> Vec<u32> {
        let mut sampler = Sampler::new(&params, seed).expect("a sampler");
        (0..16)
            .map(|_| sampler.sample(&mut [0.0; 100], &[]).expect("a token").token)
            .collect()
    };
    // SplitMix64 worked out by hand: another version or machine must draw the same.
    let known = [
        38, 1, 90, 58, 45, 24, 46, 32, 13, 41, 10, 95, 91, 87, 86, 54,
    ];
    assert_eq!(draws(7), known);
    assert_eq!(draws(7), draws(7));
    assert_ne!(draws(7), draws(8));

    // A forced token in between changes nothing of what is drawn after it.
    let mut sampler = Sampler::new(&params, 7).expect("a sampler");
    let mut forced = [f32::NEG_INFINITY; 100];
    forced[3] = 0.0;
    assert_eq!(sampler.sample(&mut forced, &[]).expect("a token").token, 3);
    let next = sampler.sample(&mut [0.0; 100], &[]).expect("a token");
    assert_eq!(next.token, known[1]);
}

#[test]
fn a_whole_vocabulary_is_sampled_as_a_small_one() {
    // 262,144 logits: the first pass over them keeps few; what is kept must be right.
    let size = 262_144;
    let logits: Vec<f32> = (0..size)
        .map(|id: u32| ((id.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6).sin() * 5.0)
        .collect();
    let mut sorted: Vec<(u32, f32)> = (0..size).zip(logits.iter().copied()).collect();
    sorted.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
    for count in [1, 40, 1000, 300_000] {
        let params = SamplingParams::with_temperature(1.0).top_k(count);
        let got = sampler(&params)
            .distribution(&mut logits.clone(), &[])
            .expect("a distribution");
        assert_eq!(got.len(), count.min(size as usize));
        if count < size as usize {
            let wanted = sorted.iter().map(|(id, _)| id).take(count);
            assert!(got.iter().map(|(id, _)| id).eq(wanted));
        }
        let sum: f64 = got.iter().map(|(_, chance)| f64::from(*chance)).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }
    let params = SamplingParams::with_temperature(0.7).top_p(0.9);
    let got = sampler(&params)
        .distribution(&mut logits.clone(), &[])
        .expect("a distribution");
    let weight = |logit: f32| ((f64::from(logit) - 5.0) / 0.7).exp();
    let total: f64 = logits.iter().map(|logit| weight(*logit)).sum();
    let mass: f64 = sorted[..got.len()]
        .iter()
        .map(|(_, logit)| weight(*logit))
        .sum();
    let less = mass - weight(sorted[got.len() - 1].1);
    assert!(
        mass / total >= 0.9 - 1e-6 && less / total < 0.9 + 1e-6,
        "{mass} of {total}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The window of penalties moves over the history step by step as it would if counted anew.
    #[test]
    fn penalties_keep_count(
        tokens in proptest::collection::vec(0_u32..12, 1..40),
        start in 0_usize..10,
        window in proptest::option::of(0_usize..8),
    ) {
        let mut params = SamplingParams::with_temperature(1.0)
            .frequency_penalty(0.5)
            .repetition_penalty(1.3);
        params.repetition_window = window;
        let mut kept = sampler(&params);
        for end in start.min(tokens.len())..=tokens.len() {
            let history = &tokens[..end];
            let logits = [1.0, -1.0, 2.0, -2.0, 0.5, 0.0, 3.0, 1.5, -0.5, 0.25];
            let got = kept.distribution(&mut logits.clone(), history).expect("a distribution");
            let anew = sampler(&params).distribution(&mut logits.clone(), history);
            prop_assert_eq!(got, anew.expect("a distribution"));
        }
    }
}
