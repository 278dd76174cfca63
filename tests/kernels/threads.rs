//! The threads of a worker: their own, and none the worse for a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;

use modelpool::testing::kernels::Threads;

#[test]
fn work_is_shared_by_all_threads_of_the_team() {
    for count in [1, 2, 3] {
        let team = Threads::new(count);
        let threads = team.run(rayon::current_num_threads);
        if count > 1 {
            assert_eq!(threads, count);
        }
        // Passes only if both sides run at the same time, on threads of the team.
        if count > 1 {
            let both = Barrier::new(2);
            let place = || {
                both.wait();
                rayon::current_thread_index()
            };
            let (left, right) = team.run(|| rayon::join(place, place));
            assert!(left.is_some() && right.is_some() && left != right);
        }
    }
}

#[test]
fn a_team_of_one_is_the_thread_that_asks() {
    let team = Threads::new(1);
    let asking = std::thread::current().id();
    assert_eq!(team.run(|| std::thread::current().id()), asking);
}

#[test]
fn a_panic_surfaces_where_the_work_was_begun_and_leaves_nothing_broken() {
    let team = Threads::new(2);
    let other = Threads::new(2);
    for _ in 0..3 {
        let both = Barrier::new(2);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            team.run(|| {
                rayon::join(
                    || both.wait(),
                    || {
                        both.wait();
                        panic!("a team thread's own");
                    },
                )
            })
        }));
        let panic = outcome.expect_err("a panic");
        assert_eq!(panic.downcast_ref(), Some(&"a team thread's own"));
        for team in [&team, &other] {
            let sum = team.run(|| rayon::join(|| 1, || 2));
            assert_eq!(sum, (1, 2));
        }
    }
}

#[test]
fn what_a_team_runs_within_a_run_stays_on_its_thread() {
    let team = Threads::new(2);
    let (outer, inner) = team.run(|| {
        let outer = std::thread::current().id();
        (outer, team.run(|| std::thread::current().id()))
    });
    assert_eq!(outer, inner);
}
