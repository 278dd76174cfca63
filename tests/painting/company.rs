//! Requests beside each other.

use modelpool::ImageChunk;
use modelpool::diffusion::SchedulerKind;
use modelpool::testing::{Act, Point, Steering};

use crate::universe::within;
use crate::{begin, description, one_worker, png, predictions, queued, seeded, step};

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_size_step_together_and_give_what_they_give_alone() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    let first = seeded(1).steps(6).scheduler(SchedulerKind::EulerAncestral);
    let second = seeded(2).steps(4).guidance(3.0).negative_prompt("bad");
    let alone = [
        png(&dauber, "first", first.clone()).await,
        png(&dauber, "second", second.clone()).await,
    ];
    let before = predictions(&steering).len();

    steering.always(Point::Step, Act::Wait);
    let visits = steering.visits(Point::Step);
    let first = begin(&dauber, "first", first).await;
    within(steering.visited(Point::Step, visits + 1)).await;
    // It comes while the other's first step runs.
    let second = begin(&dauber, "second", second).await;
    queued(&universe, 1).await;
    steering.open(Point::Step);
    let first = within(first.collect()).await.unwrap();
    let second = within(second.collect()).await.unwrap();
    assert_eq!([&first[0].png, &second[0].png], [&alone[0], &alone[1]]);
    let calls = predictions(&steering).split_off(before);
    assert_eq!(calls[0], ["first"]);
    let together = ["first", "second", "bad"];
    let shared = calls.iter().filter(|call| call.len() == 3);
    assert_eq!(shared.clone().count(), 4, "{calls:?}");
    for call in shared {
        assert!(
            together
                .iter()
                .all(|prompt| call.iter().any(|it| it == prompt))
        );
    }
    assert_eq!(calls.len(), 6, "{calls:?}");
    universe.close().await;
}

/// Models need not pad: prompts of another length are predicted in a call of their own, in the same step.
#[tokio::test(flavor = "multi_thread")]
async fn prompts_of_different_lengths_are_predicted_apart() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    let long = "a long story ".repeat(10);
    let guided = seeded(1).guidance(3.0).negative_prompt("short");
    let alone = [
        png(&dauber, "other", seeded(2)).await,
        png(&dauber, &long, guided.clone()).await,
    ];
    let before = predictions(&steering).len();
    steering.always(Point::Step, Act::Wait);
    let visits = steering.visits(Point::Step);
    let first = begin(&dauber, "other", seeded(2)).await;
    within(steering.visited(Point::Step, visits + 1)).await;
    let second = begin(&dauber, &long, guided).await;
    queued(&universe, 1).await;
    steering.open(Point::Step);
    let first = within(first.collect()).await.unwrap();
    let second = within(second.collect()).await.unwrap();
    assert_eq!([&first[0].png, &second[0].png], [&alone[0], &alone[1]]);
    let calls = predictions(&steering).split_off(before);
    for call in &calls {
        let of_long = call.iter().filter(|prompt| **prompt == long).count();
        assert!(of_long == 0 || of_long == call.len(), "{call:?}");
    }
    assert!(calls.iter().any(|call| call.len() == 2), "{calls:?}");
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_different_sizes_do_not_and_take_turns() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let (universe, dauber) = one_worker(&steering, description()).await;
    let small = begin(&dauber, "small", seeded(1).steps(4)).await;
    within(steering.visited(Point::Step, 1)).await;
    let large = begin(&dauber, "large", seeded(1).steps(4).size(64, 32)).await;
    queued(&universe, 1).await;
    steering.open(Point::Step);
    let small = within(small.collect()).await.unwrap();
    let large = within(large.collect()).await.unwrap();
    let calls = predictions(&steering).concat();
    // When the new one came, the first had waited as long; then its prompt was encoded.
    let wanted = [
        "small", "small", "small", "large", "small", "large", "large", "large",
    ];
    assert_eq!(calls, wanted);
    assert_eq!(
        png(&dauber, "small", seeded(1).steps(4)).await,
        small[0].png
    );
    let alone = png(&dauber, "large", seeded(1).steps(4).size(64, 32)).await;
    assert_eq!(alone, large[0].png);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_painting_overtakes_a_long_one_and_does_not_hold_it_up() {
    let steering = Steering::new();
    steering.always(Point::Step, Act::Wait);
    let (universe, dauber) = one_worker(&steering, description()).await;
    let long = begin(&dauber, "long", seeded(1).steps(60)).await;
    within(steering.visited(Point::Step, 1)).await;
    let short = begin(&dauber, "short", seeded(1).steps(2).size(16, 16)).await;
    queued(&universe, 1).await;
    steering.open(Point::Step);
    within(short.collect()).await.unwrap();
    // Of the calls until the short one was finished, at most every second was not the long one's.
    let steps = steering.steps();
    let last = steps.iter().rposition(|texts| texts[0] == "short").unwrap();
    let of_long = steps[..last].iter().filter(|texts| texts[0] == "long");
    assert!((1..=4).contains(&of_long.count()), "{steps:?}");
    within(long.collect()).await.unwrap();
    universe.close().await;
}

