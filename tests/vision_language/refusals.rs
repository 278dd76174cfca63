//! Files, pictures and queries that make no sense are refused, and the error names what is wrong.

use modelpool::images::{ImageError, ImageSource, PixelTensor, RgbImage};
use modelpool::models::{DecoderOptions, VisionLanguageFiles};
use modelpool::pool::core::StepContext;
use modelpool::{GenerationParams, ModelError, ModelSpec, PoolError, Vision};
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::reference::{FAMILIES, Reference, data, exact, load, queries};
use crate::scrap::Scrap;
use crate::universe::{Universe, config, within};
use crate::{ask, ids, one_worker, params};

fn opened(scrap: &Scrap) -> ModelError {
    match VisionLanguageFiles::open(scrap.path()) {
        Ok(files) => panic!("{files:?} was opened"),
        Err(error) => error,
    }
}

/// The value at a path such as "vision_config.depth".
fn set(config: &mut Value, path: &str, value: Value) {
    let mut place = config;
    for name in path.split('.') {
        place = &mut place[name];
    }
    *place = value;
}

#[test]
fn fields_that_make_no_sense_are_named() {
    let huge = 1_u64 << 40;
    for (family, path, value, field) in [
        ("llava", "vision_config", json!(3), "vision_config"),
        (
            "llava",
            "vision_config.hidden_size",
            json!(0),
            "hidden_size",
        ),
        (
            "llava",
            "vision_config.hidden_size",
            json!(huge),
            "hidden_size",
        ),
        (
            "llava",
            "vision_config.num_attention_heads",
            json!(5),
            "num_attention_heads",
        ),
        (
            "llava",
            "vision_config.patch_size",
            json!(1 << 20),
            "patch_size",
        ),
        ("llava", "vision_config.patch_size", json!(4), "image_size"),
        (
            "llava",
            "vision_config.image_size",
            json!(1 << 20),
            "image_size",
        ),
        ("llava", "vision_config.image_size", json!(20), "crop_size"),
        (
            "llava",
            "vision_config.hidden_act",
            json!("magic"),
            "hidden_act",
        ),
        (
            "llava",
            "vision_config.layer_norm_eps",
            json!(0),
            "layer_norm_eps",
        ),
        (
            "llava",
            "vision_config.num_channels",
            json!(4),
            "num_channels",
        ),
        (
            "llava",
            "vision_feature_layer",
            json!(4),
            "vision_feature_layer",
        ),
        (
            "llava",
            "vision_feature_layer",
            json!(-4),
            "vision_feature_layer",
        ),
        (
            "llava",
            "vision_feature_layer",
            json!(i64::MIN),
            "vision_feature_layer",
        ),
        (
            "llava",
            "vision_feature_layer",
            json!([1, 2]),
            "vision_feature_layer",
        ),
        (
            "llava",
            "vision_feature_select_strategy",
            json!("some"),
            "vision_feature_select_strategy",
        ),
        (
            "llava",
            "projector_hidden_act",
            json!("magic"),
            "projector_hidden_act",
        ),
        (
            "llava",
            "image_token_index",
            json!(null),
            "image_token_index",
        ),
        ("llava", "image_token_index", json!(-1), "image_token_index"),
        ("llava", "image_token_index", json!(261), "image_token_id"),
        (
            "llava",
            "text_config.hidden_size",
            json!("wide"),
            "hidden_size",
        ),
        ("qwen2_5_vl", "vision_config", json!(null), "vision_config"),
        ("qwen2_5_vl", "vision_config.depth", json!(1 << 20), "depth"),
        ("qwen2_5_vl", "vision_config.depth", json!(0), "depth"),
        (
            "qwen2_5_vl",
            "vision_config.hidden_size",
            json!(34),
            "num_heads",
        ),
        (
            "qwen2_5_vl",
            "vision_config.num_heads",
            json!(16),
            "num_heads",
        ),
        (
            "qwen2_5_vl",
            "vision_config.window_size",
            json!(7),
            "window_size",
        ),
        (
            "qwen2_5_vl",
            "vision_config.patch_size",
            json!(5),
            "patch_size",
        ),
        (
            "qwen2_5_vl",
            "vision_config.spatial_merge_size",
            json!(huge),
            "spatial_merge_size",
        ),
        (
            "qwen2_5_vl",
            "vision_config.out_hidden_size",
            json!(33),
            "out_hidden_size",
        ),
        (
            "qwen2_5_vl",
            "vision_config.fullatt_block_indexes",
            json!(3),
            "fullatt_block_indexes",
        ),
        (
            "qwen2_5_vl",
            "vision_config.in_channels",
            json!(1),
            "in_channels",
        ),
        (
            "qwen2_5_vl",
            "vision_config.rope_parameters.rope_theta",
            json!(0.5),
            "rope_theta",
        ),
        (
            "qwen2_5_vl",
            "text_config.rope_parameters.mrope_section",
            json!([2, 3, 4]),
            "mrope_section",
        ),
        (
            "qwen2_5_vl",
            "text_config.rope_parameters.mrope_section",
            json!([huge, huge, 1]),
            "mrope_section",
        ),
        (
            "qwen2_5_vl",
            "text_config.rope_parameters.mrope_section",
            json!([4, 4]),
            "mrope_section",
        ),
        (
            "qwen2_5_vl",
            "image_token_id",
            json!(1 << 20),
            "image_token_id",
        ),
    ] {
        let scrap = Scrap::copy_of(family);
        scrap.edit_json("config.json", |config| set(config, path, value.clone()));
        match opened(&scrap) {
            ModelError::InvalidConfig { field: found, .. } => {
                assert_eq!(found, field, "{family}: {path} = {value}");
            }
            other => panic!("{family}: {path} = {value}: {other:?}"),
        }
    }
}

