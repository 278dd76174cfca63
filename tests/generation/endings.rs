//! Drops, deadlines, slow readers, crashes.

use std::time::Duration;

use modelpool::testing::{Act, Babbler, Point, Steering};
use modelpool::{DecoderLimits, PoolError, RequestOptions};

use crate::universe::{Universe, config, within};
use crate::{alone, blocks_come_back, one_worker, until, up_to};

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_is_gone_before_the_next_step() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let endless = up_to(100).ignore_eos(true);
    let dropped = within(babbler.prompt("dropped", endless.clone()))
        .await
        .unwrap();
    within(steering.visited(Point::Step, 1)).await;
    let kept = within(babbler.prompt("kept", up_to(3).ignore_eos(true)))
        .await
        .unwrap();
    drop(dropped);
    steering.open(Point::Step);
    within(kept.text()).await.unwrap();
    let later: Vec<Vec<String>> = steering.steps().split_off(1);
    assert!(later.iter().all(|step| step.len() == 1), "{later:?}");
    assert_eq!(later[0], ["kept"]);
    blocks_come_back(&universe).await;
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_come_back_when_the_last_stream_is_dropped() {
    let steering = Steering::new();
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let mut stream = within(babbler.prompt("going", up_to(150).ignore_eos(true)))
        .await
        .unwrap();
    within(stream.next()).await.unwrap().unwrap();
    drop(stream);
    blocks_come_back(&universe).await;
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_text_in_its_middle() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Go, Act::Go, Act::Wait]);
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let hurried = babbler.with(RequestOptions::default().deadline(Duration::from_millis(300)));
    let mut stream = within(hurried.prompt("a long story", up_to(100).ignore_eos(true)))
        .await
        .unwrap();
    let mut pieces = 0;
    let error = loop {
        match within(stream.next()).await.unwrap() {
            Ok(_) => pieces += 1,
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, PoolError::DeadlineExceeded { .. }),
        "{error}"
    );
    assert!(pieces <= 2);
    steering.open(Point::Step);
    blocks_come_back(&universe).await;
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_only_its_own_text() {
    let steering = Steering::new();
    // Few blocks: what the slow one holds is needed by the others.
    let limits = DecoderLimits {
        blocks: 40,
        ..Babbler::LIMITS
    };
    let (universe, babbler) = one_worker(&steering, limits).await;
    let long = up_to(120).ignore_eos(true);
    let mut slow = within(babbler.prompt("slow", long.clone())).await.unwrap();
    let mut text = within(slow.next()).await.unwrap().unwrap().text;
    for n in 0..4 {
        let stream = within(babbler.prompt(format!("quick {n}"), long.clone()))
            .await
            .unwrap();
        let generation = within(stream.collect()).await.unwrap();
        assert_eq!(generation.answers[0].tokens.len(), 120);
    }
    while let Some(chunk) = within(slow.next()).await {
        text.push_str(&chunk.unwrap().text);
    }
    let alone = within(babbler.prompt("slow", long)).await.unwrap();
    assert_eq!(text, within(alone.text()).await.unwrap());
    blocks_come_back(&universe).await;
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_many_choices_gets_all_of_them() {
    let steering = Steering::new();
    let (universe, babbler) = one_worker(&steering, Babbler::LIMITS).await;
    let params = up_to(6).ignore_eos(true).temperature(1.0).seed(3).n(60);
    let mut stream = within(babbler.prompt("many", params)).await.unwrap();
    let mut tokens = vec![0; 60];
    let mut finished = 0;
    while let Some(chunk) = within(stream.next()).await {
        // Reads while the worker has nothing that it could send.
        tokio::task::yield_now().await;
        let chunk = chunk.unwrap();
        tokens[chunk.choice] += chunk.tokens.len();
        finished += usize::from(chunk.finish.is_some());
    }
    assert_eq!((tokens, finished), (vec![6; 60], 60));
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_first_token_goes_unnoticed_and_after_it_interrupts() {
    let steering = Steering::new();
    let mut settings = config();
    settings.restart.initial_backoff = Duration::from_millis(1);
    let universe = Universe::new(settings).await;
    let spec = steering
        .babbler("babbler", 100, Babbler::LIMITS)
        .max_workers(1);
    let babbler = universe.register(spec).unwrap();
    steering.script(Point::Step, [Act::Panic]);
    let text = within(babbler.prompt("again", up_to(5)))
        .await
        .unwrap()
        .text();
    assert_eq!(within(text).await.unwrap(), alone("again", 5));
    assert_eq!(universe.status().models[0].metrics.redelivered, 1);

    steering.script(Point::Step, [Act::Go, Act::Go, Act::Panic]);
    let stream = within(babbler.prompt("once", up_to(50).ignore_eos(true)))
        .await
        .unwrap();
    let error = within(stream.text()).await.unwrap_err();
    assert!(
        matches!(error, PoolError::Interrupted { items_sent: 2, .. }),
        "{error}"
    );
    universe.close().await;
}

/// Two conversations run side by side, so each of two workers has one of them. Then both workers
/// wait, and each conversation goes on where its beginning is, in whatever order they come.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_on_where_its_beginning_was_read() {
    for order in [[0, 1, 0, 1], [1, 0, 1, 0], [1, 1, 0, 0]] {
        let steering = Steering::new();
        steering.always(Point::Step, Act::Wait);
        let mut universe = Universe::new(config()).await;
        let spec = steering.babbler("babbler", 100, Babbler::LIMITS);
        let spec = spec.min_workers(2).max_workers(2);
        let babbler = universe.register(spec).unwrap();
        within(universe.warm(&babbler)).await.unwrap();
        universe.ready(2).await;
        let mut talks = [
            "the first conversation, about this",
            "another one, about that",
        ]
        .map(str::to_owned);
        let mut streams = Vec::new();
        for (talk, steps) in talks.iter().zip(1..) {
            streams.push(
                within(babbler.prompt(talk.clone(), up_to(1)))
                    .await
                    .unwrap(),
            );
            // Its worker is in its step, so the next one goes to the other worker.
            within(steering.visited(Point::Step, steps)).await;
        }
        steering.open(Point::Step);
        for stream in streams {
            within(stream.text()).await.unwrap();
        }
        for (turn, talk) in order.into_iter().enumerate() {
            until(|| universe.census().asleep == 2).await;
            let known = talks[talk].len();
            talks[talk].push_str(&format!(" and so on {turn}"));
            let stream = within(babbler.prompt(talks[talk].clone(), up_to(1)))
                .await
                .unwrap();
            let usage = within(stream.collect()).await.unwrap().summary.usage;
            assert_eq!(
                usage.cached_tokens,
                known / 4 * 4,
                "turn {turn} of {order:?}"
            );
        }
        universe.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_two_workers_says_the_same_on_both() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let spec = steering
        .babbler("babbler", 100, Babbler::LIMITS)
        .max_workers(2);
    let babbler = universe.register(spec).unwrap();
    let asks = (0..40).map(|n| {
        let babbler = babbler.clone();
        tokio::spawn(async move {
            let prompt = format!("question {n}");
            let stream = babbler.prompt(prompt.clone(), up_to(20)).await.unwrap();
            assert_eq!(stream.text().await.unwrap(), alone(&prompt, 20));
        })
    });
    for ask in asks.collect::<Vec<_>>() {
        within(ask).await.unwrap();
    }
    universe.close().await;
}
