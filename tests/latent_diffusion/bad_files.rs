//! Pipelines that are not what they say: each is refused by name before anything is loaded for it.

use std::sync::Arc;

use modelpool::model::ModelInfo;
use modelpool::models::{DiffusionOptions, LatentDiffusion};
use modelpool::pool::capabilities::text_to_image::{
    PromptPreparer, TextToImage, TextToImageCapable,
};
use modelpool::pool::core::StepContext;
use modelpool::{ModelError, ModelSpec};
use serde_json::{Value, json};

use super::pipeline::open;
use super::scrap::Scrap;

const UNET: &str = "unet/config.json";
const VAE: &str = "vae/config.json";
const ENCODER: &str = "text_encoder/config.json";

fn assert_invalid(error: ModelError, wanted: &str) {
    let ModelError::InvalidConfig { field, detail, .. } = &error else {
        panic!("{wanted}: {error}");
    };
    assert_eq!(field, wanted, "{detail}");
}

#[test]
fn a_missing_file_is_named() {
    for file in [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "text_encoder_2/model.safetensors",
        "tokenizer/vocab.json",
        "tokenizer_2/merges.txt",
        UNET,
        "unet/diffusion_pytorch_model.safetensors",
        VAE,
    ] {
        let scrap = Scrap::copy_of("sdxl");
        scrap.remove(file);
        let error = scrap.refusal();
        let ModelError::MissingFile { path } = &error else {
            panic!("{file}: {error}");
        };
        assert_eq!(*path, scrap.path().join(file));
        // The pool's own way to it says so, too; a folder without an index is another model's.
        if file != "model_index.json" {
            let error = ModelSpec::<TextToImage>::folder(scrap.path()).unwrap_err();
            assert!(matches!(error, ModelError::MissingFile { .. }), "{error}");
        }
    }
}

#[test]
fn the_autoencoder_in_half_precision_will_do_but_must_be_there() {
    let scrap = Scrap::copy_of("sd15");
    scrap.remove("vae/diffusion_pytorch_model.fp16.safetensors");
    let error = scrap.refusal();
    let ModelError::MissingFile { path } = &error else {
        panic!("{error}");
    };
    assert!(path.ends_with("vae/diffusion_pytorch_model.safetensors"));
}

#[test]
fn other_pipelines_and_parts_are_named() {
    for (file, field, value) in [
        (
            "model_index.json",
            "_class_name",
            json!("KandinskyPipeline"),
        ),
        (UNET, "_class_name", json!("UNet3DConditionModel")),
        (VAE, "_class_name", json!("AutoencoderTiny")),
        (ENCODER, "architectures", json!(["T5EncoderModel"])),
        (
            "scheduler/scheduler_config.json",
            "_class_name",
            json!("Unheard"),
        ),
    ] {
        let scrap = Scrap::copy_of("sd15");
        scrap.set(file, field, value);
        let error = scrap.refusal();
        let is_named = matches!(error, ModelError::UnsupportedArchitecture { .. });
        assert!(is_named, "{file}: {error}");
    }
}

#[test]
fn what_would_change_the_computation_is_not_passed_over() {
    for (field, value) in [
        ("center_input_sample", json!(true)),
        ("only_cross_attention", json!(true)),
        ("downsample_padding", json!(0)),
        ("mid_block_scale_factor", json!(1.4)),
        ("act_fn", json!("gelu")),
        ("dual_cross_attention", json!(true)),
        ("resnet_time_scale_shift", json!("scale_shift")),
        ("resnet_skip_time_act", json!(true)),
        ("resnet_out_scale_factor", json!(2.0)),
        ("time_embedding_type", json!("fourier")),
        ("conv_in_kernel", json!(1)),
        ("conv_out_kernel", json!(5)),
        ("attention_type", json!("gated")),
        ("class_embeddings_concat", json!(true)),
        ("mid_block_only_cross_attention", json!(true)),
        ("reverse_transformer_layers_per_block", json!([1, 1])),
        ("encoder_hid_dim", json!(16)),
        ("encoder_hid_dim_type", json!("text_proj")),
        ("num_attention_heads", json!(4)),
        ("class_embed_type", json!("timestep")),
        ("num_class_embeds", json!(10)),
        ("time_embedding_dim", json!(64)),
        ("time_embedding_act_fn", json!("silu")),
        ("timestep_post_act", json!("silu")),
        ("cross_attention_norm", json!("layer_norm")),
        ("conditioning_embedding_out_channels", json!([16, 32])),
        ("addition_embed_type", json!("image")),
        ("mid_block_type", json!("UNetMidBlock2DSimpleCrossAttn")),
        (
            "down_block_types",
            json!(["SimpleCrossAttnDownBlock2D", "DownBlock2D"]),
        ),
        ("up_block_types", json!(["UpBlock2D", "AttnUpBlock2D"])),
        ("transformer_layers_per_block", json!([[1], [1]])),
    ] {
        let scrap = Scrap::copy_of("sd15");
        scrap.set(UNET, field, value);
        assert_invalid(scrap.refusal(), field);
    }
    for (field, value) in [
        ("act_fn", json!("gelu")),
        ("in_channels", json!(1)),
        ("out_channels", json!(4)),
        ("latents_mean", json!([0.0, 0.0, 0.0, 0.0])),
        ("latents_std", json!([1.0, 1.0, 1.0, 1.0])),
        (
            "down_block_types",
            json!(["DownEncoderBlock2D", "AttnDownEncoderBlock2D"]),
        ),
    ] {
        let scrap = Scrap::copy_of("sd15");
        scrap.set(VAE, field, value);
        assert_invalid(scrap.refusal(), field);
    }
}

