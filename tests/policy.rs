//! The pure policy: literal times by table, and random schedules against a ledger.

#[path = "policy/random.rs"]
mod random;
#[path = "policy/short.rs"]
mod short;
#[path = "policy/table.rs"]
mod table;
#[path = "policy/watch.rs"]
mod watch;
#[path = "policy/world.rs"]
mod world;
