//! What can't be served is refused at once, by a typed error, and harms nobody.

use std::error::Error;
use std::time::Duration;

use modelpool::language::LanguageError;
use modelpool::testing::{Act, Babbler, Point, Steering};
use modelpool::{
    ChatMessage, DecoderLimits, GenerationParams, ModelError, Overlong, PoolError, SamplingParams,
};

use crate::universe::{PATIENCE, Universe, config, within};
use crate::{alone, one_worker, tokens_of, up_to};

fn invalid_field(error: &PoolError) -> &'static str {
    match error {
        PoolError::InvalidRequest { field, .. } => field,
        other => panic!("{other}"),
    }
}

fn too_long(error: &PoolError) -> (usize, usize) {
    match error.source().unwrap().downcast_ref() {
        Some(ModelError::PromptTooLong { tokens, most }) => (*tokens, *most),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_make_no_sense_are_refused_before_anything_loads() {
    let steering = Steering::new();
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let default = GenerationParams::default;
    let cases = [
        ("max_tokens", default().max_tokens(0)),
        ("n", default().n(0)),
        ("n", default().n(1_000_000_000)),
        ("temperature", default().temperature(-1.0)),
        ("temperature", default().temperature(f32::NAN)),
        (
            "top_p",
            default().sampling(SamplingParams::greedy().top_p(0.0)),
        ),
        ("stop", default().stop("")),
        ("stop", default().stop("x".repeat(10_000))),
    ];
    for (field, params) in cases {
        let error = within(babbler.prompt("a", params.clone()))
            .await
            .unwrap_err();
        assert_eq!(invalid_field(&error), field);
        let error = babbler.prompt_tokens(vec![1], params).unwrap_err();
        assert_eq!(invalid_field(&error), field);
    }
    let error = within(babbler.prompt("", default())).await.unwrap_err();
    assert_eq!(invalid_field(&error), "prompt");
    let error = babbler.prompt_tokens(Vec::new(), default()).unwrap_err();
    assert_eq!(invalid_field(&error), "prompt");
    let error = within(babbler.prompt("x".repeat(10 << 20), default()))
        .await
        .unwrap_err();
    assert!(matches!(error, PoolError::InputTooLarge { bytes, limit } if bytes > limit));
    assert_eq!(steering.visits(Point::Load), 0);
    assert_eq!(universe.status().models[0].metrics.accepted, 0);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_can_never_fit_is_told_so_beside_one_that_runs() {
    let steering = Steering::new();
    let limits = DecoderLimits {
        blocks: 20,
        ..Babbler::LIMITS
    };
    let (universe, babbler) = one_worker(&steering, limits).await;
    let long = "x".repeat(80);
    let mut neighbour = within(babbler.prompt("neighbour", up_to(40).ignore_eos(true)))
        .await
        .unwrap();
    within(neighbour.next()).await.unwrap().unwrap();
    let stream = within(babbler.prompt(long.clone(), up_to(1)))
        .await
        .unwrap();
    let error = within(stream.text()).await.unwrap_err();
    assert_eq!(too_long(&error), (80, 79));
    let stream = babbler.prompt_tokens(vec![5, 300], up_to(1)).unwrap();
    let error = within(stream.text()).await.unwrap_err();
    assert!(matches!(
        error,
        PoolError::Model {
            source: ModelError::Tokenize { .. },
            ..
        }
    ));
    let generation = within(neighbour.collect()).await.unwrap();
    assert_eq!(generation.answers[0].tokens.len(), 39);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_tells_its_context_refuses_before_it_queues() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let spec = steering
        .babbler("b", 100, Babbler::LIMITS)
        .context_tokens(50);
    let babbler = universe.register(spec).unwrap();
    let error = within(babbler.prompt("x".repeat(50), up_to(1)))
        .await
        .unwrap_err();
    assert_eq!(too_long(&error), (50, 49));
    let error = babbler.prompt_tokens(vec![7; 50], up_to(1)).unwrap_err();
    assert_eq!(too_long(&error), (50, 49));
    assert_eq!(steering.visits(Point::Load), 0);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlong_prompt_loses_its_beginning_if_asked() {
    let steering = Steering::new();
    let limits = DecoderLimits {
        blocks: 20,
        ..Babbler::LIMITS
    };
    let (universe, babbler) = one_worker(&steering, limits).await;
    let long: String = (0..200).map(|n| char::from(b'a' + n % 26)).collect();
    // 79 places before the last token: as many as the answer leaves, and half at least.
    for (max_tokens, kept) in [(1, 79), (10, 70), (1000, 40)] {
        let params = up_to(max_tokens).overlong(Overlong::TruncateStart);
        let stream = within(babbler.prompt(long.clone(), params)).await.unwrap();
        let generation = within(stream.collect()).await.unwrap();
        assert_eq!(generation.summary.usage.prompt_tokens, kept);
        let prompt = &long[long.len() - kept..];
        let most = max_tokens.min(80 - kept + 1);
        assert_eq!(generation.answers[0].text, alone(prompt, most));
    }
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_language_there_are_tokens_only() {
    let universe = Universe::new(config()).await;
    let info = modelpool::ModelInfo::new("mute", 100);
    let spec = modelpool::ModelSpec::text_to_text(info.clone(), move || {
        Ok(Babbler::new(info.clone(), Babbler::LIMITS))
    });
    let babbler = universe.register(spec.max_workers(1)).unwrap();
    let error = within(babbler.prompt("text", up_to(1))).await.unwrap_err();
    assert_eq!(invalid_field(&error), "prompt");
    let prompt = tokens_of("tokens");
    let stream = babbler.prompt_tokens(prompt.clone(), up_to(5)).unwrap();
    let answer = within(stream.collect()).await.unwrap().answers.remove(0);
    let ids: Vec<u32> = answer.tokens.iter().map(|token| token.id).collect();
    assert_eq!(ids, Babbler::continuation(&prompt, 5));
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_a_template_does_not_chat() {
    let steering = Steering::new();
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let messages = [ChatMessage::user("hello?")];
    let error = within(babbler.chat(messages, up_to(1))).await.unwrap_err();
    let source = error.source().unwrap().downcast_ref();
    let missing = ModelError::Language(LanguageError::MissingTemplate);
    assert_eq!(source.map(ModelError::to_string), Some(missing.to_string()));
    let long = [ChatMessage::user("x".repeat(10 << 20))];
    let error = within(babbler.chat(long, up_to(1))).await.unwrap_err();
    assert!(matches!(error, PoolError::InputTooLarge { .. }), "{error}");
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_token_has_a_deadline_of_its_own() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let allowed = Duration::from_millis(30);
    let params = up_to(5).time_to_first_token(allowed);
    let mut late = within(babbler.prompt("too late", params.clone()))
        .await
        .unwrap();
    let error = within(late.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, PoolError::DeadlineExceeded { allowed: a, .. } if a == allowed));
    assert!(within(late.next()).await.is_none());
    steering.open(Point::Step);

    // One that has come in time bounds nothing after it.
    let params = up_to(5).time_to_first_token(PATIENCE).ignore_eos(true);
    let stream = within(babbler.prompt("in time", params)).await.unwrap();
    let generation = within(stream.collect()).await.unwrap();
    assert_eq!(generation.answers[0].tokens.len(), 5);
    universe.close().await;
}