#[test]
fn values_that_make_no_sense_are_refused() {
    for (file, field, value) in [
        (UNET, "attention_head_dim", json!(0)),
        (UNET, "attention_head_dim", json!(3)),
        (UNET, "attention_head_dim", json!([4])),
        (UNET, "attention_head_dim", json!("eight")),
        (UNET, "norm_num_groups", json!(0)),
        (UNET, "norm_num_groups", json!(3)),
        (UNET, "norm_eps", json!(-1.0)),
        (UNET, "block_out_channels", json!([])),
        (UNET, "block_out_channels", json!([8, -16])),
        (UNET, "block_out_channels", json!([8, 0])),
        (UNET, "block_out_channels", json!([8, 1_u64 << 40])),
        (UNET, "layers_per_block", json!(0)),
        (UNET, "layers_per_block", json!(1_000_000)),
        (UNET, "transformer_layers_per_block", json!([1, 1_000_000])),
        (UNET, "cross_attention_dim", json!(25)),
        (UNET, "freq_shift", json!(4)),
        (UNET, "out_channels", json!(8)),
        (UNET, "time_cond_proj_dim", json!(3)),
        (UNET, "sample_size", json!([8, 8, 8])),
        (UNET, "down_block_types", json!(["DownBlock2D"])),
        (VAE, "norm_num_groups", json!(5)),
        (
            VAE,
            "block_out_channels",
            json!([4, 4, 4, 4, 4, 4, 4, 4, 4]),
        ),
        (VAE, "layers_per_block", json!(100_000)),
        (VAE, "scaling_factor", json!(0)),
        (ENCODER, "num_attention_heads", json!(0)),
        (ENCODER, "num_attention_heads", json!(5)),
        (ENCODER, "num_hidden_layers", json!(1_000_000)),
        (ENCODER, "hidden_act", json!("relu")),
        (ENCODER, "max_position_embeddings", json!(1)),
        (ENCODER, "layer_norm_eps", json!(2)),
    ] {
        let scrap = Scrap::copy_of("sd15");
        scrap.set(file, field, value);
        assert_invalid(scrap.refusal(), field);
    }
}

#[test]
fn sizes_that_the_weights_do_not_have_allocate_nothing() {
    let huge = 1_u64 << 24;
    let scrap = Scrap::copy_of("sd15");
    scrap.set(UNET, "block_out_channels", json!([huge, huge]));
    let error = scrap.refusal();
    assert!(matches!(error, ModelError::WrongShape { .. }), "{error}");

    let scrap = Scrap::copy_of("sd15");
    scrap.set(UNET, "layers_per_block", json!([2, 256]));
    let error = scrap.refusal();
    let ModelError::MissingTensor { tensor } = &error else {
        panic!("{error}");
    };
    assert!(tensor.starts_with("down_blocks.1.resnets.2."), "{tensor}");

    let scrap = Scrap::copy_of("sd15");
    scrap.set(ENCODER, "vocab_size", json!(huge));
    let error = scrap.refusal();
    assert!(matches!(error, ModelError::WrongShape { .. }), "{error}");

    let scrap = Scrap::copy_of("sd15");
    scrap.set(UNET, "sample_size", json!(huge));
    let [width, height] = scrap.open().unwrap().description().default_size;
    assert!(width <= 8192 && height <= 8192);
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    for (name, file, field, value, wanted) in [
        (
            "sdxl",
            UNET,
            "projection_class_embeddings_input_dim",
            json!(69),
            None,
        ),
        ("sdxl", UNET, "addition_time_embed_dim", json!(7), None),
        ("sdxl", UNET, "addition_embed_type", Value::Null, None),
        (
            "sdxl",
            "text_encoder_2/config.json",
            "max_position_embeddings",
            json!(64),
            None,
        ),
        (
            "sdxl",
            "model_index.json",
            "requires_aesthetics_score",
            json!(true),
            None,
        ),
        (
            "sdxl",
            "model_index.json",
            "_class_name",
            json!("StableDiffusionPipeline"),
            Some("cross_attention_dim"),
        ),
        (
            "sd15",
            VAE,
            "latent_channels",
            json!(16),
            Some("in_channels"),
        ),
    ] {
        let scrap = Scrap::copy_of(name);
        scrap.set(file, field, value);
        assert_invalid(scrap.refusal(), wanted.unwrap_or(field));
    }
}

