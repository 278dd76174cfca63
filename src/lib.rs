//! modelpool

pub mod model;
pub mod models;
pub mod pool;
pub mod sources;
