//! Tiny random checkpoints of each family against their reference implementations.

use std::path::Path;
use std::sync::Arc;

use modelpool::model::ModelInfo;
use modelpool::models::{
    EncoderFolder, EncoderPrecision, EncoderPreparer, EncoderWeights, TextEncoder,
};
use modelpool::pool::capabilities::text_embedding::{
    EmbedOptions, EmbedTask, TextEmbeddingCapable, TextPreparer,
};
use modelpool::pool::core::StepContext;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use super::{Loaded, Scrap, cosine, data, max_difference, read_rows, read_texts};

const FAMILIES: [&str; 10] = [
    "bert",
    "roberta",
    "xlm-roberta",
    "distilbert",
    "mpnet",
    "modernbert",
    "nomic_bert",
    "jina_bert",
    "qwen3",
    "t5",
];

/// How far a value may be from the reference's: where floats are multiplied as the sums of shorter ones, in
/// relation to the vector's largest value if that is above 1, since models that do not normalise have some of 50.
fn allowed(precision: EncoderPrecision, wanted: &[f32]) -> f32 {
    let largest = wanted
        .iter()
        .fold(1.0, |most: f32, value| most.max(value.abs()));
    match precision {
        EncoderPrecision::F32Exact => 1e-4,
        _ => 1e-4 * largest,
    }
}

/// Embeds the common texts, together and one by one, and compares with the reference.
fn check(folder: &Path, reference: &str, options: &EmbedOptions) {
    for precision in [EncoderPrecision::F32, EncoderPrecision::F32Exact] {
        check_as(precision, folder, reference, options);
    }
}

fn check_as(precision: EncoderPrecision, folder: &Path, reference: &str, options: &EmbedOptions) {
    let opened = EncoderFolder::open_with(folder, precision).expect("a folder");
    let mut model = Loaded::load(&opened).expect("weights");
    let texts = read_texts(&data("."));
    let wanted = read_rows(&folder.join(reference), texts.len());
    let inputs: Vec<_> = texts
        .iter()
        .map(|text| {
            model
                .preparer
                .prepare(text.clone(), options)
                .expect("tokens")
        })
        .collect();
    let mut worst = 0.0_f32;
    let mut least = 1.0_f64;
    for threads in [1, 2] {
        let got = model.step(&inputs, threads);
        for (number, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
            let difference = max_difference(got, wanted);
            let tokens = inputs[number].tokens.len();
            assert!(
                difference <= allowed(precision, wanted),
                "{} {precision:?}: text {number} of {tokens} tokens on {threads} threads: {difference}",
                folder.display()
            );
            worst = worst.max(difference);
            least = least.min(cosine(got, wanted));
        }
        for (input, together) in inputs.iter().zip(&got) {
            let alone = model.step(std::slice::from_ref(input), 1);
            assert!(max_difference(&alone[0], together) <= 1e-5);
        }
    }
    println!(
        "{}/{reference} {precision:?}: max abs diff {worst:e}, least cosine {least}",
        folder.display()
    );
}

fn check_family(name: &str) {
    check(&data(name), "embeddings.f32", &EmbedOptions::default());
}

#[test]
fn bert_with_old_tensor_names_and_cls_pooling() {
    check_family("bert");
}

#[test]
fn roberta_in_shards_with_mean_and_max_pooling() {
    check_family("roberta");
}

#[test]
fn xlm_roberta_with_a_dense_layer() {
    check_family("xlm-roberta");
}

#[test]
fn prompts_are_put_before_the_text() {
    for (name, task) in [
        ("query", EmbedTask::Query),
        ("query", EmbedTask::Named("query".to_owned())),
        ("passage", EmbedTask::Named("passage".to_owned())),
    ] {
        let options = EmbedOptions {
            task,
            dimensions: None,
        };
        check(&data("xlm-roberta"), &format!("{name}.f32"), &options);
    }
}

#[test]
fn fewer_dimensions_are_normalised_again() {
    let options = EmbedOptions {
        task: EmbedTask::Default,
        dimensions: Some(8),
    };
    check(&data("xlm-roberta"), "short.f32", &options);
}

