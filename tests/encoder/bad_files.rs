//! Broken folders: each fault has its own error, and none is a panic or a huge allocation.

use std::collections::HashMap;

use modelpool::models::{EncoderFolder, ModelError};
use modelpool::pool::capabilities::text_embedding::{
    EmbedOptions, TextEmbeddingCapable, TextPreparer,
};
use modelpool::pool::core::StepContext;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::{Loaded, Scrap};

/// The error of opening, loading or preparing a folder.
fn fault(scrap: &Scrap) -> ModelError {
    match Loaded::try_open(scrap.path()) {
        Ok(_) => panic!("{} was loaded", scrap.path().display()),
        Err(error) => error,
    }
}

macro_rules! assert_fault {
    ($scrap:expr, $pattern:pat $(if $guard:expr)?) => {
        let error = fault(&$scrap);
        assert!(matches!(&error, $pattern $(if $guard)?), "{error:?}");
        // Messages are of lower case and name what is wrong.
        assert!(!error.to_string().is_empty());
    };
}

#[test]
fn a_missing_file_is_named() {
    for (family, file) in [
        ("bert", "config.json"),
        ("bert", "model.safetensors"),
        ("bert", "tokenizer.json"),
        ("bert", "1_Pooling/config.json"),
        ("xlm-roberta", "2_Dense/config.json"),
        ("xlm-roberta", "2_Dense/model.safetensors"),
        ("roberta", "model-00002-of-00003.safetensors"),
    ] {
        let scrap = Scrap::copy_of(family);
        scrap.remove(file);
        assert_fault!(scrap, ModelError::MissingFile { path } if path.ends_with(file));
    }
    let nowhere = EncoderFolder::open("/nowhere/at/all");
    assert!(matches!(nowhere, Err(ModelError::MissingFile { .. })));
}

#[test]
fn a_path_of_the_wrong_kind_is_named() {
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let scrap = Scrap::copy_of("bert");
        scrap.remove(file);
        std::fs::create_dir(scrap.path().join(file)).expect("a directory");
        assert_fault!(
            scrap,
            ModelError::WrongFileKind { path, expected: "a file" } if path.ends_with(file)
        );
    }
    let scrap = Scrap::copy_of("bert");
    let file = EncoderFolder::open(scrap.path().join("config.json"));
    assert!(matches!(
        file,
        Err(ModelError::WrongFileKind {
            expected: "a directory",
            ..
        })
    ));
}

