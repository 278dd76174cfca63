//! Broken folders: each fault has its own error, and none is a panic or a huge allocation.

use modelpool::images::PixelTensor;
use modelpool::models::{ModelError, TowerFolder};
use modelpool::pool::core::StepContext;
use modelpool::{ImageEmbedding, ImageEmbeddingCapable, ModelSpec};
use serde_json::{Value, json};

use crate::checkpoints::Scrap;
use crate::reference::{FAMILIES, Loaded, Reference, scrap};

/// The error of opening and loading a folder.
fn fault(scrap: &Scrap) -> ModelError {
    let loaded = TowerFolder::open(scrap.path()).and_then(|folder| {
        folder.load()?;
        folder.preparer()
    });
    match loaded {
        Ok(_) => panic!("{} was loaded", scrap.path().display()),
        Err(error) => error,
    }
}

macro_rules! assert_fault {
    ($scrap:expr, $pattern:pat $(if $guard:expr)?) => {
        let error = fault(&$scrap);
        assert!(matches!(&error, $pattern $(if $guard)?), "{error:?}");
        assert!(!error.to_string().is_empty());
    };
}

#[test]
fn a_missing_file_is_named() {
    for (family, file) in [
        ("clip", "config.json"),
        ("clip", "model.safetensors"),
        ("clip", "preprocessor_config.json"),
        ("clip", "tokenizer.json"),
        ("siglip", "tokenizer.json"),
        ("dinov2", "preprocessor_config.json"),
    ] {
        let scrap = scrap(family);
        scrap.remove(file);
        assert_fault!(scrap, ModelError::MissingFile { path } if path.ends_with(file));
        let spec = ModelSpec::<ImageEmbedding>::folder(scrap.path());
        assert!(matches!(spec, Err(ModelError::MissingFile { .. })));
    }
    let nowhere = ModelSpec::<ImageEmbedding>::folder("/nowhere/at/all");
    assert!(matches!(nowhere, Err(ModelError::MissingFile { .. })));
}

#[test]
fn a_damaged_file_is_corrupt() {
    for file in [
        "config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    ] {
        for content in [&b"{"[..], b"", b"\xff\xfe\0\0\0\0\0\0\0\0\0"] {
            let scrap = scrap("clip");
            scrap.write(file, content);
            assert_fault!(scrap, ModelError::Corrupt { path, .. } if path.ends_with(file));
        }
    }
}

#[test]
fn a_missing_tensor_is_named() {
    for (family, name) in [
        ("clip", "vision_model.embeddings.class_embedding"),
        ("clip", "vision_model.pre_layrnorm.bias"),
        ("clip", "visual_projection.weight"),
        ("clip", "text_projection.weight"),
        ("clip", "text_model.final_layer_norm.weight"),
        ("siglip", "vision_model.head.probe"),
        ("siglip", "vision_model.head.attention.in_proj_bias"),
        ("siglip", "vision_model.head.mlp.fc2.bias"),
        ("siglip", "text_model.head.bias"),
        ("dinov2", "encoder.layer.1.layer_scale2.lambda1"),
        ("dinov2", "embeddings.cls_token"),
        ("dinov2_swiglu", "encoder.layer.2.mlp.weights_in.bias"),
        ("dinov2_with_registers", "embeddings.register_tokens"),
        ("vit", "embeddings.position_embeddings"),
        ("vit", "layernorm.bias"),
    ] {
        let scrap = scrap(family);
        let other = "x".repeat(name.len());
        scrap.edit_header(|header| header.replace(&format!("\"{name}\""), &format!("\"{other}\"")));
        assert_fault!(scrap, ModelError::MissingTensor { tensor } if tensor == name);
    }
}

