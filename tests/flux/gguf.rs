//! The transformer from GGUF files with the names of FLUX's first code.

use std::path::PathBuf;

use half::{bf16, f16};
use modelpool::ModelError;
use modelpool::models::{DiffusionOptions, FluxFolder};
use modelpool::pool::capabilities::text_to_image::{
    Conditioning, Denoise, GuidanceKind, TextToImageCapable,
};
use modelpool::pool::core::StepContext;

use super::folders::{Named, Pipeline, Reference, WEIGHTS, load, worst_difference};
use super::gguf_writer::{GgufWriter, Meta, Tensor};

const BF16: u32 = 30;
const Q8_0: u32 = 8;
/// Values that share a scale.
const BLOCK: usize = 32;

/// The file's name for a tensor of the network, and which part of the file's tensor it is: of so many.
fn original(name: &str) -> (String, usize, usize) {
    let tops = [
        ("x_embedder", "img_in"),
        ("context_embedder", "txt_in"),
        (
            "time_text_embed.timestep_embedder.linear_1",
            "time_in.in_layer",
        ),
        (
            "time_text_embed.timestep_embedder.linear_2",
            "time_in.out_layer",
        ),
        (
            "time_text_embed.guidance_embedder.linear_1",
            "guidance_in.in_layer",
        ),
        (
            "time_text_embed.guidance_embedder.linear_2",
            "guidance_in.out_layer",
        ),
        (
            "time_text_embed.text_embedder.linear_1",
            "vector_in.in_layer",
        ),
        (
            "time_text_embed.text_embedder.linear_2",
            "vector_in.out_layer",
        ),
        ("norm_out.linear", "final_layer.adaLN_modulation.1"),
        ("proj_out", "final_layer.linear"),
    ];
    let double = [
        ("norm1.linear", "img_mod.lin", 0, 1),
        ("norm1_context.linear", "txt_mod.lin", 0, 1),
        ("attn.to_q", "img_attn.qkv", 0, 3),
        ("attn.to_k", "img_attn.qkv", 1, 3),
        ("attn.to_v", "img_attn.qkv", 2, 3),
        ("attn.add_q_proj", "txt_attn.qkv", 0, 3),
        ("attn.add_k_proj", "txt_attn.qkv", 1, 3),
        ("attn.add_v_proj", "txt_attn.qkv", 2, 3),
        ("attn.to_out.0", "img_attn.proj", 0, 1),
        ("attn.to_add_out", "txt_attn.proj", 0, 1),
        ("ff.net.0.proj", "img_mlp.0", 0, 1),
        ("ff.net.2", "img_mlp.2", 0, 1),
        ("ff_context.net.0.proj", "txt_mlp.0", 0, 1),
        ("ff_context.net.2", "txt_mlp.2", 0, 1),
    ];
    let double_norms = [
        ("attn.norm_q.weight", "img_attn.norm.query_norm.scale"),
        ("attn.norm_k.weight", "img_attn.norm.key_norm.scale"),
        ("attn.norm_added_q.weight", "txt_attn.norm.query_norm.scale"),
        ("attn.norm_added_k.weight", "txt_attn.norm.key_norm.scale"),
    ];
    let single = [
        ("norm.linear", "modulation.lin", 0, 1),
        ("attn.to_q", "linear1", 0, 4),
        ("attn.to_k", "linear1", 1, 4),
        ("attn.to_v", "linear1", 2, 4),
        ("proj_mlp", "linear1", 3, 4),
        ("proj_out", "linear2", 0, 1),
    ];
    let single_norms = [
        ("attn.norm_q.weight", "norm.query_norm.scale"),
        ("attn.norm_k.weight", "norm.key_norm.scale"),
    ];
    let (blocks, rest) = match name.strip_prefix("transformer_blocks.") {
        Some(rest) => ("double_blocks", rest),
        None => match name.strip_prefix("single_transformer_blocks.") {
            Some(rest) => ("single_blocks", rest),
            None => {
                let (layer, kind) = name.rsplit_once('.').expect("a layer's tensor");
                let (_, new) = tops.iter().find(|(old, _)| *old == layer).expect("a layer");
                return (format!("{new}.{kind}"), 0, 1);
            }
        },
    };
    let (number, rest) = rest.split_once('.').expect("a block's tensor");
    let is_double = blocks == "double_blocks";
    let norms: &[(&str, &str)] = if is_double {
        &double_norms
    } else {
        &single_norms
    };
    if let Some((_, new)) = norms.iter().find(|(old, _)| *old == rest) {
        return (format!("{blocks}.{number}.{new}"), 0, 1);
    }
    let (layer, kind) = rest.rsplit_once('.').expect("a layer's tensor");
    let layers: &[(&str, &str, usize, usize)] = if is_double { &double } else { &single };
    let (_, new, part, of) = layers
        .iter()
        .find(|(old, ..)| *old == layer)
        .expect("a layer");
    (format!("{blocks}.{number}.{new}.{kind}"), *part, *of)
}

