//! Broken folders are refused when they are opened, with an error that names what is wrong.

use modelpool::ModelError;
use modelpool::models::{DiffusionOptions, FluxFolder};
use serde_json::{Value, json};

use super::folders::{Pipeline, WEIGHTS};

fn fault(pipeline: &Pipeline) -> ModelError {
    match FluxFolder::open(pipeline.path(), &DiffusionOptions::default()).and_then(|folder| {
        folder.preparer()?;
        folder.load()
    }) {
        Err(error) => error,
        Ok(_) => panic!("a broken folder was loaded"),
    }
}

#[test]
fn missing_files_are_named() {
    for file in [
        "transformer/config.json",
        WEIGHTS,
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "text_encoder_2/config.json",
        "text_encoder_2/model.safetensors",
        "tokenizer/vocab.json",
        "tokenizer_2/tokenizer.json",
        "scheduler/scheduler_config.json",
    ] {
        let pipeline = Pipeline::schnell();
        pipeline.remove(file);
        let error = fault(&pipeline);
        assert!(
            matches!(&error, ModelError::MissingFile { path } if path.ends_with(file)),
            "{file}: {error:?}"
        );
    }
}

#[test]
fn fields_that_make_no_sense_are_named() {
    let config = |field: &str, value: Value| {
        let pipeline = Pipeline::dev();
        pipeline.edit_json("transformer/config.json", |config| {
            config[field] = value.clone();
        });
        (field.to_owned(), pipeline)
    };
    let other = |file: &str, field: &str, value: Value| {
        let pipeline = Pipeline::dev();
        pipeline.edit_json(file, |config| config[field] = value.clone());
        (field.to_owned(), pipeline)
    };
    for (field, pipeline) in [
        config("patch_size", 2.into()),
        config("in_channels", 0.into()),
        config("in_channels", 63.into()),
        config("out_channels", 16.into()),
        config("num_layers", 100_000.into()),
        config("num_single_layers", (-1).into()),
        config("attention_head_dim", "wide".into()),
        config("num_attention_heads", 0.into()),
        config("joint_attention_dim", u64::MAX.into()),
        config("guidance_embeds", 1.into()),
        config("axes_dims_rope", json!([4, 6])),
        config("axes_dims_rope", json!([4, 6, 8])),
        config("axes_dims_rope", json!([5, 5, 6])),
        config("axes_dims_rope", json!([4, u64::MAX, 6])),
        config("axes_dims_rope", 16.into()),
        // Parts that do not fit each other.
        other("vae/config.json", "latent_channels", 4.into()),
        other("text_encoder/config.json", "hidden_size", 32.into()),
        (
            "d_model".to_owned(),
            config("joint_attention_dim", 48.into()).1,
        ),
        other(
            "tokenizer_2/tokenizer_config.json",
            "model_max_length",
            0.into(),
        ),
        other("text_encoder_2/config.json", "pad_token_id", (-1).into()),
    ] {
        let error = fault(&pipeline);
        assert!(
            matches!(&error, ModelError::InvalidConfig { field: named, .. } if *named == field),
            "{field}: {error:?}"
        );
    }
}

#[test]
fn adapters_are_refused() {
    let pipeline = Pipeline::schnell();
    let options = DiffusionOptions::default().adapter("adapter.safetensors", 1.0);
    let refused = FluxFolder::open(pipeline.path(), &options);
    assert!(
        matches!(&refused, Err(ModelError::InvalidConfig { field, .. }) if field == "adapters"),
        "{refused:?}"
    );
}

#[test]
fn other_architectures_are_refused() {
    let pipeline = Pipeline::schnell();
    pipeline.edit_json("transformer/config.json", |config| {
        config["_class_name"] = "SD3Transformer2DModel".into();
    });
    let error = fault(&pipeline);
    assert!(matches!(
        error,
        ModelError::UnsupportedArchitecture { found, .. } if found == "SD3Transformer2DModel"
    ));
    let pipeline = Pipeline::schnell();
    pipeline.edit_json("scheduler/scheduler_config.json", |config| {
        *config = json!({"_class_name": "DDIMScheduler"});
    });
    let error = fault(&pipeline);
    assert!(
        matches!(&error, ModelError::InvalidConfig { field, .. } if field == "_class_name"),
        "{error:?}"
    );
}

#[test]
fn tensors_that_do_not_fit_the_configuration_are_named() {
    let wrong = |field: &str, value: Value| {
        let pipeline = Pipeline::schnell();
        pipeline.edit_json("transformer/config.json", |config| config[field] = value);
        fault(&pipeline)
    };
    // One head more, and as wide a head as before.
    let error = wrong("num_attention_heads", 3.into());
    assert!(matches!(&error, ModelError::WrongShape { .. }), "{error:?}");
    let error = wrong("num_single_layers", 2.into());
    assert!(
        matches!(&error, ModelError::MissingTensor { tensor } if tensor.starts_with("single_transformer_blocks.1.")),
        "{error:?}"
    );
    let error = wrong("guidance_embeds", true.into());
    assert!(
        matches!(&error, ModelError::MissingTensor { tensor } if tensor.contains("guidance_embedder")),
        "{error:?}"
    );

    let pipeline = Pipeline::schnell();
    let mut tensors = pipeline.tensors();
    let spoilt = tensors
        .iter_mut()
        .find(|tensor| tensor.name == "single_transformer_blocks.0.proj_mlp.weight");
    spoilt.expect("a tensor").values[7] = f32::INFINITY;
    pipeline.set_tensors(&tensors);
    let error = fault(&pipeline);
    assert!(
        matches!(&error, ModelError::NotFiniteWeights { tensor } if tensor.contains("proj_mlp")),
        "{error:?}"
    );
}

#[test]
fn files_that_are_cut_are_damaged() {
    for file in [
        WEIGHTS,
        "text_encoder_2/model.safetensors",
        "tokenizer_2/tokenizer.json",
    ] {
        let pipeline = Pipeline::schnell();
        let bytes = pipeline.read(file);
        for length in [0, 7, 100, bytes.len() - 1] {
            pipeline.write(file, &bytes[..length]);
            let error = fault(&pipeline);
            assert!(
                matches!(&error, ModelError::Corrupt { .. }),
                "{file}: {error:?}"
            );
        }
    }
}
