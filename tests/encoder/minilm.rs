//! The real all-MiniLM-L6-v2 against sentence-transformers.

use super::{
    EncoderFolder, EncoderPrecision, Loaded, cosine, data, max_difference, read_rows, read_texts,
    real_models,
};

#[test]
fn two_hundred_texts_are_embedded_as_by_sentence_transformers() {
    for (precision, allowed) in [
        (EncoderPrecision::F32, 1e-5),
        (EncoderPrecision::F32Exact, 2e-6),
    ] {
        let folder = EncoderFolder::open_with(real_models::minilm(), precision);
        let mut model = Loaded::load(&folder.expect("a folder")).expect("weights");
        let texts = read_texts(&data("minilm"));
        let wanted = read_rows(&data("minilm").join("embeddings.f32"), texts.len());
        let inputs: Vec<_> = texts.iter().map(|text| model.prepare(text)).collect();

        let mut worst = 0.0_f32;
        let mut least = 1.0_f64;
        let mut batched = Vec::new();
        for group in inputs.chunks(7) {
            batched.extend(model.step(group, 2));
        }
        for (number, (got, wanted)) in batched.iter().zip(&wanted).enumerate() {
            let difference = max_difference(got, wanted);
            assert!(
                difference <= allowed,
                "{precision:?}, text {number}: {difference}"
            );
            worst = worst.max(difference);
            least = least.min(cosine(got, wanted));
        }
        assert!(least >= 0.99999, "cosine {least}");
        println!("all-MiniLM-L6-v2 {precision:?}: max abs diff {worst:e}, least cosine {least}");

        // A text alone, on one thread, gives what it gave among others on two.
        for number in (0..inputs.len()).step_by(9) {
            let alone = model.step(&inputs[number..=number], 1);
            let difference = max_difference(&alone[0], &batched[number]);
            assert!(difference <= 1e-5, "text {number}: {difference}");
        }
    }
}

#[test]
fn order_and_company_do_not_change_an_embedding() {
    let mut model = Loaded::open(&real_models::minilm());
    let texts = read_texts(&data("minilm"));
    let inputs: Vec<_> = texts[..24].iter().map(|text| model.prepare(text)).collect();
    let forward = model.step(&inputs, 1);
    let reversed: Vec<_> = inputs.iter().rev().cloned().collect();
    for threads in [1, 2, 3] {
        let backward = model.step(&reversed, threads);
        for (one, other) in forward.iter().zip(backward.iter().rev()) {
            assert!(max_difference(one, other) <= 1e-5);
        }
    }
}

#[test]
fn bytes_cost_little() {
    // The table of words, which is half of this model, stays as it is.
    let least = costs(EncoderPrecision::Int8, 66);
    assert!(least >= 0.995, "cosine {least}");
}

#[test]
fn halves_cost_next_to_nothing() {
    let least = costs(EncoderPrecision::Bf16, 77);
    assert!(least >= 0.9999, "cosine {least}");
}

/// The least cosine of a precision's vectors to those in 32-bit floats. Its weights take no more than some hundredths of
/// theirs.
fn costs(precision: EncoderPrecision, hundredths: u64) -> f64 {
    let folder = real_models::minilm();
    let exact = EncoderFolder::open_with(&folder, EncoderPrecision::F32Exact).expect("a folder");
    let rounded = EncoderFolder::open_with(&folder, precision).expect("a folder");
    let (whole, less) = (exact.weight_bytes(), rounded.weight_bytes());
    assert!(less * 100 < whole * hundredths, "{less} of {whole} bytes");
    let mut exact = Loaded::load(&exact).expect("weights");
    let mut rounded = Loaded::load(&rounded).expect("weights");
    let texts = read_texts(&data("minilm"));
    let inputs: Vec<_> = texts.iter().map(|text| exact.prepare(text)).collect();
    let cosines: Vec<f64> = inputs
        .chunks(7)
        .flat_map(|group| {
            let pairs = exact.step(group, 2).into_iter().zip(rounded.step(group, 2));
            pairs
                .map(|(one, other)| cosine(&one, &other))
                .collect::<Vec<_>>()
        })
        .collect();
    let least = cosines.iter().copied().fold(1.0, f64::min);
    let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
    println!("{precision:?}: cosine {mean:.6} on average, {least:.6} at least");
    assert!(
        1.0 - mean <= (1.0 - least) / 2.0,
        "cosine {mean} on average"
    );
    least
}