#[test]
fn weights_that_are_no_numbers_are_found_when_they_are_loaded() {
    const NAN: [u8; 2] = [0x00, 0x7e];
    for (file, tensor) in [
        (
            "unet/diffusion_pytorch_model.safetensors",
            "mid_block.resnets.0.conv1.weight",
        ),
        (
            "vae/diffusion_pytorch_model.fp16.safetensors",
            "decoder.conv_out.bias",
        ),
        (
            "text_encoder/model.safetensors",
            "text_model.embeddings.token_embedding.weight",
        ),
    ] {
        let scrap = Scrap::copy_of("sd15");
        scrap.spoil(file, tensor, NAN);
        let error = scrap.open().unwrap().load().unwrap_err();
        let ModelError::NotFiniteWeights { tensor: found } = &error else {
            panic!("{error}");
        };
        assert_eq!(found, tensor);
    }
}

#[test]
fn a_tensor_that_is_not_there_is_named() {
    let scrap = Scrap::copy_of("sd15");
    let file = "unet/diffusion_pytorch_model.safetensors";
    scrap.rename(file, "conv_norm_out.weight", "conv_norm_out.height");
    let error = scrap.refusal();
    let ModelError::MissingTensor { tensor } = &error else {
        panic!("{error}");
    };
    assert_eq!(tensor, "conv_norm_out.weight");
}

#[test]
fn an_autoencoder_without_its_encoder_paints_but_takes_no_picture() {
    let scrap = Scrap::copy_of("sd15");
    let file = "vae/diffusion_pytorch_model.fp16.safetensors";
    scrap.rename(file, "encoder.conv_in.weight", "encoder.conv_in.height");
    let weights = Arc::new(scrap.open().unwrap().load().unwrap());
    let mut model = LatentDiffusion::new(ModelInfo::new("scrap", 1), weights);
    let context = StepContext::new(1);
    model.decode(&[0.5; 4 * 4], 2, 2, &context).unwrap();
    let picture = modelpool::images::RgbImage::new(4, 4, vec![9; 48]).unwrap();
    let error = model
        .encode_picture(&picture, &[0.0; 16], &context)
        .unwrap_err();
    assert!(matches!(error, ModelError::MissingTensor { .. }), "{error}");
}

#[test]
fn tokenizers_that_contradict_themselves_are_refused() {
    let vocabulary = "tokenizer/vocab.json";
    for content in ["", "[]", "{\"a\": -1}", "{\"a\": \"b\"}", "{}"] {
        let scrap = Scrap::copy_of("sd15");
        scrap.write(vocabulary, content.as_bytes());
        let error = scrap.open().unwrap().preparer().unwrap_err();
        assert!(
            matches!(error, ModelError::Corrupt { .. }),
            "{content}: {error}"
        );
    }
    for content in ["alone", "a  b", "unheard of", "\u{1}"] {
        let scrap = Scrap::copy_of("sd15");
        scrap.write("tokenizer/merges.txt", content.as_bytes());
        let error = scrap.open().unwrap().preparer().unwrap_err();
        assert!(
            matches!(error, ModelError::Corrupt { .. }),
            "{content}: {error}"
        );
    }
    let scrap = Scrap::copy_of("sd21");
    scrap.write("tokenizer/tokenizer.json", b"{\"model\": 7}");
    let error = scrap.open().unwrap().preparer().unwrap_err();
    assert!(matches!(error, ModelError::Corrupt { .. }), "{error}");

    for (field, value) in [
        ("pad_token", json!("<|unheard|>")),
        ("model_max_length", json!(1)),
    ] {
        let scrap = Scrap::copy_of("sd21");
        scrap.set("tokenizer/tokenizer_config.json", field, value);
        assert_invalid(scrap.open().unwrap().preparer().unwrap_err(), field);
    }
}

