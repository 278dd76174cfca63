//! What the supervisor must hear, it hears: of work without workers, and of work that waits for
//! busy ones.

use shuttle::thread;

use crate::machine::hand::Hand;
use crate::machine::job::Priority;
use crate::machine::supervisor::SupervisorMessage;
use crate::rig::{Echo, Rig, explore};

#[test]
fn a_job_that_comes_back_when_the_last_proxy_goes_is_seen_or_reported() {
    explore(5_000, || {
        let rig = Rig::new(2, 1);
        rig.lanes.set_proxies(1);
        let answer = rig.push(1, Priority::Interactive);
        let hand: Hand<Echo> = Hand::new("echo".to_owned());
        drop(hand.put(rig.lanes.try_lane(Priority::Interactive).unwrap()));
        let dying = thread::spawn(move || hand.drop_all());
        // The supervisor: the last worker is off the books, then it looks at the queue.
        rig.lanes.set_proxies(0);
        let seen = rig.lanes.queued() > 0;
        dying.join().unwrap();

        let told = rig.supervisor.told();
        let reported = told
            .iter()
            .any(|message| matches!(message, SupervisorMessage::Demand { .. }));
        assert_eq!(rig.lanes.queued(), 1);
        assert!(seen || reported, "the job waits for nobody");
        drop(answer);
        rig.lanes.sweep(std::time::Instant::now());
        rig.assert_rest();
    });
}

#[test]
fn the_last_permit_is_reported_though_one_in_excess_was_counted_beside_it() {
    explore(4_000, || {
        let rig = Rig::new(1, 1);
        let (job, answer) = rig.admit(1, Priority::Interactive).expect("there is room");
        let refused = thread::spawn({
            let rig = rig.clone();
            move || drop(rig.lanes.admit())
        });
        // The supervisor waits for the model to have nothing under way.
        rig.lanes.permits().watch();
        let seen = rig.lanes.permits().taken() == 0;
        job.answer(1);
        refused.join().unwrap();

        let reported = rig.supervisor.told().contains(&SupervisorMessage::Drained);
        assert!(seen || reported, "a drain would wait for its whole grace");
        drop(answer);
        rig.assert_rest();
    });
}

#[test]
fn work_behind_busy_workers_is_reported_again_after_the_supervisor_has_looked() {
    explore(5_000, || {
        let rig = Rig::new(4, 2);
        rig.lanes.set_proxies(1);
        let first = rig.push(1, Priority::Interactive);
        assert_eq!(rig.supervisor.told().len(), 1, "nobody is idle");
        let taken = rig.lanes.try_lane(Priority::Interactive).unwrap();
        let producer = thread::spawn({
            let rig = rig.clone();
            move || rig.push(2, Priority::Batch)
        });
        // The supervisor sees no work in line, and is to be told anew.
        let queued = rig.lanes.queued();
        let told_before = rig.supervisor.told().len();
        rig.lanes.not_saturated();
        let second = producer.join().unwrap();

        assert!(
            queued > 0 || rig.supervisor.told().len() > told_before,
            "one job waits behind a busy worker, and nobody will look into it"
        );
        taken.answer(1);
        drop((first, second));
        rig.lanes.sweep(std::time::Instant::now());
        rig.assert_rest();
    });
}
