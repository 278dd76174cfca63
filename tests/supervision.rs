//! How supervision holds where a model breaks what it does not own: a process of its own, since
//! some of that stays broken for as long as the process lives.

#[path = "supervision/breaker.rs"]
mod breaker;
#[path = "supervision/candle_lock.rs"]
mod candle_lock;
#[path = "supervision/models.rs"]
mod models;
#[path = "supervision/recovery.rs"]
mod recovery;
#[allow(dead_code, reason = "no test here waits for an event")]
#[path = "pool/universe.rs"]
mod universe;