/// The network's tensors under the file's names, in the file's order of rows.
fn originals(tensors: &[Named]) -> Vec<Named> {
    let mut parts: Vec<(String, usize, &Named)> = tensors
        .iter()
        .map(|tensor| {
            let (name, part, _) = original(&tensor.name);
            (name, part, tensor)
        })
        .collect();
    parts.sort_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)));
    let mut made: Vec<Named> = Vec::new();
    for (name, part, tensor) in parts {
        match made.last_mut() {
            Some(last) if part > 0 => {
                assert_eq!(last.name, name);
                last.shape[0] += tensor.shape[0];
                last.values.extend(&tensor.values);
            }
            _ => made.push(Named {
                name,
                ..tensor.clone()
            }),
        }
    }
    for tensor in &mut made {
        if tensor.name.starts_with("final_layer.adaLN") {
            let half = tensor.values.len() / 2;
            tensor.values.rotate_left(half);
        }
    }
    made
}

/// Quantises in blocks of 32: a scale in half precision and 32 bytes.
fn quantised(values: &[f32]) -> Vec<u8> {
    let block = |values: &[f32]| {
        let most = values
            .iter()
            .fold(0.0_f32, |most, value| most.max(value.abs()));
        let scale = f16::from_f32(most / 127.0);
        let steps = values.iter().map(|value| {
            let step = value / scale.to_f32().max(1e-12);
            step.round().clamp(-127.0, 127.0) as i8 as u8
        });
        let mut bytes = scale.to_le_bytes().to_vec();
        bytes.extend(steps);
        bytes
    };
    values.chunks_exact(BLOCK).flat_map(block).collect()
}

/// The same rounded values as single precision.
fn dequantised(values: &[f32]) -> Vec<f32> {
    let bytes = quantised(values);
    let block = |block: &[u8]| {
        let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
        let steps: Vec<f32> = block[2..]
            .iter()
            .map(|step| scale * f32::from(*step as i8))
            .collect();
        steps
    };
    bytes.chunks_exact(BLOCK + 2).flat_map(block).collect()
}

/// Whether quantisers round this tensor: matrices of whole blocks.
fn is_rounded(tensor: &Named) -> bool {
    tensor.shape.len() == 2 && tensor.shape[1].is_multiple_of(BLOCK)
}

fn writer(tensors: &[Named], prefix: &str, is_quantised: bool) -> GgufWriter {
    let mut writer = GgufWriter::new().meta("general.architecture", Meta::text("flux"));
    for tensor in originals(tensors) {
        let name = format!("{prefix}{}", tensor.name);
        let is_matrix = tensor.shape.len() == 2;
        if is_quantised && is_rounded(&tensor) {
            let bytes = quantised(&tensor.values);
            writer.tensors.push(raw(name, &tensor, Q8_0, bytes));
        } else if is_matrix {
            let words = tensor.values.iter().map(|value| bf16::from_f32(*value));
            let bytes = words.flat_map(bf16::to_le_bytes).collect();
            writer.tensors.push(raw(name, &tensor, BF16, bytes));
        } else {
            writer = writer.f32(&name, &tensor.shape, &tensor.values);
        }
    }
    writer
}