#[test]
fn weights_that_are_not_finite_are_named() {
    for (family, name) in [
        ("clip", "vision_model.embeddings.patch_embedding.weight"),
        ("clip", "text_model.embeddings.token_embedding.weight"),
        ("siglip", "vision_model.head.attention.in_proj_weight"),
        ("dinov2", "encoder.layer.0.layer_scale1.lambda1"),
    ] {
        for value in [f32::NAN, f32::INFINITY] {
            let scrap = scrap(family);
            scrap.edit_tensor(name, |values| values[7] = value);
            assert_fault!(scrap, ModelError::NotFiniteWeights { tensor } if tensor == name);
        }
    }
}

#[test]
fn a_configuration_that_lies_is_found_out_by_the_headers() {
    let huge = 1 << 24;
    for (family, field, value, tensor) in [
        (
            "clip",
            "/vision_config/hidden_size",
            48,
            "patch_embedding.weight",
        ),
        (
            "clip",
            "/vision_config/patch_size",
            4,
            "patch_embedding.weight",
        ),
        (
            "clip",
            "/vision_config/intermediate_size",
            41,
            "mlp.fc1.weight",
        ),
        ("clip", "/projection_dim", 17, "visual_projection.weight"),
        ("clip", "/projection_dim", huge, "visual_projection.weight"),
        (
            "clip",
            "/text_config/vocab_size",
            huge,
            "token_embedding.weight",
        ),
        (
            "clip",
            "/text_config/max_position_embeddings",
            77,
            "position_embedding.weight",
        ),
        (
            "siglip",
            "/vision_config/intermediate_size",
            45,
            "mlp.fc1.weight",
        ),
        ("dinov2", "/hidden_size", 1 << 22, "projection.weight"),
        ("dinov2", "/image_size", huge, "position_embeddings"),
        ("dinov2", "/mlp_ratio", 3, "mlp.fc1.weight"),
        (
            "dinov2_with_registers",
            "/num_register_tokens",
            huge,
            "register_tokens",
        ),
    ] {
        let scrap = scrap(family);
        scrap.edit_json("config.json", |config| {
            *config.pointer_mut(field).expect("a field") = value.into();
        });
        if field == "/hidden_size" {
            // So that the heads divide it.
            scrap.edit_json("config.json", |config| {
                config["num_attention_heads"] = 2.into()
            });
        }
        assert_fault!(
            scrap,
            ModelError::WrongShape { tensor: found, .. } if found.ends_with(tensor)
        );
    }
}

#[test]
fn what_a_configuration_leaves_out_is_as_in_transformers() {
    // As SigLIP's first checkpoint has it; its tensors would be of these shapes.
    let scrap = scrap("siglip");
    scrap.edit_json("config.json", |config| {
        *config = json!({"model_type": "siglip", "text_config": {}, "vision_config": {}});
    });
    scrap.edit_json("preprocessor_config.json", |config| {
        config["size"] = json!({"height": 224, "width": 224});
    });
    assert_fault!(
        scrap,
        ModelError::WrongShape { tensor, expected, .. }
            if tensor.ends_with("patch_embedding.weight") && *expected == [768, 3, 16, 16]
    );
}

#[test]
fn fields_that_make_no_sense_are_named() {
    let clip = |part: &'static str, field: &'static str, value: Value| ("clip", part, field, value);
    let dino = |field: &'static str, value: Value| ("dinov2", "", field, value);
    for (family, part, field, value) in [
        clip("vision_config", "num_attention_heads", 5.into()),
        clip("vision_config", "hidden_size", 0.into()),
        clip("vision_config", "image_size", 3.into()),
        clip("vision_config", "image_size", u64::MAX.into()),
        clip("vision_config", "patch_size", 0.into()),
        clip("vision_config", "num_channels", 4.into()),
        clip("vision_config", "num_hidden_layers", 100_000.into()),
        clip("vision_config", "hidden_act", "snake".into()),
        clip("text_config", "layer_norm_eps", (-1.0).into()),
        clip("text_config", "eos_token_id", "end".into()),
        clip("", "vision_config", "none".into()),
        ("siglip", "vision_config", "vision_use_head", false.into()),
        ("siglip", "text_config", "projection_size", 16.into()),
        dino("mlp_ratio", (-1.0).into()),
        dino("mlp_ratio", 1e30.into()),
        dino("use_swiglu_ffn", "yes".into()),
        dino("model_type", 3.into()),
    ] {
        let scrap = scrap(family);
        scrap.edit_json("config.json", |config| match part {
            "" => config[field] = value.clone(),
            part => config[part][field] = value.clone(),
        });
        assert_fault!(scrap, ModelError::InvalidConfig { field: found, .. } if found == field);
    }
    let scrap = scrap("siglip");
    scrap.edit_json("tokenizer_config.json", |config| {
        config["pad_token"] = "<nothing>".into();
    });
    assert_fault!(scrap, ModelError::InvalidConfig { field, .. } if field == "pad_token");
}

