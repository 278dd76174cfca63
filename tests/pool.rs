//! The pool as a service sees it, driven through the steerable model.

#[path = "pool/containers.rs"]
mod containers;
#[path = "pool/deadlines.rs"]
mod deadlines;
#[path = "pool/devices.rs"]
mod devices;
#[path = "pool/draining.rs"]
mod draining;
#[path = "pool/failure.rs"]
mod failure;
#[path = "pool/fairness.rs"]
mod fairness;
#[path = "pool/gates.rs"]
mod gates;
#[path = "pool/health.rs"]
mod health;
#[path = "pool/lifecycle.rs"]
mod lifecycle;
#[path = "pool/memory.rs"]
mod memory;
#[path = "pool/overload.rs"]
mod overload;
#[path = "pool/preparing.rs"]
mod preparing;
#[path = "pool/pressure.rs"]
mod pressure;
#[path = "pool/replacing.rs"]
mod replacing;
#[path = "pool/requests.rs"]
mod requests;
#[path = "pool/settings.rs"]
mod settings;
#[path = "pool/sharing.rs"]
mod sharing;
#[path = "pool/stalls.rs"]
mod stalls;
#[path = "pool/threads.rs"]
mod threads;
#[path = "pool/universe.rs"]
mod universe;