#[test]
fn other_architectures_are_named() {
    for (family, path, value) in [
        ("llava", "model_type", json!("llava_next")),
        (
            "llava",
            "vision_config.model_type",
            json!("siglip_vision_model"),
        ),
        ("llava", "text_config.model_type", json!("opt")),
    ] {
        let scrap = Scrap::copy_of(family);
        scrap.edit_json("config.json", |config| set(config, path, value.clone()));
        let error = opened(&scrap);
        let named = matches!(error, ModelError::UnsupportedArchitecture { .. });
        assert!(named, "{path} = {value}: {error:?}");
    }
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    for family in FAMILIES {
        let names = match family {
            "llava" => [
                "vision_tower.embeddings.patch_embedding.weight",
                "vision_tower.encoder.layers.1.mlp.fc1.bias",
                "multi_modal_projector.linear_2.weight",
                "language_model.model.layers.0.mlp.up_proj.weight",
            ],
            _ => [
                "visual.patch_embed.proj.weight",
                "visual.blocks.3.attn.qkv.weight",
                "visual.merger.mlp.0.bias",
                "model.layers.0.self_attn.k_proj.bias",
            ],
        };
        for name in names {
            let scrap = Scrap::copy_of(family);
            scrap.edit_tensors(|tensors| drop(tensors.remove(name)));
            // By the first of them, the others are found.
            let error = opened(&scrap);
            let missing =
                matches!(&error, ModelError::MissingTensor { tensor } if name.ends_with(tensor));
            assert!(missing, "{name}: {error:?}");

            let scrap = Scrap::copy_of(family);
            scrap.edit_tensors(|tensors| tensors.get_mut(name).unwrap().shape.insert(0, 1));
            let same = VisionLanguageFiles::open(scrap.path());
            let is_text = name.contains("model.layers");
            assert_eq!(same.is_err(), is_text, "{name} with a side of 1: {same:?}");

            let scrap = Scrap::copy_of(family);
            scrap.edit_tensors(|tensors| tensors.get_mut(name).unwrap().shape.push(1));
            let error = opened(&scrap);
            let shape = matches!(&error, ModelError::WrongShape { tensor, .. } if tensor == name);
            assert!(shape, "{name}: {error:?}");

            let scrap = Scrap::copy_of(family);
            scrap.edit_tensors(|tensors| tensors.get_mut(name).unwrap().dtype = Dtype::I32);
            let error = opened(&scrap);
            let dtype = matches!(&error, ModelError::WrongDtype { tensor, .. } if tensor == name);
            assert!(dtype, "{name}: {error:?}");

            let scrap = Scrap::copy_of(family);
            scrap.edit_tensors(|tensors| {
                let bytes = &mut tensors.get_mut(name).unwrap().bytes;
                let place = bytes.len() - 4;
                bytes[place..].copy_from_slice(&f32::NAN.to_le_bytes());
            });
            let error = VisionLanguageFiles::open(scrap.path()).unwrap().load();
            let finite =
                matches!(&error, Err(ModelError::NotFiniteWeights { tensor }) if tensor == name);
            assert!(finite, "{name}: {error:?}");
        }
        // A layer with more than the architecture has.
        let more = match family {
            "llava" => "vision_tower.encoder.layers.0.self_attn.q_norm.weight",
            _ => "visual.blocks.0.attn.q_norm.weight",
        };
        let scrap = Scrap::copy_of(family);
        scrap.edit_tensors(|tensors| {
            let any = tensors.values().next().unwrap().clone();
            tensors.insert(more.to_owned(), any);
        });
        let error = opened(&scrap);
        let unsupported = matches!(error, ModelError::UnsupportedArchitecture { .. });
        assert!(unsupported, "{family}: {error:?}");
    }
}

