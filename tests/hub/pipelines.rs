//! Pipelines of diffusers: files in folders.

use std::fs;

use modelpool::models::ModelError;
use modelpool::sources::FolderModel;
use modelpool::{ModelSpec, TextToImage};

use crate::hub_server::{HubServer, Repository};
use crate::{ID, Scratch, model, offline};

const INDEX: &[u8] = br#"{
    "_class_name": "StableDiffusionXLPipeline",
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "image_encoder": [null, null],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}"#;

const SHARDS: &[u8] = br#"{"weight_map": {"a": "diffusion_pytorch_model-1-of-2.safetensors",
    "b": "diffusion_pytorch_model-2-of-2.safetensors"}}"#;

const WANTED: [(&str, &[u8]); 17] = [
    ("model_index.json", INDEX),
    ("scheduler/scheduler_config.json", b"{\"a\":1}"),
    ("text_encoder/config.json", b"{\"b\":1}"),
    ("text_encoder/model.safetensors", b"weights of the first"),
    ("text_encoder_2/config.json", b"{\"c\":1}"),
    ("text_encoder_2/model.fp16.safetensors", b"halves"),
    ("tokenizer/merges.txt", b"#version"),
    ("tokenizer/special_tokens_map.json", b"{\"d\":1}"),
    ("tokenizer/tokenizer_config.json", b"{\"e\":1}"),
    ("tokenizer/vocab.json", b"{\"f\":1}"),
    ("tokenizer_2/tokenizer.json", b"{\"g\":1}"),
    ("unet/config.json", b"{\"h\":1}"),
    (
        "unet/diffusion_pytorch_model.safetensors.index.json",
        SHARDS,
    ),
    ("unet/diffusion_pytorch_model-1-of-2.safetensors", b"one"),
    ("unet/diffusion_pytorch_model-2-of-2.safetensors", b"two"),
    ("vae/config.json", b"{\"i\":1}"),
    ("vae/diffusion_pytorch_model.safetensors", b"single"),
];

const UNWANTED: [&str; 9] = [
    "README.md",
    "sd_xl_base_1.0.safetensors",
    "text_encoder/model.fp16.safetensors",
    "text_encoder/pytorch_model.bin",
    "safety_checker/model.safetensors",
    "safety_checker/config.json",
    "vae/diffusion_pytorch_model.fp16.safetensors",
    "vae_1_0/diffusion_pytorch_model.safetensors",
    "unet/model.onnx",
];

fn pipeline() -> Repository {
    let mut files = WANTED.to_vec();
    files.extend(UNWANTED.map(|name| (name, b"not needed".as_slice())));
    Repository::new(ID, &files)
}

#[test]
fn the_parts_that_paint_are_fetched_and_nothing_else() {
    let (server, scratch) = (HubServer::start(pipeline()), Scratch::new("pipeline"));
    let folder = model(&server, &scratch).fetch_blocking().unwrap();
    for (name, content) in WANTED {
        assert_eq!(fs::read(folder.join(name)).unwrap(), content, "{name}");
    }
    for name in UNWANTED {
        assert!(!folder.join(name).exists(), "{name}");
    }
    assert_eq!(server.take_requests().len(), 1 + WANTED.len());
    assert_eq!(FolderModel::new(&folder).locate().unwrap(), folder);
    assert_eq!(offline(&scratch).fetch_blocking().unwrap(), folder);

    for (name, _) in WANTED {
        // Without these, another tokenizer or none is looked for when it is read.
        if name.starts_with("tokenizer/") || name == "model_index.json" {
            continue;
        }
        let (path, aside) = (folder.join(name), scratch.cache().join("aside"));
        fs::rename(&path, &aside).unwrap();
        let error = FolderModel::new(&folder).locate().unwrap_err();
        assert!(
            matches!(error, ModelError::MissingFile { .. }),
            "{name}: {error}"
        );
        let error = offline(&scratch).fetch_blocking().unwrap_err();
        assert!(
            matches!(error, ModelError::NotCached { .. }),
            "{name}: {error}"
        );
        fs::rename(&aside, &path).unwrap();
    }
}

#[test]
fn weights_in_other_formats_only_are_not_there() {
    let (server, scratch) = (HubServer::start(pipeline()), Scratch::new("bin-only"));
    server
        .repository()
        .files
        .remove("vae/diffusion_pytorch_model.safetensors");
    server
        .repository()
        .files
        .remove("vae/diffusion_pytorch_model.fp16.safetensors");
    let error = model(&server, &scratch).fetch_blocking().unwrap_err();
    let ModelError::HubNotFound { file, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(file, "vae/diffusion_pytorch_model.safetensors");
}

#[test]
fn a_shard_cannot_lead_outside_of_its_part() {
    let (server, scratch) = (HubServer::start(pipeline()), Scratch::new("outside"));
    let index = br#"{"weight_map": {"a": "../../../../stolen.safetensors"}}"#;
    server.repository().files.insert(
        "unet/diffusion_pytorch_model.safetensors.index.json".to_owned(),
        index.to_vec(),
    );
    let error = model(&server, &scratch).fetch_blocking().unwrap_err();
    assert!(matches!(error, ModelError::Corrupt { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_of_the_hub_is_ready_to_be_registered() {
    fn read(folder: &std::path::Path, top: &std::path::Path, files: &mut Vec<(String, Vec<u8>)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, top, files);
            } else {
                let name = path.strip_prefix(top).unwrap().display().to_string();
                files.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    let tiny = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/diffusion/sdxl");
    let mut files = Vec::new();
    read(&tiny, &tiny, &mut files);
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_slice()))
        .collect();
    let (server, scratch) = (
        HubServer::start(Repository::new(ID, &files)),
        Scratch::new("tiny-pipeline"),
    );
    let spec = ModelSpec::<TextToImage>::hub(model(&server, &scratch));
    let spec = spec.await.unwrap();
    assert_eq!(spec.info().name, ID);
    assert_eq!(spec.description().latent_channels, 4);
}
