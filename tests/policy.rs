//! The pure policy: literal times by table, and random schedules against a ledger.

#[path = "policy/failures.rs"]
mod failures;
#[path = "policy/machine.rs"]
mod machine;
#[path = "policy/random.rs"]
mod random;
#[path = "policy/rules.rs"]
mod rules;
#[path = "policy/setting.rs"]
mod setting;
#[path = "policy/short.rs"]
mod short;
#[path = "policy/table.rs"]
mod table;
#[path = "policy/watch.rs"]
mod watch;
#[path = "policy/weights.rs"]
mod weights;
#[path = "policy/world.rs"]
mod world;