#[test]
fn a_damaged_file_is_corrupt() {
    for file in [
        "config.json",
        "modules.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "1_Pooling/config.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
    ] {
        for content in [&b"{"[..], b"", b"\xff\xfe"] {
            let scrap = Scrap::copy_of("bert");
            scrap.write(file, content);
            assert_fault!(scrap, ModelError::Corrupt { path, .. } if path.ends_with(file));
        }
    }
    let scrap = Scrap::copy_of("bert");
    scrap.write("tokenizer.json", br#"{"model": 3}"#);
    assert_fault!(scrap, ModelError::Corrupt { .. });
    // A template for special tokens that the tokenizer does not have.
    let scrap = Scrap::copy_of("bert");
    scrap.edit_json("tokenizer.json", |tokenizer| {
        tokenizer["post_processor"]["special_tokens"] = serde_json::json!({});
    });
    assert_fault!(scrap, ModelError::Corrupt { path, .. } if path.ends_with("tokenizer.json"));
}

#[test]
fn weights_cut_at_any_place_are_corrupt() {
    let whole = Scrap::copy_of("bert").read("model.safetensors");
    let scrap = Scrap::copy_of("bert");
    for length in [0, 1, 7, 8, 9, 100, 4000, whole.len() / 2, whole.len() - 1] {
        scrap.write("model.safetensors", &whole[..length]);
        assert_fault!(scrap, ModelError::Corrupt { path, .. } if path.ends_with("model.safetensors"));
    }
}

#[test]
fn a_header_that_lies_is_corrupt_and_allocates_nothing() {
    let header = |json: &str| {
        let mut file = (json.len() as u64).to_le_bytes().to_vec();
        file.extend(json.as_bytes());
        file.extend([0; 64]);
        file
    };
    let scrap = Scrap::copy_of("bert");
    for content in [
        u64::MAX.to_le_bytes().to_vec(),
        (1_u64 << 40).to_le_bytes().to_vec(),
        header("[]"),
        header("{\"a\": 1}"),
        header(r#"{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 15]}}"#),
        header(r#"{"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}"#),
        header(r#"{"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}"#),
        header(
            r#"{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}"#,
        ),
        header(
            r#"{"a": {"dtype": "F32", "shape": [1099511627776], "data_offsets": [0, 4398046511104]}}"#,
        ),
        header(
            r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [18446744073709551600, 18446744073709551604]}}"#,
        ),
    ] {
        scrap.write("model.safetensors", &content);
        assert_fault!(scrap, ModelError::Corrupt { .. });
    }
}

#[test]
fn weights_cut_after_opening_are_corrupt() {
    let scrap = Scrap::copy_of("bert");
    let folder = EncoderFolder::open(scrap.path()).expect("a folder");
    let whole = scrap.read("model.safetensors");
    scrap.write("model.safetensors", &whole[..whole.len() / 2]);
    assert!(matches!(folder.load(), Err(ModelError::Corrupt { .. })));
}

#[test]
fn an_index_may_not_lead_out_of_the_folder() {
    for name in ["../model.safetensors", "/etc/passwd", "a/b", "", "."] {
        let scrap = Scrap::copy_of("roberta");
        scrap.edit_json("model.safetensors.index.json", |index| {
            index["weight_map"]["embeddings.word_embeddings.weight"] = name.into();
        });
        assert_fault!(scrap, ModelError::Corrupt { .. });
    }
    let scrap = Scrap::copy_of("bert");
    scrap.edit_json("modules.json", |modules| {
        modules[1]["path"] = "../..".into()
    });
    assert_fault!(scrap, ModelError::InvalidConfig { field, .. } if field == "path");
}

#[test]
fn a_missing_tensor_is_named() {
    for name in [
        "bert.embeddings.word_embeddings.weight",
        "bert.encoder.layer.1.output.dense.bias",
    ] {
        let scrap = Scrap::copy_of("bert");
        scrap.edit_header(|header| header.replace(name, &"x".repeat(name.len())));
        let known = name.ends_with("bias").then_some(name);
        assert_fault!(
            scrap,
            ModelError::MissingTensor { tensor } if known.is_none_or(|known| known == tensor)
        );
    }
}

#[test]
fn a_tensor_of_another_shape_is_named() {
    let scrap = Scrap::copy_of("bert");
    scrap.edit_json("config.json", |config| {
        config["intermediate_size"] = 47.into()
    });
    assert_fault!(
        scrap,
        ModelError::WrongShape { tensor, expected, found }
            if tensor == "bert.encoder.layer.0.intermediate.dense.weight"
                && *expected == [47, 32] && *found == [48, 32]
    );
    // Claims of a size that no machine has fail at the same check, before anything is made.
    let scrap = Scrap::copy_of("bert");
    scrap.edit_json("config.json", |config| {
        config["vocab_size"] = 16_000_000.into()
    });
    assert_fault!(scrap, ModelError::WrongShape { .. });
}

#[test]
fn whole_numbers_are_no_weights() {
    let scrap = Scrap::copy_of("bert");
    scrap.edit_header(|header| header.replacen("\"F32\"", "\"I32\"", 1));
    assert_fault!(scrap, ModelError::WrongDtype { found, .. } if found == "I32");
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let name = "transformer.layer.1.ffn.lin1.weight";
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let scrap = Scrap::copy_of("distilbert");
        scrap.edit_tensor(name, |values| values[5] = value);
        assert_fault!(scrap, ModelError::NotFiniteWeights { tensor } if tensor == name);
    }
}

#[test]
fn weights_that_are_not_finite_are_named_however_wide_their_rows_are() {
    const WIDE: usize = 70_000;
    let scrap = Scrap::copy_of("distilbert");
    scrap.edit_json("config.json", |config| {
        config["n_layers"] = 1.into();
        config["hidden_dim"] = WIDE.into();
    });
    let file = scrap.read("model.safetensors");
    let old = SafeTensors::deserialize(&file).expect("a checkpoint");
    let narrow = vec![0; WIDE * 32 * 4];
    let mut wide = narrow.clone();
    // The very last value.
    wide[WIDE * 32 * 4 - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let name = "transformer.layer.0.ffn.lin2.weight";
    let changed = [
        (
            "transformer.layer.0.ffn.lin1.weight",
            vec![WIDE, 32],
            &narrow[..],
        ),
        (
            "transformer.layer.0.ffn.lin1.bias",
            vec![WIDE],
            &narrow[..WIDE * 4],
        ),
        (name, vec![32, WIDE], &wide[..]),
    ];
    let mut tensors: HashMap<String, TensorView<'_>> = old
        .tensors()
        .into_iter()
        .filter(|(name, _)| !name.contains("layer.1."))
        .collect();
    for (name, shape, bytes) in changed {
        let tensor = TensorView::new(Dtype::F32, shape, bytes).expect("a tensor");
        tensors
            .insert(name.to_owned(), tensor)
            .expect("one of that name");
    }
    let new = safetensors::serialize(tensors, None).expect("a checkpoint");
    scrap.write("model.safetensors", &new);
    assert_fault!(scrap, ModelError::NotFiniteWeights { tensor } if tensor == name);
}

#[test]
fn an_unknown_architecture_lists_the_known_ones() {
    let scrap = Scrap::copy_of("bert");
    scrap.edit_json("config.json", |config| {
        config["model_type"] = "deberta-v2".into()
    });
    assert_fault!(
        scrap,
        ModelError::UnsupportedArchitecture { found, supported }
            if found == "deberta-v2" && supported.contains(&"modernbert")
    );
    let scrap = Scrap::copy_of("bert");
    scrap.edit_json("config.json", |config| {
        config["position_embedding_type"] = "relative_key".into();
    });
    assert_fault!(scrap, ModelError::UnsupportedArchitecture { .. });
    let scrap = Scrap::copy_of("bert");
    scrap.edit_json("modules.json", |modules| {
        modules[2]["type"] = "sentence_transformers.models.LSTM".into();
    });
    assert_fault!(scrap, ModelError::UnsupportedArchitecture { found, .. } if found == "module LSTM");
}

#[test]
fn weights_that_the_architecture_has_no_use_for_are_not_passed_over() {
    let scrap = Scrap::copy_of("bert");
    scrap.edit_json("config.json", |config| {
        config["num_hidden_layers"] = 1.into()
    });
    assert_fault!(
        scrap,
        ModelError::UnsupportedArchitecture { found, .. } if found.contains("encoder.layer.1")
    );
}

#[test]
fn fields_that_make_no_sense_are_named() {
    let config = |field: &str, value: serde_json::Value| {
        let scrap = Scrap::copy_of("bert");
        scrap.edit_json("config.json", |config| config[field] = value);
        (field.to_owned(), scrap)
    };
    let mut cases = vec![
        config("hidden_size", 0.into()),
        config("hidden_size", (-3).into()),
        config("hidden_size", "wide".into()),
        config("hidden_size", serde_json::Value::Null),
        config("hidden_size", u64::MAX.into()),
        config("num_attention_heads", 5.into()),
        config("num_hidden_layers", 100_000.into()),
        config("hidden_act", "snake".into()),
        config("layer_norm_eps", "small".into()),
        config("layer_norm_eps", (-1.0).into()),
        config("is_decoder", true.into()),
        config("model_type", 3.into()),
    ];
    let other = |family: &str, file: &str, field: &str, value: serde_json::Value| {
        let scrap = Scrap::copy_of(family);
        scrap.edit_json(file, |config| config[field] = value);
        (field.to_owned(), scrap)
    };
    let roberta = |field, value| other("roberta", "config.json", field, value);
    let modern = |field, value| other("modernbert", "config.json", field, value);
    let qwen = |field, value| other("qwen3", "config.json", field, value);
    let nomic = |field, value| other("nomic_bert", "config.json", field, value);
    let t5 = |field, value| other("t5", "config.json", field, value);
    let dense = |field, value| other("xlm-roberta", "2_Dense/config.json", field, value);
    let pooling = |field, value| other("bert", "1_Pooling/config.json", field, value);
    let sentence = |field, value| other("bert", "sentence_bert_config.json", field, value);
    let prompts = |field, value| other("bert", "config_sentence_transformers.json", field, value);
    cases.extend([
        roberta("max_position_embeddings", 2.into()),
        modern("layer_types", serde_json::json!(["full_attention"])),
        modern("rope_scaling", serde_json::json!({"type": "yarn"})),
        other(
            "jina_bert",
            "config.json",
            "feed_forward_type",
            "original".into(),
        ),
        qwen("use_sliding_window", true.into()),
        qwen("is_causal", false.into()),
        qwen("num_key_value_heads", 3.into()),
        nomic("rotary_emb_fraction", 0.5.into()),
        nomic("prenorm", true.into()),
        nomic("rotary_emb_base", (-5).into()),
        t5("feed_forward_proj", "gated-snake".into()),
        t5("relative_attention_num_buckets", 16.into()),
        t5("relative_attention_max_distance", 64.into()),
        t5("num_layers", 100_000.into()),
        t5("d_ff", 0.into()),
        dense("in_features", 31.into()),
        dense("activation_function", "builtins.exec".into()),
        dense("use_residual", true.into()),
        pooling("pooling_mode", "median".into()),
        pooling("include_prompt", false.into()),
        pooling("embedding_dimension", 31.into()),
        sentence("max_seq_length", 0.into()),
        sentence("max_seq_length", 2.into()),
        prompts("default_prompt_name", "nobody".into()),
        prompts("prompts", 3.into()),
    ]);
    for (field, scrap) in cases {
        let error = fault(&scrap);
        assert!(
            matches!(&error, ModelError::InvalidConfig { field: named, .. } if *named == field),
            "{field}: {error:?}"
        );
    }
}

/// Whatever a file says, it is read or refused; this ends in neither a panic nor a vast allocation.
#[test]
fn changed_bytes_never_panic() {
    let files = [
        ("bert", "config.json"),
        ("bert", "modules.json"),
        ("bert", "1_Pooling/config.json"),
        ("bert", "tokenizer.json"),
        ("bert", "tokenizer_config.json"),
        ("bert", "model.safetensors"),
        ("modernbert", "config.json"),
        ("nomic_bert", "config.json"),
        ("qwen3", "config.json"),
        ("roberta", "model.safetensors.index.json"),
        ("xlm-roberta", "2_Dense/config.json"),
        ("xlm-roberta", "tokenizer.json"),
        ("xlm-roberta", "config_sentence_transformers.json"),
    ];
    let mut random = fastrand::Rng::with_seed(7);
    for (family, file) in files {
        let scrap = Scrap::copy_of(family);
        let whole = scrap.read(file);
        let reach = whole.len().min(6000);
        for _ in 0..60 {
            let mut changed = whole.clone();
            for _ in 0..random.usize(1..4) {
                let digits = b"0123456789-.\"{}[],:ae ";
                changed[random.usize(..reach)] = digits[random.usize(..digits.len())];
            }
            scrap.write(file, &changed);
            if let Ok(mut model) = Loaded::try_open(scrap.path()) {
                let options = EmbedOptions::default();
                if let Ok(input) = model.preparer.prepare("the dog".to_owned(), &options) {
                    let step = model.encoder.embed_step(&[&input], &StepContext::new(1));
                    assert!(step.is_ok());
                }
            }
        }
    }
}
