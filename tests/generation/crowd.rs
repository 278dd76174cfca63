//! Many streams on one worker.

use std::sync::Arc;

use modelpool::testing::{Babbler, Steering};
use modelpool::{DecoderLimits, Language};

use crate::universe::within;
use crate::{alone, blocks_come_back, one_worker, up_to};

/// 64 callers at once, each with several requests of random lengths, some of which are dropped at
/// a random place: what is read is what the model says alone, and no block is left in use.
async fn crowd(limits: DecoderLimits, seed: u64) {
    let steering = Steering::unrecorded();
    let (universe, babbler) = one_worker(&steering, limits).await;
    let callers = (0..64).map(|caller| {
        let babbler = babbler.clone();
        tokio::spawn(async move {
            let mut chance = fastrand::Rng::with_seed(seed + caller);
            for turn in 0..4 {
                let shared = "a common beginning of all prompts"[..chance.usize(..30)].to_owned();
                let prompt = format!("{shared}{caller}/{turn}{}", "x".repeat(chance.usize(..40)));
                let length = chance.usize(1..40);
                let read = chance.bool().then(|| chance.usize(..length));
                let mut stream = babbler.prompt(prompt.clone(), up_to(length)).await.unwrap();
                let mut text = String::new();
                let mut pieces = 0;
                while read.is_none_or(|read| pieces < read) {
                    let Some(chunk) = stream.next().await else {
                        break;
                    };
                    text.push_str(&chunk.unwrap().text);
                    pieces += 1;
                }
                let whole = alone(&prompt, length);
                let wanted = read.map_or(&*whole, |read| &whole[..read.min(whole.len())]);
                assert_eq!(text, wanted, "{prompt}");
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        within(caller).await.unwrap();
    }
    blocks_come_back(&universe).await;
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_streams_that_come_and_go_each_say_what_they_say_alone() {
    let roomy = DecoderLimits {
        blocks: 1000,
        step_tokens: 128,
        ..Babbler::LIMITS
    };
    crowd(roomy, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_they_do_when_blocks_are_few_and_sequences_give_way() {
    let tight = DecoderLimits {
        blocks: 60,
        step_tokens: 40,
        ..Babbler::LIMITS
    };
    crowd(tight, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_that_give_way_are_counted_and_draw_what_they_would_have() {
    let steering = Steering::new();
    let few = DecoderLimits {
        blocks: 30,
        ..Babbler::LIMITS
    };
    let (universe, babbler) = one_worker(&steering, few).await;
    let ask = |n: u64| {
        let babbler = babbler.clone();
        tokio::spawn(async move {
            let params = up_to(70).temperature(1.0).seed(n).ignore_eos(true);
            let stream = babbler
                .prompt(format!("speaker {n}"), params)
                .await
                .unwrap();
            stream.text().await.unwrap()
        })
    };
    let mut lone = Vec::new();
    for n in 0..4 {
        lone.push(within(ask(n)).await.unwrap());
    }
    assert_eq!(universe.status().models[0].metrics.tokens.put_off, 0);
    let together: Vec<_> = (0..4).map(ask).collect();
    for (asked, lone) in together.into_iter().zip(lone) {
        assert_eq!(within(asked).await.unwrap(), lone);
    }
    assert!(universe.status().models[0].metrics.tokens.put_off > 0);
    universe.close().await;
}

#[test]
fn the_babbler_has_a_language() {
    let language: Arc<Language> = Arc::new(Babbler::language().unwrap());
    let tokens = language.tokenizer().encode("né", true).unwrap();
    assert_eq!(tokens, [b'n'.into(), 0xC3, 0xA9]);
    assert_eq!(language.tokenizer().decode(&tokens), "né");
    assert!(language.tokenizer().is_end(Babbler::END));
}