#[test]
fn an_architecture_that_is_not_built_in_lists_those_that_are() {
    let scrap = scrap("vit");
    scrap.edit_json("config.json", |config| config["model_type"] = "swin".into());
    assert_fault!(
        scrap,
        ModelError::UnsupportedArchitecture { found, supported }
            if found == "swin" && supported.contains(&"siglip")
    );
    // A layer with a weight that is no part of the architecture.
    let scrap = self::scrap("clip");
    scrap.edit_json("config.json", |config| {
        config["text_config"]["num_hidden_layers"] = 1.into();
    });
    assert_fault!(scrap, ModelError::UnsupportedArchitecture { .. });
}

#[test]
fn pictures_of_a_size_that_the_tower_does_not_take_are_refused_beforehand() {
    for (family, size) in [
        ("clip", json!({"height": 19, "width": 20})),
        ("dinov2", json!({"height": 18, "width": 5})),
    ] {
        let scrap = scrap(family);
        scrap.edit_json("preprocessor_config.json", |config| {
            config["crop_size"] = size;
        });
        assert_fault!(scrap, ModelError::InvalidConfig { field, .. } if field == "crop_size");
    }
}

#[test]
fn a_bad_input_fails_alone() {
    let reference = Reference::of("clip");
    let mut model = Loaded::open("clip");
    let sound = reference.pixels("0.pixels");
    let wrong = PixelTensor::new([3, 20, 15], vec![0.0; 900]).expect("pixels");
    let context = StepContext::new(2);
    let answers = model
        .tower
        .embed_pictures(&[&wrong, &sound, &wrong], &context);
    let answers = answers.expect("a step that runs");
    assert!(matches!(answers[0], Err(ModelError::WrongShape { .. })));
    assert_eq!(answers[1].as_ref().expect("a vector").len(), 18);
    assert!(matches!(answers[2], Err(ModelError::WrongShape { .. })));

    let texts: [&[u32]; 4] = [&[], &[1, 548], &[545, 546], &[1; 17]];
    let answers = model.tower.embed_texts(&texts, &context);
    let answers = answers.expect("a step that runs");
    for number in [0, 1, 3] {
        assert!(matches!(answers[number], Err(ModelError::Tokenize { .. })));
    }
    assert!(answers[2].is_ok());
    let answers = Loaded::open("vit").tower.embed_texts(&texts, &context);
    let refused = |answer: &Result<_, _>| matches!(answer, Err(ModelError::NotOffered { .. }));
    assert!(answers.expect("a step that runs").iter().all(refused));
}

#[test]
fn changed_bytes_never_panic() {
    for family in FAMILIES {
        let whole = scrap(family).read("config.json");
        for place in (0..whole.len()).step_by(7) {
            for byte in [b'0', b'"', b'9', b' '] {
                let scrap = scrap(family);
                let mut changed = whole.clone();
                changed[place] = byte;
                scrap.write("config.json", &changed);
                if let Ok(folder) = TowerFolder::open(scrap.path()) {
                    let _ = folder.load();
                }
            }
        }
    }
}
