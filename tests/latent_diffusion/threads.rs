//! A worker computes on threads of its own.

use std::panic::catch_unwind;
use std::sync::mpsc::channel;
use std::time::Duration;

use modelpool::models::DiffusionOptions;
use modelpool::pool::capabilities::text_to_image::{Denoise, TextToImageCapable};
use modelpool::pool::core::StepContext;

use super::pipeline::Pipeline;

/// Latents a side: layers of so many are beyond what candle computes without forking.
const SIDE: usize = 96;

/// Runs every part of a pipeline on one thread of its own.
fn run_all() {
    let options = DiffusionOptions::default().max_pixels(4 * SIDE * SIDE);
    let mut pipeline = Pipeline::load_with("sd15", options);
    let context = StepContext::new(1);
    let tokens = pipeline.tokens("a horse");
    let condition = pipeline.model.encode_prompt(&tokens, &context).unwrap();
    let latents = vec![0.5; 4 * SIDE * SIDE];
    let entry = Denoise {
        latents: &latents,
        width: SIDE,
        height: SIDE,
        timestep: 10.0,
        conditioning: &condition,
        guidance: None,
    };
    pipeline.model.predict(&[entry], &context).unwrap();
    let picture = pipeline.model.decode(&latents, SIDE, SIDE, &context);
    let noise = vec![0.0; latents.len()];
    let encoded = pipeline
        .model
        .encode_picture(&picture.unwrap(), &noise, &context);
    assert_eq!(encoded.unwrap().len(), latents.len());
}

#[test]
fn neither_candles_threads_nor_the_global_ones_are_waited_for() {
    // Whoever takes candle's lock from now on panics.
    let broken = catch_unwind(|| {
        candle_core::utils::barrier_pool().execute(|_| panic!("as the test wants it"));
    });
    assert!(broken.is_err());
    // All threads of the process's pool are held up until the test ends.
    let (release, held) = channel::<()>();
    let held = std::sync::Arc::new(std::sync::Mutex::new(held));
    for _ in 0..rayon::current_num_threads() {
        let held = std::sync::Arc::clone(&held);
        rayon::spawn(move || {
            let held = held.lock().unwrap_or_else(|error| error.into_inner());
            let _ = held.recv();
        });
    }
    let (done, is_done) = channel();
    std::thread::spawn(move || {
        run_all();
        let _ = done.send(());
    });
    let finished = is_done.recv_timeout(Duration::from_secs(120));
    drop(release);
    assert!(finished.is_ok(), "{finished:?}");
}
