//! No job waits beside a sleeping worker.
//!
//! Where one did, every thread would end up waiting, which the checker reports as a deadlock.

use std::time::Instant;

use crate::machine::job::Priority;
use crate::rig::{Flag, Rig, Worker, explore};

#[test]
fn every_push_finds_a_worker_however_it_falls_asleep() {
    explore(3_000, || {
        let rig = Rig::new(8, 2);
        let served: Vec<Flag> = (0..3).map(|_| Flag::default()).collect();
        let workers = [1, 2].map(|id| {
            let served = served.clone();
            Worker::start(id, &rig, move |request| served[request as usize].raise())
        });
        let producer = shuttle::thread::spawn({
            let rig = rig.clone();
            move || {
                drop(rig.push_for("a", 0, Priority::Interactive));
                rig.push_for("a", 1, Priority::Batch)
            }
        });
        let answer = rig.push(2, Priority::Interactive);
        // The first one's caller goes away at once; who has waited is answered all the same.
        served[1].wait();
        served[2].wait();
        producer.join().unwrap();
        workers.into_iter().for_each(Worker::end);
        drop(answer);
        rig.lanes.sweep(Instant::now());
        rig.assert_rest();
    });
}

#[test]
fn a_job_in_the_other_lane_does_not_wait_for_a_long_step() {
    explore(4_000, || {
        let rig = Rig::new(8, 2);
        let bulk_done = Flag::default();
        let workers = [1, 2].map(|id| {
            let bulk_done = bulk_done.clone();
            Worker::start(id, &rig, move |request| match request {
                // The interactive request's step is longer than all else.
                0 => bulk_done.wait(),
                _ => bulk_done.raise(),
            })
        });
        let producer = shuttle::thread::spawn({
            let rig = rig.clone();
            move || rig.push(0, Priority::Interactive)
        });
        let bulk = rig.push(1, Priority::Batch);
        bulk_done.wait();
        let long = producer.join().unwrap();
        workers.into_iter().for_each(Worker::end);
        // Told to end, a worker may have left the long one in line.
        drop((bulk, long));
        rig.lanes.sweep(Instant::now());
        rig.assert_rest();
    });
}

#[test]
fn a_worker_that_retires_passes_its_call_on() {
    explore(4_000, || {
        let rig = Rig::new(8, 2);
        let served = Flag::default();
        let [leaving, staying] = [1, 2].map(|id| {
            let served = served.clone();
            Worker::start(id, &rig, move |_| served.raise())
        });
        let producer = shuttle::thread::spawn({
            let rig = rig.clone();
            move || rig.push(0, Priority::Interactive)
        });
        leaving.order_to_retire();
        served.wait();
        drop(producer.join().unwrap());
        leaving.end();
        staying.end();
        rig.assert_rest();
    });
}
