//! Everything that takes bytes from outside, as functions that must come back whatever they are
//! given. `fuzz/` drives them by coverage, `tests/fuzz_replay.rs` by a corpus and fixed mutations.

mod files;
mod folder;
mod hub;
mod inputs;
#[allow(dead_code, reason = "the fuzzer brings mutations of its own")]
pub mod mutation;
mod ocr;
mod painting;
mod pictures;

/// A function under test.
pub type Target = fn(&[u8]);

/// All of them, by the names that the fuzzer's programs and the corpus's folders have.
#[allow(dead_code, reason = "each of the fuzzer's programs drives one")]
pub const TARGETS: [(&str, Target); 21] = [
    ("gguf", files::gguf),
    ("gguf_model", files::gguf_model),
    ("static_weights", files::static_weights),
    ("static_folder", files::static_folder),
    ("encoder_folder", files::encoder_folder),
    ("decoder_folder", files::decoder_folder),
    ("tokenizer_folder", files::tokenizer_folder),
    ("hub_answers", hub::hub_answers),
    ("options", inputs::options),
    ("texts", inputs::texts),
    ("sampling", inputs::sampling),
    ("stop_strings", inputs::stop_strings),
    ("templates", inputs::templates),
    ("constraints", inputs::constraints),
    ("onnx", files::onnx),
    ("pth", files::pth),
    ("pictures", pictures::pictures),
    ("picture_texts", pictures::picture_texts),
    ("preprocessor", pictures::preprocessor),
    ("schedules", painting::schedules),
    ("text_lines", ocr::text_lines),
];

/// Runs a target for the fuzzer, which would take any panic for a crash: one that is caught, as
/// those of a library that reads a contradictory file, is none.
///
/// # Panics
/// If there is no target of this name.
#[allow(dead_code, reason = "for the fuzzer's programs")]
pub fn drive(name: &str, bytes: &[u8]) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))));
    if std::panic::catch_unwind(|| target(name)(bytes)).is_err() {
        std::process::abort();
    }
}

/// The target of this name.
///
/// # Panics
/// If there is none.
#[allow(dead_code, reason = "the replay drives them all")]
pub fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    found.expect("a target of this name").1
}