#[test]
fn a_bare_distilbert_folder() {
    check_family("distilbert");
}

#[test]
fn t5_without_a_scale_of_attention_scores() {
    check_family("t5");
}

#[test]
fn mpnet_in_f16_with_relative_positions() {
    check_family("mpnet");
}

#[test]
fn modernbert_in_bf16_with_local_attention() {
    check_family("modernbert");
}

/// A table of words that is read in parts, in each element type: wherever in it a word stands.
#[test]
fn a_large_table_of_words_is_read_whole() {
    for (family, words) in [
        ("bert", "bert.embeddings.word_embeddings.weight"),
        ("mpnet", "embeddings.word_embeddings.weight"),
        ("modernbert", "embeddings.tok_embeddings.weight"),
    ] {
        let mut small = Loaded::open(&data(family));
        let scrap = Scrap::copy_of(family);
        let vocabulary = repeat_rows(&scrap, words, 100);
        scrap.edit_json("config.json", |config| {
            config["vocab_size"] = (100 * vocabulary).into();
        });
        let mut large = Loaded::open(scrap.path());
        let options = EmbedOptions::default();
        let input = small.preparer.prepare("the dog".to_owned(), &options);
        let input = input.expect("tokens");
        let wanted = small.step(std::slice::from_ref(&input), 1);
        for place in 0..100 {
            let mut input = input.clone();
            for token in &mut input.tokens {
                *token += (place * vocabulary) as u32;
            }
            let got = large.step(&[input], 1);
            assert_eq!(got, wanted, "{family}, {place}");
        }
    }
}

/// Puts a tensor's rows into the checkpoint so many `times`; how many it had.
fn repeat_rows(scrap: &Scrap, name: &str, times: usize) -> usize {
    let file = "model.safetensors";
    let bytes = scrap.read(file);
    let tensors = SafeTensors::deserialize(&bytes).expect("a checkpoint");
    let few = tensors.tensor(name).expect("a tensor");
    let many = few.data().repeat(times);
    let rows = few.shape()[0];
    let shape = vec![times * rows, few.shape()[1]];
    let repeated = TensorView::new(few.dtype(), shape, &many).expect("a tensor");
    let put = |(other, view)| match other == name {
        true => (other, repeated.clone()),
        false => (other, view),
    };
    let all = safetensors::serialize(tensors.tensors().into_iter().map(put), None);
    scrap.write(file, &all.expect("a checkpoint"));
    rows
}

#[test]
fn nomic_bert_in_the_fields_of_its_own_code() {
    check_family("nomic_bert");
}

#[test]
fn nomic_bert_in_the_fields_of_transformers() {
    let scrap = Scrap::copy_of("nomic_bert");
    scrap.write("config.json", &scrap.read("config.transformers.json"));
    check(scrap.path(), "embeddings.f32", &EmbedOptions::default());
}

#[test]
fn jina_bert_with_alibi() {
    check_family("jina_bert");
}

#[test]
fn jina_bert_with_other_gates() {
    for kind in ["reglu", "swiglu"] {
        let scrap = Scrap::copy_of("jina_bert");
        scrap.edit_json("config.json", |config| {
            config["feed_forward_type"] = kind.into()
        });
        check(
            scrap.path(),
            &format!("{kind}.f32"),
            &EmbedOptions::default(),
        );
    }
}

#[test]
fn camembert_is_a_roberta() {
    let scrap = Scrap::copy_of("roberta");
    scrap.edit_json("config.json", |config| {
        config["model_type"] = "camembert".into()
    });
    check(scrap.path(), "embeddings.f32", &EmbedOptions::default());
}

