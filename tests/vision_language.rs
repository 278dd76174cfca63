//! Vision-language models: each stage beside transformers, and the capability as a service sees it.

#[path = "vision_language/parity.rs"]
mod parity;
#[path = "vision_language/reference.rs"]
mod reference;
