//! What goes wrong, and what is changed, while requests run.

use std::fmt;
use std::time::Duration;

use modelpool::pool::core::Pool;
use modelpool::testing::{Act, Point};

use super::caller::flood;
use super::figures::Tally;
use super::models::{Asked, Model, STEP_TIMEOUT};
use super::plan::{Dice, Plan};

/// One thing that goes wrong or is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disruption {
    StepPanics,
    EmitPanics,
    FreePanics,
    StepFails,
    StepHangs,
    LoadsFail,
    LoadPanics,
    LoadHangs,
    ReleasesHung,
    Flood,
    Pins,
    Warms,
    TakesMemory,
    Retires,
    Replaces,
    Leaves,
}

impl Disruption {
    pub const ALL: [Self; 16] = [
        Self::StepPanics,
        Self::EmitPanics,
        Self::FreePanics,
        Self::StepFails,
        Self::StepHangs,
        Self::LoadsFail,
        Self::LoadPanics,
        Self::LoadHangs,
        Self::ReleasesHung,
        Self::Flood,
        Self::Pins,
        Self::Warms,
        Self::TakesMemory,
        Self::Retires,
        Self::Replaces,
        Self::Leaves,
    ];
}

impl fmt::Display for Disruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Lets one load and one step go on that hang now or will.
fn release_hung(model: &Model) {
    for point in [Point::Load, Point::Step] {
        model.steering.release(point, 1);
    }
}

/// Hangs the next visit to a point: long enough to be given up, and not for ever, since a hung
/// thread keeps its memory from the others.
fn hang(model: &Model, point: Point, tally: &Tally) {
    let steering = model.steering.clone();
    steering.script(point, [Act::Hang]);
    tally.in_background(async move {
        tokio::time::sleep(STEP_TIMEOUT * 3).await;
        steering.release(point, 1);
    });
}

/// Does the `number`th disruption of the plan.
pub async fn disrupt(plan: Plan, number: u64, pool: &Pool, models: &[Model], tally: &Tally) {
    let mut dice = Dice::of(&plan, 2, number);
    let kind = Disruption::ALL[dice.below(Disruption::ALL.len() as u64) as usize];
    let model = &models[dice.below(models.len() as u64) as usize];
    let steering = &model.steering;
    let few = 1 + dice.below(3) as usize;
    let grace = Duration::from_millis(dice.below(4) * 20);
    tally.disrupted(kind);
    match kind {
        Disruption::StepPanics => steering.script(Point::Step, vec![Act::Panic; few]),
        Disruption::EmitPanics => steering.script(Point::Emit, [Act::Panic]),
        Disruption::FreePanics => steering.script(Point::Free, [Act::Panic]),
        Disruption::StepFails => steering.script(Point::Step, vec![Act::Fail; few]),
        Disruption::StepHangs => hang(model, Point::Step, tally),
        Disruption::LoadsFail => steering.script(Point::Load, vec![Act::Fail; few]),
        Disruption::LoadPanics => steering.script(Point::Load, [Act::Panic]),
        Disruption::LoadHangs => hang(model, Point::Load, tally),
        Disruption::ReleasesHung => release_hung(model),
        Disruption::Flood => flood(plan, number, model, tally).await,
        Disruption::Pins => {
            let pinned = dice.once_in(2);
            // Pinned for ever, one model could keep another out: the other's callers then expire.
            let changed = match &model.asked() {
                Asked::Once(handle) => pool.pin(handle, pinned),
                Asked::Stream(handle) => pool.pin(handle, pinned),
            };
            // A guest may just have left.
            tally.expect(changed.is_ok() || model.is_guest, || {
                format!("pin {}: {changed:?}", model.name)
            });
        }
        Disruption::Warms => {
            let (pool, asked) = (pool.clone(), model.asked());
            // Whether it can be warmed just now is the pool's affair; that it answers is ours.
            tally.in_background(async move {
                match asked {
                    Asked::Once(handle) => drop(pool.warm(&handle).await),
                    Asked::Stream(handle) => drop(pool.warm(&handle).await),
                }
            });
        }
        Disruption::Retires => {
            let (pool, asked) = (pool.clone(), model.asked());
            tally.in_background(async move {
                match asked {
                    Asked::Once(handle) => drop(pool.retire(&handle, grace).await),
                    Asked::Stream(handle) => drop(pool.retire(&handle, grace).await),
                }
            });
        }
        Disruption::Replaces | Disruption::Leaves => {
            let guests: Vec<&Model> = models.iter().filter(|model| model.is_guest).collect();
            let guest = guests[dice.below(guests.len() as u64) as usize].clone();
            let pool = pool.clone();
            // It may not come to pass: the guest is changing already, or its new version does not
            // load. What must hold is that its callers hear, and that it comes back.
            tally.in_background(async move {
                if kind == Disruption::Replaces {
                    drop(guest.replace(&pool, grace).await);
                } else {
                    drop(guest.leave_and_return(&pool, grace).await);
                }
            });
        }
        Disruption::TakesMemory => steering.script(Point::Step, [Act::Take(1 << 20)]),
    }
}