#[test]
fn a_dense_layer_has_the_activation_of_its_configuration() {
    let dense = |activation: &str| {
        let scrap = Scrap::copy_of("xlm-roberta");
        scrap.edit_json("2_Dense/config.json", |config| {
            config["activation_function"] = activation.into();
        });
        scrap.edit_json("modules.json", |modules| {
            modules.as_array_mut().expect("a list").pop();
        });
        let mut model = Loaded::open(scrap.path());
        let inputs = [
            model.prepare("What is the capital of France?"),
            model.prepare(""),
        ];
        model.step(&inputs, 1).concat()
    };
    let plain = dense("torch.nn.modules.linear.Identity");
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let relu = |x: f64| x.max(0.0);
    let cases: [(&str, &dyn Fn(f64) -> f64); 4] = [
        ("Tanh", &f64::tanh),
        ("ReLU", &relu),
        ("SiLU", &|x| x * sigmoid(x)),
        ("Sigmoid", &sigmoid),
    ];
    for (name, function) in cases {
        let got = dense(&format!("torch.nn.modules.activation.{name}"));
        let wanted: Vec<f32> = plain
            .iter()
            .map(|x| function(f64::from(*x)) as f32)
            .collect();
        assert!(max_difference(&got, &wanted) <= 1e-6, "{name}");
    }
}

#[test]
fn qwen3_with_shared_heads_and_last_token_pooling() {
    check_family("qwen3");
}

/// The other instruction sets have other register widths and counts, so other panels and tiles.
#[test]
fn every_instruction_set_gives_the_same_embeddings() {
    let texts = read_texts(&data("."));
    for (family, precision) in FAMILIES.iter().flat_map(|family| {
        [EncoderPrecision::F32, EncoderPrecision::F32Exact].map(|as_| (family, as_))
    }) {
        let folder = data(family);
        let wanted = read_rows(&folder.join("embeddings.f32"), texts.len());
        let sets = EncoderFolder::open_for_each_instruction_set(&folder, precision);
        let sets = sets.expect("a folder");
        assert!(sets.len() >= 2);
        for (set, folder) in sets {
            let mut model = Loaded::load(&folder).expect("a model");
            let inputs: Vec<_> = texts.iter().map(|text| model.prepare(text)).collect();
            for (got, wanted) in model.step(&inputs, 2).iter().zip(&wanted) {
                let difference = max_difference(got, wanted);
                let allowed = allowed(precision, wanted);
                assert!(
                    difference <= allowed,
                    "{family} {precision:?} with {set}: {difference}"
                );
            }
        }
    }
}

#[test]
fn folders_weights_and_preparers_are_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<EncoderFolder>();
    shared::<EncoderWeights>();
    shared::<EncoderPreparer>();

    let folder = EncoderFolder::open(data("bert")).expect("a folder");
    let weights = Arc::new(folder.load().expect("weights"));
    let preparer = folder.preparer().expect("a tokenizer");
    let input = preparer.prepare("the dog".to_owned(), &EmbedOptions::default());
    let input = input.expect("tokens");
    let embed = || {
        let mut encoder = TextEncoder::new(ModelInfo::new("one", 1), Arc::clone(&weights));
        let answers = encoder
            .embed_step(&[&input], &StepContext::new(1))
            .expect("a step");
        answers
            .into_iter()
            .next()
            .expect("one")
            .expect("an embedding")
    };
    // What is shown of them in an error or a log is short: no weights, no vocabulary.
    let encoder = TextEncoder::new(ModelInfo::new("one", 1), Arc::clone(&weights));
    let shown = format!("{encoder:?}{preparer:?}");
    assert!(shown.len() < 1000, "{shown}");

    let here = embed();
    std::thread::scope(|scope| {
        for other in [scope.spawn(embed), scope.spawn(embed)] {
            assert_eq!(other.join().expect("no panic"), here);
        }
    });
}

#[test]
fn a_folder_says_what_it_holds_without_loading_it() {
    let folder = EncoderFolder::open(data("xlm-roberta")).expect("a folder");
    assert_eq!(folder.architecture(), "xlm-roberta");
    assert_eq!(folder.dimensions(), 24);
    assert_eq!(folder.max_tokens(), 128);
    assert!(folder.weight_bytes() > 100_000 && folder.weight_bytes() < 200_000);
    assert!(folder.estimated_bytes() > folder.weight_bytes());
    // Mean and max, end to end.
    assert_eq!(
        EncoderFolder::open(data("roberta"))
            .expect("a folder")
            .dimensions(),
        72
    );
}
