//! Weights that workers share: one rule a test.

use modelpool::pool::core::{MIB, RetireReason, StartReason, WorkerId};
use modelpool::testing::policy::{Exit, ModelPlan};

use crate::setting::{A, B, ms, w};
use crate::world::{Did, World, config, plan, sharing};

/// A world of 1000 MiB in which A's two workers share 600 MiB and have 50 each, both idle.
fn two_sharing() -> World {
    let mut world = World::new(1000, config());
    world.model(A.0, sharing(600, 50));
    world.queue(A, 1);
    let cold = |worker| Did::Start(A, w(worker), StartReason::ColdStart);
    assert_eq!(world.decide(), [cold(1), cold(2)]);
    assert_eq!(world.reserved(), 700 * MIB, "the weights once");
    world.ready(w(1));
    world.ready(w(2));
    world.queue(A, 0);
    assert_eq!(world.decide(), []);
    world
}

#[test]
fn weights_are_counted_until_their_last_holder_is_gone() {
    let mut world = two_sharing();
    world.exit(w(1), Exit::Retired);
    assert_eq!(world.reserved(), 650 * MIB);
    world.exit(w(2), Exit::Retired);
    assert_eq!(world.reserved(), 0);

    world.queue(A, 1);
    world.decide();
    assert_eq!(world.reserved(), 700 * MIB, "and counted anew");
}

#[test]
fn one_of_several_frees_its_own_bytes_only() {
    let mut world = two_sharing();
    let small = world.model(3, plan(340));
    world.at(ms(10));
    world.queue(small, 1);
    // 300 are free, 40 are missing: one worker's own bytes will do, and the weights stay.
    assert_eq!(world.decide(), [Did::Retire(w(1), RetireReason::Evicted)]);
    assert_eq!(world.decide(), [], "350 are free or coming");
    world.exit(w(1), Exit::Retired);
    assert_eq!(
        world.decide(),
        [Did::Start(small, w(3), StartReason::ColdStart)]
    );
    assert_eq!(world.reserved(), 990 * MIB);
}

#[test]
fn the_last_of_them_frees_the_weights_too() {
    let mut world = two_sharing();
    let large = world.model(3, plan(900));
    world.at(ms(10));
    world.queue(large, 1);
    // 600 are missing: only both workers together free so much.
    let both = [w(1), w(2)].map(|worker| Did::Retire(worker, RetireReason::Evicted));
    assert_eq!(world.decide(), both);
    assert_eq!(world.decide(), []);
    world.exit(w(2), Exit::Retired);
    assert_eq!(world.decide(), [], "the weights are still held");
    world.exit(w(1), Exit::Retired);
    assert_eq!(
        world.decide(),
        [Did::Start(large, w(3), StartReason::ColdStart)]
    );
}

#[test]
fn nobody_is_evicted_who_could_be_spared() {
    let mut world = World::new(1000, config());
    world.model(A.0, sharing(600, 50));
    world.model(B.0, plan(250));
    for (model, from, to) in [(A, 0, 4000), (B, 4000, 5000)] {
        world.at(ms(from));
        world.queue(model, 1);
        world.decide();
        world.at(ms(to));
        let loading: Vec<WorkerId> = world.workers().keys().copied().collect();
        for worker in loading {
            world.ready(worker);
        }
        world.queue(model, 0);
    }
    let large = world.model(3, plan(280));
    world.at(ms(10_000));
    world.queue(large, 1);
    // 50 are free, 230 missing. One of A's, quickly had back, is the least valuable; B's comes
    // next and is enough by itself, so A's is left alone.
    assert_eq!(world.decide(), [Did::Retire(w(3), RetireReason::Evicted)]);
}

#[test]
fn a_worker_given_up_on_keeps_the_weights() {
    let mut world = World::new(1000, config());
    let watched = ModelPlan {
        step_timeout: ms(1000),
        ..sharing(600, 50)
    };
    world.model(A.0, watched);
    world.queue(A, 1);
    world.decide();
    world.ready(w(1));
    world.ready(w(2));
    world.queue(A, 0);
    world.busy(w(1));
    world.at(ms(1000));
    // What is left is too little to replace it at once, and B takes it.
    world.model(B.0, plan(300));
    world.queue(B, 1);
    let abandoned = world.decide();
    assert_eq!(abandoned[0], Did::Abandon(w(1)));
    let b = abandoned.last().map(|did| match did {
        Did::Start(model, worker, _) if *model == B => *worker,
        other => panic!("{other:?}"),
    });
    world.ready(b.expect("B was started"));

    let large = world.model(3, plan(900));
    world.queue(large, 1);
    assert_eq!(world.decide(), [], "evicting the other would free 50");
    assert!(world.wants_idle);
    world.queue(B, 0);
    world.exit(w(1), Exit::Retired);
    let retired = world.decide();
    assert!(
        retired.contains(&Did::Retire(w(2), RetireReason::Evicted)),
        "{retired:?}"
    );
}

#[test]
fn weights_that_are_there_let_a_worker_in_for_its_own_bytes() {
    let mut world = World::new(700, config());
    world.model(A.0, sharing(600, 50));
    world.queue(A, 1);
    world.decide();
    world.ready(w(1));
    world.ready(w(2));
    world.queue(A, 0);
    world.at(ms(60_000));
    assert_eq!(world.decide(), [Did::Retire(w(1), RetireReason::Idle)]);
    world.exit(w(1), Exit::Retired);
    world.busy(w(2));
    world.queue(A, 1);
    world.saturate(A, true);
    world.decide();
    world.at(ms(60_100));
    // A model that shared nothing would not fit a second time.
    assert_eq!(world.decide(), [Did::Start(A, w(3), StartReason::Expand)]);
    assert_eq!(world.reserved(), 700 * MIB);
}
