//! Stable Diffusion's pipelines: tiny random ones beside diffusers, and spoilt ones.

#[path = "latent_diffusion/bad_files.rs"]
mod bad_files;
#[path = "latent_diffusion/parity.rs"]
mod parity;
#[path = "latent_diffusion/pipeline.rs"]
mod pipeline;
#[path = "latent_diffusion/pool.rs"]
mod pool;
#[path = "latent_diffusion/scrap.rs"]
mod scrap;
#[path = "latent_diffusion/threads.rs"]
mod threads;
