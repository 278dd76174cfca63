//! modelpool

pub mod model;
pub mod models;
pub mod pool;
#[cfg(feature = "testing")]
pub mod testing;
