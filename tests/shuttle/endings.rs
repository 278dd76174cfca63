//! A job has one ending and gives its permit back once, whoever is at it at the same time.

use std::sync::Arc;
use std::time::Instant;

use shuttle::thread;

use crate::machine::error::PoolError;
use crate::machine::hand::Hand;
use crate::machine::job::Priority;
use crate::rig::{Echo, Rig, explore};

#[test]
fn the_answer_the_caller_and_the_abandoning_supervisor_race() {
    explore(3_000, || {
        let rig = Rig::new(1, 1);
        let answer = rig.push(7, Priority::Interactive);
        let hand: Arc<Hand<Echo>> = Arc::new(Hand::new("echo".to_owned()));
        let job = rig.lanes.try_lane(Priority::Interactive).unwrap();
        let slot = hand.put(job).ok().unwrap();
        let worker = thread::spawn({
            let hand = Arc::clone(&hand);
            move || {
                hand.discard_dead(Instant::now());
                hand.finish(slot, 7);
            }
        });
        let abandoner = thread::spawn({
            let hand = Arc::clone(&hand);
            move || hand.close(&PoolError::ShuttingDown)
        });
        let caller = thread::spawn({
            let rig = rig.clone();
            move || {
                let mut answer = answer;
                let got = answer.try_recv();
                drop(answer);
                rig.lanes.caller_gone();
                got
            }
        });
        worker.join().unwrap();
        let abandoned = abandoner.join().unwrap();
        let got = caller.join().unwrap();

        let metrics = rig.metrics();
        assert_eq!(metrics.ended(), 1, "{metrics:?}");
        // Who heard of an ending heard of the one that was counted.
        match got {
            Ok(Ok(item)) => assert_eq!((item, metrics.answered), (7, 1)),
            Ok(Err(error)) => {
                assert!(matches!(error, PoolError::ShuttingDown), "{error}");
                assert_eq!((abandoned, metrics.shut_down), (1, 1));
            }
            Err(_) => {}
        }
        assert_eq!(hand.len(), 0);
        rig.assert_rest();
    });
}

#[test]
fn a_hand_that_closes_answers_what_it_has_and_gives_back_what_comes_later() {
    explore(3_000, || {
        let rig = Rig::new(1, 1);
        let mut answer = rig.push(7, Priority::Interactive);
        let hand: Arc<Hand<Echo>> = Arc::new(Hand::new("echo".to_owned()));
        let worker = thread::spawn({
            let (hand, rig) = (Arc::clone(&hand), rig.clone());
            move || {
                let job = rig.lanes.try_lane(Priority::Interactive).unwrap();
                match hand.put(job) {
                    Ok(slot) => hand.finish(slot, 7),
                    Err(job) => rig.lanes.push_front(job),
                }
            }
        });
        let closed = hand.close(&PoolError::ShuttingDown);
        worker.join().unwrap();

        assert!(hand.is_closed());
        assert_eq!(hand.len(), 0);
        let metrics = rig.metrics();
        match answer.try_recv() {
            Ok(Ok(item)) => assert_eq!((item, metrics.answered), (7, 1)),
            Ok(Err(_)) => assert_eq!((closed, metrics.shut_down), (1, 1)),
            Err(_) => {
                assert_eq!((rig.lanes.queued(), metrics.ended()), (1, 0));
                rig.lanes.fail_queued(&PoolError::ShuttingDown);
            }
        }
        rig.assert_rest();
    });
}

#[test]
fn a_job_that_a_dying_worker_returns_is_not_lost_when_the_lanes_close() {
    explore(3_000, || {
        let rig = Rig::new(2, 1);
        let mut answers = [
            rig.push(1, Priority::Interactive),
            rig.push(2, Priority::Batch),
        ];
        let dying = thread::spawn({
            let rig = rig.clone();
            move || {
                let hand: Hand<Echo> = Hand::new("echo".to_owned());
                if let Some(job) = rig.lanes.try_lane(Priority::Interactive) {
                    drop(hand.put(job));
                }
                hand.drop_all();
            }
        });
        let closer = thread::spawn({
            let rig = rig.clone();
            move || rig.lanes.close(PoolError::ShuttingDown)
        });
        let sweeper = thread::spawn({
            let rig = rig.clone();
            move || rig.lanes.sweep(Instant::now())
        });
        dying.join().unwrap();
        closer.join().unwrap();
        sweeper.join().unwrap();
        for answer in &mut answers {
            let error = answer.try_recv().expect("an ending").unwrap_err();
            assert!(matches!(error, PoolError::ShuttingDown), "{error}");
        }
        rig.assert_rest();
    });
}

#[test]
fn permits_are_never_more_than_the_queue_holds_and_none_leaks() {
    explore(3_000, || {
        let rig = Rig::new(2, 1);
        let held = Arc::new(shuttle::sync::Mutex::new(0));
        let callers = [1, 2, 3].map(|request| {
            let (rig, held) = (rig.clone(), Arc::clone(&held));
            thread::spawn(move || {
                let Ok((job, answer)) = rig.admit(request, Priority::Interactive) else {
                    return;
                };
                {
                    let mut held = held.lock().unwrap();
                    *held += 1;
                    assert!(*held <= 2, "more than the queue holds");
                }
                thread::yield_now();
                *held.lock().unwrap() -= 1;
                drop(answer);
                rig.lanes.caller_gone();
                // Nobody waits for it: dropped on the way, it ends there.
                drop(job);
            })
        });
        for caller in callers {
            caller.join().unwrap();
        }
        let metrics = rig.metrics();
        assert_eq!(metrics.cancelled, metrics.accepted);
        assert_eq!(metrics.accepted + metrics.refused, 3);
        rig.assert_rest();
        assert!(rig.lanes.admit().is_ok(), "all places are free again");
    });
}

#[test]
fn callers_who_have_gone_are_swept_beside_workers_and_none_ends_twice() {
    explore(3_000, || {
        let rig = Rig::new(4, 1);
        let answers: Vec<_> = (0..3).map(|n| rig.push(n, Priority::Interactive)).collect();
        let worker = thread::spawn({
            let rig = rig.clone();
            move || {
                let mut order = Vec::new();
                while let Some(job) = rig.lanes.try_lane(Priority::Interactive) {
                    if job.is_dead(Instant::now()) {
                        job.discard(Instant::now());
                        continue;
                    }
                    let request = **job.request().unwrap();
                    order.push(request);
                    job.answer(request);
                }
                order
            }
        });
        let mut answers = answers.into_iter();
        drop(answers.next());
        rig.lanes.caller_gone();
        rig.lanes.sweep(Instant::now());
        worker.join().unwrap();
        // What the sweep had out of line while the worker looked is still there.
        while let Some(job) = rig.lanes.try_lane(Priority::Interactive) {
            let request = **job.request().unwrap();
            job.answer(request);
        }
        for (request, mut answer) in (1..).zip(answers) {
            assert_eq!(answer.try_recv().expect("an ending").unwrap(), request);
        }
        rig.assert_rest();
    });
}