#[test]
fn files_that_are_missing_or_damaged_are_named() {
    for family in FAMILIES {
        for file in [
            "config.json",
            "preprocessor_config.json",
            "model.safetensors",
        ] {
            let scrap = Scrap::copy_of(family);
            std::fs::write(scrap.file(file), b"{").unwrap();
            let error = opened(&scrap);
            let named = matches!(&error, ModelError::Corrupt { path, .. } if path.ends_with(file));
            assert!(named, "{file}: {error:?}");
            std::fs::remove_file(scrap.file(file)).unwrap();
            let error = opened(&scrap);
            let named = matches!(&error, ModelError::MissingFile { path } if path.ends_with(file));
            assert!(named, "{file}: {error:?}");
        }
    }
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let options = DecoderOptions::default().context_tokens(1 << 20);
    let error = ModelSpec::<Vision>::folder(data("llava"), options).err();
    assert!(
        matches!(error, Some(ModelError::InvalidConfig { .. })),
        "{error:?}"
    );
}

#[test]
fn pixels_of_other_sizes_are_refused_and_the_model_goes_on() {
    let context = StepContext::new(1);
    for (family, shapes) in [
        ("llava", [[3, 15, 10], [3, 20, 15], [3, 1, 1]]),
        ("qwen2_5_vl", [[3, 8, 12], [3, 7, 8], [3, 4, 4]]),
    ] {
        let mut model = load(family);
        for shape in shapes {
            let pixels = PixelTensor::new(shape, vec![0.1; shape.iter().product()]).unwrap();
            let error = model.look(&pixels, &context).unwrap_err();
            let wrong = matches!(error, ModelError::WrongShape { .. });
            assert!(wrong, "{family} {shape:?}: {error:?}");
        }
        let side = if family == "llava" { 15 } else { 16 };
        let mut values = vec![0.1; 3 * side * side];
        let fine = PixelTensor::new([3, side, side], values.clone()).unwrap();
        values[7] = f32::NAN;
        let spoilt = PixelTensor::new([3, side, side], values).unwrap();
        let error = model.look(&spoilt, &context).unwrap_err();
        assert!(matches!(error, ModelError::NotFiniteOutput), "{error:?}");
        assert!(model.look(&fine, &context).is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_does_not_fit_into_the_context_is_told_before_anything_is_loaded() {
    let universe = Universe::new(config()).await;
    // 35 rows of the picture, and 53 tokens around it.
    let spec = |name: &str, context| {
        let options = exact().context_tokens(context);
        ModelSpec::<Vision>::folder(data("qwen2_5_vl"), options)
            .unwrap()
            .named(name)
    };
    let picture = Reference::of("qwen2_5_vl").picture(0);
    let small = universe.register(spec("small", 88)).unwrap();
    let source = ImageSource::pixels(picture.clone());
    let error = within(small.describe_image(source, "What is this?", params())).await;
    let error = error.unwrap_err();
    let told = matches!(
        error,
        PoolError::Model {
            source: ModelError::PromptTooLong {
                tokens: 88,
                most: 87
            },
            ..
        }
    );
    assert!(told, "{error:?}");
    assert_eq!(universe.status().models[0].workers.len(), 0);
    let large = universe.register(spec("large", 89)).unwrap();
    let found = ask(&large, &picture, "What is this?", params()).await;
    // The first needs no place, the second is the last that has one.
    assert_eq!(ids(&found).len(), 2);
    // Of a shape that the reference does not take.
    let strip = RgbImage::new(201, 1, vec![9; 603]).unwrap();
    let strip = within(large.describe_image(ImageSource::pixels(strip), "What?", params())).await;
    let told = matches!(
        &strip,
        Err(PoolError::Model {
            source: ModelError::Image(ImageError::TooLarge { limit: 200, .. }),
            ..
        })
    );
    assert!(told, "{strip:?}");
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_for_a_picture_is_text_where_a_query_spells_it() {
    for family in FAMILIES {
        let placeholder = match family {
            "llava" => "<image>",
            _ => "<|image_pad|>",
        };
        let picture = Reference::of(family).picture(1);
        let (universe, model) = one_worker(family).await;
        let spelt = ask(&model, &picture, placeholder, params()).await;
        let wanted = Reference::of(family).numbers("1.tokens").len() - queries()[1].len();
        let tokens = |query: usize| wanted + query;
        let plain = ask(&model, &picture, "x", params()).await;
        assert_eq!(plain.summary.usage.prompt_tokens, tokens(1), "{family}");
        let length = placeholder.len();
        assert_eq!(
            spelt.summary.usage.prompt_tokens,
            tokens(length),
            "{family}"
        );
        universe.close().await;

        // Where it is no control token, too.
        let scrap = Scrap::copy_of(family);
        scrap.edit_json("tokenizer.json", |tokenizer| {
            for token in tokenizer["added_tokens"].as_array_mut().unwrap() {
                token["special"] = json!(token["content"] != placeholder);
            }
        });
        let universe = Universe::new(config()).await;
        let spec = ModelSpec::<Vision>::folder(scrap.path(), exact()).unwrap();
        let model = universe.register(spec.max_workers(1)).unwrap();
        let spelt = ask(&model, &picture, placeholder, params()).await;
        assert_eq!(
            spelt.summary.usage.prompt_tokens,
            tokens(length),
            "{family}"
        );
        universe.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_without_a_place_for_the_picture_is_told() {
    for template in ["{{ messages[0].content[1].text }}", "<image><image>"] {
        let scrap = Scrap::copy_of("llava");
        scrap.edit_json("chat_template.json", |file| {
            file["chat_template"] = json!(template);
        });
        let universe = Universe::new(config()).await;
        let spec = ModelSpec::<Vision>::folder(scrap.path(), exact()).unwrap();
        let model = universe.register(spec).unwrap();
        let source = ImageSource::pixels(Reference::of("llava").picture(1));
        let params = GenerationParams::default();
        let error = within(model.describe_image(source, "What?", params)).await;
        let told = matches!(
            &error,
            Err(PoolError::Model {
                source: ModelError::Tokenize { .. },
                ..
            })
        );
        assert!(told, "{template}: {error:?}");
        universe.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_a_template_is_asked_as_its_family_was_taught() {
    let scrap = Scrap::copy_of("llava");
    std::fs::remove_file(scrap.file("chat_template.json")).unwrap();
    let reference = Reference::of("llava");
    let (universe, model) = one_worker("llava").await;
    let wanted = ask(&model, &reference.picture(0), "What is this?", params()).await;
    universe.close().await;
    let universe = Universe::new(config()).await;
    let spec = ModelSpec::<Vision>::folder(scrap.path(), exact()).unwrap();
    let model = universe.register(spec).unwrap();
    let found = ask(&model, &reference.picture(0), "What is this?", params()).await;
    assert_eq!(found.answers, wanted.answers);
    universe.close().await;
}

#[test]
fn what_moondreams_tensors_contradict_is_told() {
    let visual = "vision_encoder.encoder.model.visual";
    let pos = format!("{visual}.pos_embed");
    let patches = format!("{visual}.patch_embed.linear.weight");
    for (name, shape) in [
        (&pos, vec![1, 8, 54]),
        (&pos, vec![432]),
        (&pos, vec![1, 432, 1]),
        (&patches, vec![50, 72]),
        (&patches, vec![75, 48]),
    ] {
        let scrap = Scrap::copy_of("moondream");
        scrap.edit_tensors(|tensors| tensors.get_mut(name).unwrap().shape = shape.clone());
        let error = opened(&scrap);
        let named = matches!(error, ModelError::WrongShape { .. });
        assert!(named, "{name} {shape:?}: {error:?}");
    }
    for name in [
        pos.as_str(),
        "vision_encoder.projection.mlp.fc1.weight",
        "text_model.lm_head.linear.bias",
        "text_model.transformer.h.1.mixer.Wqkv.weight",
    ] {
        let scrap = Scrap::copy_of("moondream");
        scrap.edit_tensors(|tensors| drop(tensors.remove(name)));
        let error = opened(&scrap);
        let missing =
            matches!(&error, ModelError::MissingTensor { tensor } if name.ends_with(tensor));
        assert!(missing, "{name}: {error:?}");
    }
    for (path, value, field) in [
        ("text_config", json!(3), "text_config"),
        ("text_config.hidden_size", json!(64), "hidden_size"),
        ("text_config.layer_norm_eps", json!(0), "layer_norm_eps"),
        (
            "text_config.partial_rotary_factor",
            json!(0.01),
            "partial_rotary_factor",
        ),
        ("text_config.qk_layernorm", json!(true), "qk_layernorm"),
    ] {
        let scrap = Scrap::copy_of("moondream");
        scrap.edit_json("config.json", |config| set(config, path, value.clone()));
        let error = opened(&scrap);
        let named = match &error {
            ModelError::InvalidConfig { field: found, .. } => found == field,
            ModelError::WrongShape { .. } => field == "hidden_size",
            _ => false,
        };
        assert!(named, "{path} = {value}: {error:?}");
    }
}