/// Short requests come without end; the long one is served all the same, at least once for as many steps
/// as there are requests in hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_painting_is_not_starved_by_short_ones() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    let long = begin(&dauber, "long", seeded(1).steps(50)).await;
    let callers = (0..4).map(|caller| {
        let dauber = dauber.clone();
        tokio::spawn(async move {
            for turn in 0..12 {
                let params = seeded(turn).steps(1).size(16 * (caller % 3 + 1), 16);
                png(&dauber, "short", params).await;
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    within(long.collect()).await.unwrap();
    for caller in callers {
        within(caller).await.unwrap();
    }
    let steps = steering.steps();
    let places: Vec<usize> = (0..steps.len())
        .filter(|&place| steps[place].iter().any(|text| text == "long"))
        .collect();
    // Beside it, at most as many others are in hand as pictures may be in work.
    let gaps = places.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(gaps.max().unwrap() <= 8, "{places:?}");
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_finite_ends_its_own_request_only() {
    let steering = Steering::new();
    steering.on_text("broken", Act::Fail);
    steering.always(Point::Step, Act::Wait);
    let (universe, dauber) = one_worker(&steering, description()).await;
    let sound = begin(&dauber, "sound", seeded(1)).await;
    within(steering.visited(Point::Step, 1)).await;
    let broken = begin(&dauber, "broken", seeded(1).images(3)).await;
    queued(&universe, 1).await;
    steering.open(Point::Step);
    let error = within(broken.collect()).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "the model's output is not finite");
    let sound = within(sound.collect()).await.unwrap();
    assert_eq!(png(&dauber, "sound", seeded(1)).await, sound[0].png);
    assert_eq!(universe.status().models[0].metrics.redelivered, 0);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_misses_steps_but_no_picture_and_slows_only_itself() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    // More pictures than its stream holds, of more steps than that.
    let mut slow = begin(&dauber, "slow", seeded(1).steps(10).images(16)).await;
    step(&mut slow, 1).await;
    for seed in 0..5 {
        png(&dauber, "quick", seeded(seed).steps(40).size(16, 16)).await;
    }
    let (mut steps, mut images) = (1, Vec::new());
    while let Some(chunk) = within(slow.next()).await {
        match chunk.unwrap() {
            ImageChunk::Step { .. } => steps += 1,
            ImageChunk::Image(painting) => images.push(painting),
            _ => {}
        }
    }
    assert!(steps < 160, "{steps}");
    assert_eq!(images.len(), 16);
    for painting in [&images[0], &images[15]] {
        let alone = png(&dauber, "slow", seeded(painting.seed).steps(10)).await;
        assert_eq!(alone, painting.png);
    }
    universe.close().await;
}