fn raw(name: String, tensor: &Named, kind: u32, bytes: Vec<u8>) -> Tensor {
    Tensor {
        name,
        dimensions: tensor.shape.iter().rev().map(|side| *side as u64).collect(),
        kind,
        bytes,
        offset: None,
    }
}

fn write(pipeline: &Pipeline, writer: &GgufWriter) -> PathBuf {
    pipeline.write("flux.gguf", &writer.bytes());
    pipeline.path().join("flux.gguf")
}

/// What a model makes of the reference's first latents.
fn step(folder: &FluxFolder) -> Vec<f32> {
    let reference = Reference::of("dev");
    let mut painter = load(folder);
    let guidance = (folder.description().guidance == GuidanceKind::Embedded).then_some(3.5);
    let conditioning = Conditioning {
        hidden: reference.values("hidden.0"),
        tokens: 40,
        width: 32,
        pooled: reference.values("pooled.0"),
        extra: Vec::new(),
    };
    let latents = reference.values("step.0.latents");
    let entry = Denoise {
        latents: &latents,
        width: 8,
        height: 8,
        timestep: 612.3,
        conditioning: &conditioning,
        guidance,
    };
    let made = painter.predict(&[entry], &StepContext::new(1));
    made.expect("a step").remove(0)
}

#[test]
fn a_file_without_loss_is_as_good_as_the_folder() {
    for (pipeline, prefix) in [
        (Pipeline::schnell(), ""),
        (Pipeline::dev(), "model.diffusion_model."),
    ] {
        let from_folder = pipeline.open();
        let tensors = pipeline.tensors();
        let path = write(&pipeline, &writer(&tensors, prefix, false));
        // Nothing of a transformer but its configuration is needed then.
        pipeline.remove(WEIGHTS);
        assert!(matches!(
            FluxFolder::open(pipeline.path(), &DiffusionOptions::default()),
            Err(ModelError::MissingFile { .. })
        ));
        let from_file =
            FluxFolder::open_with_gguf(pipeline.path(), &path, &DiffusionOptions::default())
                .expect("a sound file");
        assert_eq!(from_file.weight_bytes(), from_folder.weight_bytes());
        assert_eq!(from_file.description(), from_folder.description());
        pipeline.set_tensors(&tensors);
        assert_eq!(step(&from_file), step(&pipeline.open()));
    }
}

#[test]
fn quantised_weights_are_what_the_file_says() {
    let pipeline = Pipeline::dev();
    let mut tensors = pipeline.tensors();
    let path = write(&pipeline, &writer(&tensors, "", true));
    let exact = step(&pipeline.open());
    for tensor in &mut tensors {
        if is_rounded(tensor) {
            tensor.values = dequantised(&tensor.values);
        }
    }
    pipeline.set_tensors(&tensors);
    let wanted = step(&pipeline.open());
    let made = step(
        &FluxFolder::open_with_gguf(pipeline.path(), path, &DiffusionOptions::default())
            .expect("a sound file"),
    );
    let difference = worst_difference(&made, &wanted);
    let rounding = worst_difference(&made, &exact);
    println!("{difference} from the rounded weights, {rounding} from the exact ones");
    assert!(difference <= 1e-5);
    assert!((1e-3..0.5).contains(&rounding));
}

#[test]
fn the_guidance_is_what_the_file_has() {
    // The folder of one and the file of the other, but for the guidance the same.
    let pipeline = Pipeline::dev();
    let path = write(&pipeline, &writer(&pipeline.tensors(), "", false));
    pipeline.edit_json("transformer/config.json", |config| {
        config["guidance_embeds"] = false.into();
    });
    let folder = FluxFolder::open_with_gguf(pipeline.path(), path, &DiffusionOptions::default())
        .expect("a sound file");
    assert_eq!(folder.description().guidance, GuidanceKind::Embedded);
}

