//! What comes back: text, tokens, choices, stops, and the account.

use modelpool::testing::{Babbler, Steering};
use modelpool::{FinishReason, GenerationRequest, SamplingParams, TextChunk};

use crate::universe::within;
use crate::{alone, blocks_come_back, one_worker, tokens_of, up_to};

/// A prompt to which the model says at least `length` tokens.
fn talkative(length: usize) -> String {
    (0..)
        .map(|n| format!("prompt number {n}"))
        .find(|prompt| alone(prompt, length).len() == length)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_account_of_it() {
    let steering = Steering::new();
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let prompt = talkative(20);
    let mut stream = within(babbler.prompt(prompt.clone(), up_to(20)))
        .await
        .unwrap();
    let mut chunks: Vec<TextChunk> = Vec::new();
    while let Some(chunk) = within(stream.next()).await {
        chunks.push(chunk.unwrap());
    }
    let text: String = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
    assert_eq!(text, alone(&prompt, 20));
    assert_eq!(chunks.len(), 20, "one piece a token");
    let (last, others) = chunks.split_last().unwrap();
    assert!(
        others
            .iter()
            .all(|c| c.summary.is_none() && c.finish.is_none())
    );
    assert_eq!(last.finish, Some(FinishReason::Length));
    let summary = last.summary.as_ref().unwrap();
    assert_eq!(summary.finish, [FinishReason::Length]);
    assert_eq!(summary.usage.prompt_tokens, prompt.len());
    assert_eq!(summary.usage.completion_tokens, 20);
    assert_eq!(summary.usage.cached_tokens, 0);
    let timings = summary.timings;
    assert!(timings.queued <= timings.first_token && timings.first_token <= timings.total);
    assert!(summary.tokens_per_second() > 0.0);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_ends_its_text_unless_it_may_not() {
    let steering = Steering::new();
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let prompt = (0..)
        .map(|n| format!("short answer {n}"))
        .find(|prompt| (1..30).contains(&alone(prompt, 100).len()))
        .unwrap();
    let answer = within(babbler.prompt(prompt.clone(), up_to(60)))
        .await
        .unwrap();
    let answer = within(answer.collect()).await.unwrap();
    assert_eq!(answer.answers[0].finish, FinishReason::Stop);
    assert_eq!(answer.answers[0].text, alone(&prompt, 60));
    let endless = up_to(60).ignore_eos(true);
    let answer = within(babbler.prompt(prompt.clone(), endless))
        .await
        .unwrap();
    let answer = within(answer.collect()).await.unwrap();
    assert_eq!(answer.answers[0].finish, FinishReason::Length);
    assert_eq!(answer.answers[0].tokens.len(), 60);
    assert!(answer.answers[0].text.starts_with(&alone(&prompt, 60)));
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_string_over_several_tokens_ends_the_text_before_it() {
    let steering = Steering::new();
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let prompt = talkative(40);
    let whole = alone(&prompt, 40);
    let stop = &whole[17..21];
    let first = whole.find(stop).unwrap();
    let params = up_to(40).stop("not in there").stop(stop);
    let stream = within(babbler.prompt(prompt, params)).await.unwrap();
    let answer = within(stream.collect()).await.unwrap().answers.remove(0);
    assert_eq!(answer.text, whole[..first]);
    assert_eq!(answer.finish, FinishReason::StopString(stop.to_owned()));
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_might_have_been_a_stop_string_comes_at_the_end() {
    let steering = Steering::new();
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let prompt = talkative(12);
    let whole = alone(&prompt, 12);
    let params = up_to(12).stop(format!("{}!", &whole[8..]));
    let text = within(babbler.prompt(prompt, params)).await.unwrap().text();
    assert_eq!(within(text).await.unwrap(), whole);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_gives_the_same_text_and_other_seeds_others() {
    let steering = Steering::new();
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let ask = async |seed| {
        let params = up_to(30).temperature(1.0).seed(seed).ignore_eos(true);
        let stream = within(babbler.prompt("a story", params)).await.unwrap();
        within(stream.text()).await.unwrap()
    };
    let (one, other) = (ask(1).await, ask(2).await);
    assert_eq!(one, ask(1).await);
    assert_ne!(one, other);
    assert_eq!(other, ask(2).await);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn choices_are_what_their_seeds_give_alone_and_share_the_prompt() {
    let steering = Steering::new();
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let prompt = "a prompt of some blocks, to be read once for all answers";
    let params = up_to(24).temperature(1.2).ignore_eos(true);
    let several = within(babbler.prompt(prompt, params.clone().seed(40).n(5)))
        .await
        .unwrap();
    let several = within(several.collect()).await.unwrap();
    assert_eq!(several.answers.len(), 5);
    assert_eq!(several.summary.usage.completion_tokens, 5 * 24);
    for (seed, answer) in (40..).zip(&several.answers) {
        let lone = within(babbler.prompt(prompt, params.clone().seed(seed)))
            .await
            .unwrap();
        assert_eq!(
            answer.text,
            within(lone.text()).await.unwrap(),
            "seed {seed}"
        );
    }
    // Read once in all of these steps: everything but the last tokens of the copies.
    let read: usize = steering
        .steps()
        .iter()
        .flatten()
        .filter(|text| text.len() > 4)
        .map(String::len)
        .sum();
    assert_eq!(read, prompt.len());
    blocks_come_back(&universe).await;
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_probabilities_come_with_the_tokens() {
    let steering = Steering::new();
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let params = up_to(8)
        .sampling(SamplingParams::greedy().logprobs(3))
        .ignore_eos(true);
    let stream = within(babbler.prompt("likely", params)).await.unwrap();
    let answer = within(stream.collect()).await.unwrap().answers.remove(0);
    for token in answer.tokens {
        assert_eq!(token.top.len(), 3);
        assert_eq!(token.top[0], (token.id, token.logprob.unwrap()));
        assert!(token.top[0].1 >= token.top[1].1 && token.top[0].1 < 0.0);
    }
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_one_item_gets_the_whole_answer_in_it() {
    let steering = Steering::new();
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let prompt = talkative(50);
    let request = GenerationRequest {
        prompt: tokens_of(&prompt),
        params: up_to(50).n(2),
    };
    let chunk = within(babbler.ask(request)).await.unwrap();
    assert_eq!(chunk.text, alone(&prompt, 50));
    let usage = chunk.summary.unwrap().usage;
    assert_eq!((usage.completion_tokens, chunk.tokens.len()), (100, 50));
    within(universe.probe(&babbler)).await.unwrap();
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_can_be_gone_on_from_as_well() {
    let steering = Steering::new();
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let prompt = talkative(10);
    let stream = babbler
        .prompt_tokens(tokens_of(&prompt), up_to(10))
        .unwrap();
    assert_eq!(within(stream.text()).await.unwrap(), alone(&prompt, 10));
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beginning_that_was_read_is_found_again_and_counted() {
    let steering = Steering::new();
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let system = "You are terse, and you never say more than a word. "; // 51 bytes, and "Wh"
    for (question, cached) in [("What is it?", 0), ("Who is it?", 52), ("What is it?", 60)] {
        let prompt = format!("{system}{question}");
        let stream = within(babbler.prompt(prompt.clone(), up_to(4)))
            .await
            .unwrap();
        let generation = within(stream.collect()).await.unwrap();
        assert_eq!(generation.answers[0].text, alone(&prompt, 4));
        assert_eq!(generation.summary.usage.cached_tokens, cached, "{question}");
    }
    let tokens = universe.status().models[0].metrics.tokens;
    assert_eq!((tokens.prompt, tokens.reused), (62 + 61 + 62, 52 + 60));
    assert!((tokens.hit_rate() - 112.0 / 185.0).abs() < 1e-9);
    universe.close().await;
}
