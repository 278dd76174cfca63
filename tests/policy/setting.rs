//! Two models and how their world begins.

use std::time::Duration;

use modelpool::pool::core::{ModelId, WorkerId};

use crate::world::{World, config, plan};

pub const A: ModelId = ModelId(30_001);
pub const B: ModelId = ModelId(30_002);

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub fn w(id: u64) -> WorkerId {
    WorkerId(id)
}

pub fn world() -> World {
    let mut world = World::new(800, config());
    world.model(A.0, plan(300));
    world.model(B.0, plan(300));
    world
}

/// A world in which A has two ready workers, idle since the beginning.
pub fn two_ready() -> World {
    let mut world = world();
    world.queue(A, 1);
    world.decide();
    world.ready(w(1));
    world.ready(w(2));
    world.queue(A, 0);
    assert_eq!(world.decide(), []);
    world
}
