//! No request is left in a proxy's inbox: the proxy is told of it, or it goes back in line when the
//! inbox closes.

use std::sync::Arc;

use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;

use crate::machine::inbox::inbox;
use crate::machine::job::Priority;
use crate::rig::{Rig, explore};

/// How often the proxy was told that requests are in its inbox.
#[derive(Clone, Default)]
struct Mailbox(Arc<(Mutex<usize>, Condvar)>);

impl Mailbox {
    fn send(&self) {
        *self.0.0.lock().unwrap() += 1;
        self.0.1.notify_one();
    }

    fn receive(&self) {
        let mut messages = self.0.0.lock().unwrap();
        while *messages == 0 {
            messages = self.0.1.wait(messages).unwrap();
        }
        *messages -= 1;
    }
}

#[test]
fn a_proxy_is_told_of_every_request() {
    explore(3_000, || {
        let rig = Rig::new(8, 1);
        let (sender, own) = inbox();
        let mailbox = Mailbox::default();
        // Where a request were in the inbox and the proxy not told, it would wait for ever.
        let proxy = thread::spawn({
            let (rig, mailbox) = (rig.clone(), mailbox.clone());
            move || {
                let mut taken = Vec::new();
                while rig.lanes.queued() < 4 {
                    mailbox.receive();
                    taken = own.take_all(taken);
                    taken.drain(..).for_each(|job| rig.lanes.push(job));
                }
            }
        });
        let callers = [1, 2].map(|caller| {
            let (rig, sender, mailbox) = (rig.clone(), sender.clone(), mailbox.clone());
            thread::spawn(move || {
                [0, 1].map(|request| {
                    let request = 2 * caller + request;
                    let (job, answer) = rig.admit(request, Priority::Interactive).unwrap();
                    if sender.put(job).ok().expect("the inbox is open") {
                        mailbox.send();
                    }
                    answer
                })
            })
        });
        let answers = callers.map(|caller| caller.join().unwrap());
        proxy.join().unwrap();
        let mut requests = Vec::new();
        while let Some(job) = rig.lanes.try_lane(Priority::Interactive) {
            let request = **job.request().unwrap();
            requests.push(request);
            job.answer(request);
        }
        // Each caller's own requests keep their order.
        let order_of = |request| requests.iter().position(|taken| *taken == request);
        assert!(
            order_of(2) < order_of(3) && order_of(4) < order_of(5),
            "{requests:?}"
        );
        for mut answer in answers.into_iter().flatten() {
            answer.try_recv().expect("an ending").unwrap();
        }
        rig.assert_rest();
    });
}

#[test]
fn what_is_in_an_inbox_that_closes_goes_back_in_line_and_later_ones_are_given_back() {
    explore(3_000, || {
        let rig = Rig::new(8, 1);
        let (sender, own) = inbox();
        let caller = thread::spawn({
            let rig = rig.clone();
            move || {
                let (job, answer) = rig.admit(7, Priority::Batch).unwrap();
                let given_back = sender.put(job).err();
                let is_given_back = given_back.is_some();
                given_back.into_iter().for_each(|job| rig.lanes.push(job));
                (is_given_back, answer)
            }
        });
        drop(own);
        let (is_given_back, mut answer) = caller.join().unwrap();
        assert_eq!(rig.metrics().redelivered, u64::from(!is_given_back));
        let job = rig.lanes.try_lane(Priority::Batch).expect("it is in line");
        assert!(!job.is_suspect(), "no worker died with it");
        job.answer(7);
        assert_eq!(answer.try_recv().expect("an ending").unwrap(), 7);
        rig.assert_rest();
    });
}