#[test]
fn tokens_that_the_encoder_does_not_know_end_the_one_request() {
    let folder = open("sd15");
    let mut tokens = folder.preparer().unwrap().prepare("a horse").unwrap();
    let weights = Arc::new(folder.load().unwrap());
    let mut model = LatentDiffusion::new(ModelInfo::new("sd15", 1), weights);
    let context = StepContext::new(1);
    tokens.encoders[0][1] = 1 << 20;
    for encoders in [
        tokens.encoders.clone(),
        vec![vec![]],
        vec![vec![1; 78]],
        vec![],
        vec![vec![1], vec![1]],
    ] {
        tokens.encoders = encoders;
        let error = model.encode_prompt(&tokens, &context).unwrap_err();
        assert!(matches!(error, ModelError::Tokenize { .. }), "{error}");
    }
}

#[test]
fn more_pixels_may_be_allowed_and_are_counted() {
    let path = super::pipeline::data("sd15");
    let open = |options| modelpool::models::DiffusionFolder::open(&path, &options).unwrap();
    let usual = open(DiffusionOptions::default());
    // Trained on 8 by 8 latents of 2 by 2 pixels.
    assert_eq!(usual.description().default_size, [16, 16]);
    assert_eq!(usual.description().max_pixels, 16 * 16 + 16 * 16 / 2);
    let large = open(DiffusionOptions::default().max_pixels(1 << 20));
    assert_eq!(large.description().max_pixels, 1 << 20);
    assert!(large.worker_bytes() > usual.worker_bytes());
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let open = |scrap: &Scrap, strength| {
        let options =
            DiffusionOptions::default().adapter(scrap.path().join("kohya.safetensors"), strength);
        modelpool::models::DiffusionFolder::open(scrap.path(), &options)
    };
    let spoilt = |from: &str, to: &str| {
        let scrap = Scrap::copy_of("sd15");
        scrap.rename("kohya.safetensors", from, to);
        open(&scrap, 1.0).unwrap_err()
    };
    let stem = "lora_unet_mid_block_resnets_0_conv1";
    // A weight that the model does not have, a part that nobody knows, a kind that is not built in.
    let error = spoilt(
        &format!("{stem}.lora_down"),
        "lora_unet_mid_block_resnets_9_conv1.lora_down",
    );
    assert!(matches!(error, ModelError::InvalidConfig { .. }), "{error}");
    let error = spoilt(
        &format!("{stem}.lora_down"),
        "lora_eyes_mid_block_resnets_0_conv1.lora_down",
    );
    assert!(matches!(error, ModelError::InvalidConfig { .. }), "{error}");
    let error = spoilt(
        &format!("{stem}.lora_down"),
        "lora_unet_mid_block_resnets_0_conv1.hada_w1_a",
    );
    assert!(matches!(error, ModelError::InvalidConfig { .. }), "{error}");

    // Another model's shapes.
    let scrap = Scrap::copy_of("sd15");
    let other = super::pipeline::data("sdxl").join("peft.safetensors");
    let options = DiffusionOptions::default().adapter(other, 1.0);
    let error = modelpool::models::DiffusionFolder::open(scrap.path(), &options).unwrap_err();
    assert!(matches!(error, ModelError::InvalidConfig { .. }), "{error}");
    let header = r#""lora_unet_mid_block_resnets_0_conv1.lora_down.weight":{"dtype":"F32","shape":[3,16,3,3]"#;
    scrap.rename(
        "kohya.safetensors",
        header,
        &header.replace("[3,16,3,3]", "[9,16,3,1]"),
    );
    let error = open(&scrap, 1.0).unwrap_err();
    assert!(matches!(error, ModelError::WrongShape { .. }), "{error}");

    let scrap = Scrap::copy_of("sd15");
    assert_invalid(open(&scrap, f32::NAN).unwrap_err(), "strength");
    let error = open(&scrap, f32::MAX).unwrap().load().unwrap_err();
    assert!(
        matches!(error, ModelError::NotFiniteWeights { .. }),
        "{error}"
    );
    scrap.remove("kohya.safetensors");
    let error = open(&scrap, 1.0).unwrap_err();
    assert!(matches!(error, ModelError::MissingFile { .. }), "{error}");
}
