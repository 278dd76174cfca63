//! Models that give up their workers, to be loaded anew or to leave the pool.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::ActorRef;
use tokio::sync::oneshot;

use super::{SupervisorMessage, SupervisorState};
use crate::pool::core::drain::DrainReport;
use crate::pool::core::error::PoolError;
use crate::pool::core::ids::{ModelId, WorkerId};
use crate::pool::core::policy::Action;
use crate::pool::core::proxy::ProxyCommand;
use crate::pool::core::registration::AnyModel;

/// A model on its way to having no worker.
pub(super) struct Drain {
    model: Arc<dyn AnyModel>,
    stage: Stage,
    grace: Duration,
    /// The workers that are to end.
    workers: BTreeSet<WorkerId>,
    report: DrainReport,
    answered_before: u64,
    started: Instant,
    reply: oneshot::Sender<DrainReport>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It leaves the pool, and still serves what it has accepted.
    Serving,
    /// It leaves the pool, and all that it had accepted has ended.
    Leaving,
    /// It stays, and its workers of then are to end.
    Retiring,
}

impl Drain {
    fn finish(mut self) {
        let answered = self.model.stats().snapshot().answered;
        self.report.answered = answered.saturating_sub(self.answered_before);
        self.report.took = self.started.elapsed();
        // Whoever asked may have stopped waiting.
        drop(self.reply.send(self.report));
    }
}

impl SupervisorState {
    pub(super) fn drain(
        &mut self,
        id: ModelId,
        leave: bool,
        grace: Duration,
        reply: oneshot::Sender<DrainReport>,
        myself: &ActorRef<SupervisorMessage>,
    ) {
        let model = self.models.get(&id).cloned();
        let Some(model) = model.filter(|_| self.shutdown.is_none()) else {
            // To drop the reply says that the pool, and the model with it, is going away.
            return;
        };
        let answered_before = model.stats().snapshot().answered;
        let stage = if leave {
            model.refuse_new();
            self.policy.let_go(id);
            Stage::Serving
        } else {
            self.retire_all(id);
            Stage::Retiring
        };
        self.last_drain += 1;
        let number = self.last_drain;
        let drain = Drain {
            model,
            stage,
            grace,
            workers: self.workers_of(id),
            report: DrainReport::default(),
            answered_before,
            started: Instant::now(),
            reply,
        };
        self.drains.insert(number, drain);
        drop(myself.send_after(grace, move || SupervisorMessage::DrainOver { number }));
    }

    /// Sees which drains have come further, or to their end.
    pub(super) fn advance_drains(&mut self) {
        for (number, mut drain) in std::mem::take(&mut self.drains) {
            if drain.stage == Stage::Serving && drain.model.under_way() == 0 {
                self.end_serving(&mut drain);
            }
            drain
                .workers
                .retain(|worker| self.workers.contains_key(worker));
            if drain.stage == Stage::Serving || !drain.workers.is_empty() {
                self.drains.insert(number, drain);
                continue;
            }
            if drain.stage == Stage::Leaving {
                self.forget_model(drain.model.id());
            }
            drain.finish();
        }
    }

    /// The grace is over: nobody waits any longer.
    pub(super) fn drain_over(&mut self, number: u64) {
        let Some(mut drain) = self.drains.remove(&number) else {
            return;
        };
        if drain.stage == Stage::Serving {
            drain.report.refused = drain.model.under_way();
            self.end_serving(&mut drain);
        }
        let order = match drain.stage {
            // What they have in hand, others can serve.
            Stage::Retiring => ProxyCommand::PutBack,
            Stage::Serving | Stage::Leaving => ProxyCommand::Abandon(PoolError::GraceOver {
                model: drain.model.info().name.clone(),
                grace: drain.grace,
            }),
        };
        for &id in &drain.workers {
            let Some(worker) = self.workers.get_mut(&id) else {
                continue;
            };
            if !worker.given_up {
                worker.given_up = true;
                self.policy.abandon(id);
                drain.model.abandon_route(&worker.board);
                worker.handle.order(order.clone());
            }
            drain.report.abandoned.push(worker.board.name.clone());
        }
        self.drains.insert(number, drain);
    }

    /// Nothing more is taken up, and every worker is to end.
    fn end_serving(&mut self, drain: &mut Drain) {
        drain.stage = Stage::Leaving;
        drain.model.close(PoolError::GraceOver {
            model: drain.model.info().name.clone(),
            grace: drain.grace,
        });
        let id = drain.model.id();
        self.retire_all(id);
        drain.workers = self.workers_of(id);
    }

    fn retire_all(&mut self, id: ModelId) {
        for action in self.policy.retire_all(id) {
            if let Action::Retire { worker, reason } = action {
                self.retire(worker, reason);
            }
        }
    }

    fn workers_of(&self, id: ModelId) -> BTreeSet<WorkerId> {
        let workers = self.workers.iter();
        workers
            .filter(|(_, worker)| worker.handle.model() == id)
            .map(|(&worker, _)| worker)
            .collect()
    }

    fn forget_model(&mut self, id: ModelId) {
        self.policy.unregister(id);
        self.catalogue.remove(id);
        let Some(model) = self.models.remove(&id) else {
            return;
        };
        let error = PoolError::NotRegistered {
            model: model.info().name.clone(),
        };
        for waiting in self.warming.remove(&id).unwrap_or_default() {
            drop(waiting.send(Err(error.clone())));
        }
    }

    /// The pool shuts down, which ends everything that drains as well.
    pub(super) fn cut_drains_short(&mut self) {
        for drain in std::mem::take(&mut self.drains).into_values() {
            drain.finish();
        }
    }
}
