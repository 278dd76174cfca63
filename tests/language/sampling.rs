//! From logits to tokens.

use modelpool::language::{LanguageError, Sampler, SamplingParams};

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
