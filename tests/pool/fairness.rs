//! Tenants are served in turn, and none of them fills the queue.

use modelpool::pool::core::{ModelHandle, PoolConfig, PoolError};
use modelpool::testing::{Act, Point, Steering};
use modelpool::{Priority, RequestOptions, TextEmbedding};
use tokio::task::JoinHandle;

use crate::settings::restarting_at_once;
use crate::universe::{Universe, config, within};

type Caller = JoinHandle<Result<Vec<f32>, PoolError>>;

/// Asks for texts that each fill a step, and begin with `name`.
fn ask(embedder: &ModelHandle<TextEmbedding>, name: &str, count: usize) -> Vec<Caller> {
    (0..count)
        .map(|n| {
            let (embedder, text) = (embedder.clone(), format!("{name}{n:02047}"));
            tokio::spawn(async move { embedder.embed(text).await })
        })
        .collect()
}

async fn queued(universe: &Universe, count: usize) {
    let queued = || {
        let queue = universe.status().models[0].queue;
        queue.interactive + queue.batch
    };
    let counted = async {
        while queued() != count {
            tokio::task::yield_now().await;
        }
    };
    within(counted).await;
}

/// Who had each step, by the first letter.
fn turns(steering: &Steering) -> String {
    let steps = steering.steps();
    steps
        .iter()
        .filter_map(|step| step[0].chars().next())
        .collect()
}

fn of(embedder: &ModelHandle<TextEmbedding>, tenant: &str) -> ModelHandle<TextEmbedding> {
    embedder.with(embedder.options().tenant(tenant))
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_served_in_turn_in_both_lanes() {
    for priority in [Priority::Interactive, Priority::Batch] {
        let steering = Steering::new();
        steering.script(Point::Load, [Act::Wait]);
        let universe = Universe::new(config()).await;
        let spec = steering.embedder("fair", 100).max_workers(1);
        let embedder = universe.register(spec).unwrap();
        let embedder = embedder.with(RequestOptions::default().priority(priority));

        let mut callers = ask(&of(&embedder, "flood"), "f", 6);
        queued(&universe, 6).await;
        callers.extend(ask(&of(&embedder, "guest"), "g", 2));
        queued(&universe, 8).await;
        // Those that name no tenant are one together.
        callers.extend(ask(&embedder, "n", 2));
        queued(&universe, 10).await;
        steering.open(Point::Load);
        for caller in callers {
            within(caller).await.unwrap().unwrap();
        }
        assert_eq!(turns(&steering), "nfgnfgffff", "{priority:?}");
        universe.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_work_of_a_tenant_keeps_its_turn_and_stays_behind_interactive_requests() {
    let steering = Steering::new();
    steering.script(Point::Load, [Act::Wait]);
    let universe = Universe::new(PoolConfig {
        batch_turn_every: 2,
        ..config()
    })
    .await;
    let spec = steering.embedder("fair", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let bulk = embedder.with(RequestOptions::default().priority(Priority::Batch));

    let mut callers = ask(&of(&bulk, "a"), "b", 3);
    queued(&universe, 3).await;
    callers.extend(ask(&of(&embedder, "a"), "i", 6));
    queued(&universe, 9).await;
    steering.open(Point::Load);
    for caller in callers {
        within(caller).await.unwrap().unwrap();
    }
    assert_eq!(turns(&steering), "iibiibiib");
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_floods_is_refused_and_others_are_not() {
    for (tenant_share, share) in [(0.5, 4), (0.2, 2), (1.0, 8)] {
        let steering = Steering::new();
        steering.always(Point::Step, Act::Wait);
        let universe = Universe::new(PoolConfig {
            tenant_share,
            ..config()
        })
        .await;
        let spec = steering.embedder("m", 100).max_workers(1).queue_capacity(8);
        let embedder = universe.register(spec).unwrap();
        let flood = of(&embedder, "flood");
        let held: Vec<_> = (0..share).map(|_| flood.admit().unwrap()).collect();
        let error = flood.admit().unwrap_err();
        if share == 8 {
            assert!(matches!(error, PoolError::Overloaded { .. }), "{error}");
        } else {
            let PoolError::TenantOverloaded {
                tenant,
                share: told,
                ..
            } = &error
            else {
                panic!("{error}");
            };
            assert_eq!((tenant.as_str(), *told), ("flood", share));
            drop(of(&embedder, "guest").admit().unwrap());
            drop(embedder.admit().unwrap());
        }
        assert_eq!(universe.status().models[0].metrics.refused, 1);
        // What it gives back it may have again.
        drop(held);
        drop(flood.admit().unwrap());
        universe.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_go_away_leave_nothing_of_their_tenant() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Wait]);
    let universe = Universe::new(config()).await;
    let spec = steering.embedder("m", 100).max_workers(1).queue_capacity(4);
    let embedder = universe.register(spec).unwrap();
    let busy = ask(&embedder, "n", 1);
    within(steering.visited(Point::Step, 1)).await;
    let tenant = of(&embedder, "gone");
    let callers = ask(&tenant, "g", 2);
    queued(&universe, 2).await;
    for caller in callers {
        caller.abort();
        drop(within(caller).await);
    }
    assert_eq!(universe.status().models[0].queue.interactive, 2);
    // Its share is used up by requests that nobody waits for.
    assert!(tenant.admit().is_ok(), "a refused caller sweeps the line");
    queued(&universe, 0).await;
    steering.open(Point::Step);
    for caller in busy {
        within(caller).await.unwrap().unwrap();
    }
    assert_eq!(turns(&steering), "n", "nothing was computed for them");
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_request_keeps_its_place_in_front_of_all_tenants() {
    let steering = Steering::new();
    steering.script(Point::Load, [Act::Wait]);
    steering.script(Point::Step, [Act::Panic]);
    let universe = Universe::new(restarting_at_once()).await;
    let spec = steering.embedder("m", 100).max_workers(1);
    let embedder = universe.register(spec).unwrap();
    let mut callers = ask(&of(&embedder, "a"), "a", 2);
    queued(&universe, 2).await;
    callers.extend(ask(&of(&embedder, "b"), "b", 2));
    queued(&universe, 4).await;
    steering.open(Point::Load);
    for caller in callers {
        within(caller).await.unwrap().unwrap();
    }
    // The first step died. What it had had no room for is first, then what died with it.
    assert_eq!(turns(&steering), "abaab");
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_that_makes_no_sense_is_refused() {
    for tenant_share in [0.0, -1.0, 1.1, f64::NAN] {
        let settings = PoolConfig {
            tenant_share,
            ..config()
        };
        let error = settings.validate().unwrap_err();
        let PoolError::InvalidConfig { field, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(field, "tenant_share");
    }
}