fn fault(edit: impl FnOnce(&mut GgufWriter)) -> ModelError {
    let pipeline = Pipeline::dev();
    let mut writer = writer(&pipeline.tensors(), "", false);
    edit(&mut writer);
    let path = write(&pipeline, &writer);
    let opened = FluxFolder::open_with_gguf(pipeline.path(), path, &DiffusionOptions::default());
    match opened.and_then(|folder| folder.load().map(drop)) {
        Err(error) => error,
        Ok(()) => panic!("a broken file was loaded"),
    }
}

fn tensor<'a>(writer: &'a mut GgufWriter, name: &str) -> &'a mut Tensor {
    let mut all = writer.tensors.iter_mut();
    all.find(|tensor| tensor.name == name).expect("a tensor")
}

#[test]
fn files_of_other_models_are_refused() {
    let error = fault(|writer| writer.metadata[0].1 = Meta::text("llama"));
    assert!(matches!(error, ModelError::UnsupportedArchitecture { found, .. } if found == "llama"));
    let error = fault(|writer| writer.metadata.clear());
    assert!(matches!(error, ModelError::UnsupportedArchitecture { .. }));
    let error = fault(|writer| {
        let mut more = tensor(writer, "img_in.bias").clone();
        more.name = "img_in.lora".to_owned();
        writer.tensors.push(more);
    });
    assert!(
        matches!(&error, ModelError::UnsupportedArchitecture { found, .. } if found.contains("img_in.lora")),
        "{error:?}"
    );
    let error = fault(|writer| {
        let mut more = tensor(writer, "single_blocks.0.modulation.lin.bias").clone();
        more.name = "single_blocks.2.modulation.lin.bias".to_owned();
        writer.tensors.push(more);
    });
    assert!(
        matches!(&error, ModelError::InvalidConfig { field, .. } if field == "single_blocks"),
        "{error:?}"
    );
}

#[test]
fn broken_tensors_are_named() {
    let missing = "double_blocks.0.txt_mlp.2.bias";
    let error = fault(|writer| writer.tensors.retain(|tensor| tensor.name != missing));
    assert!(
        matches!(&error, ModelError::MissingTensor { tensor } if tensor.contains("ff_context.net.2.bias")),
        "{error:?}"
    );
    // Too few rows for queries, keys and values.
    let error = fault(|writer| {
        let tensor = tensor(writer, "double_blocks.0.img_attn.qkv.weight");
        tensor.dimensions[1] = 64;
        tensor.bytes.truncate(64 * 32 * 2);
    });
    assert!(
        matches!(&error, ModelError::WrongShape { tensor, .. } if tensor.contains("img_attn.qkv")),
        "{error:?}"
    );
    let error = fault(|writer| {
        let tensor = tensor(writer, "img_in.weight");
        tensor.dimensions.reverse();
    });
    assert!(matches!(&error, ModelError::WrongShape { .. }), "{error:?}");
    // Eight-bit whole numbers.
    let error = fault(|writer| {
        let tensor = tensor(writer, "txt_in.weight");
        tensor.kind = 24;
        tensor.bytes.truncate(tensor.bytes.len() / 2);
    });
    assert!(
        matches!(&error, ModelError::WrongDtype { tensor, .. } if tensor == "txt_in.weight"),
        "{error:?}"
    );
    let error = fault(|writer| {
        let nan = bf16::NAN.to_le_bytes();
        tensor(writer, "single_blocks.1.linear1.weight").bytes[..2].copy_from_slice(&nan);
    });
    assert!(
        matches!(&error, ModelError::NotFiniteWeights { tensor } if tensor.contains("linear1")),
        "{error:?}"
    );
}
