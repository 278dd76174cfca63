//! Files and options that make no sense are refused at once, and the error names what is wrong.

use std::sync::Arc;

use modelpool::ModelError;
use modelpool::models::{CacheFormat, DecoderFiles, DecoderOptions};
use modelpool::pool::capabilities::text_to_text::WantedLogits;
use serde_json::json;

use crate::families::data;
use crate::gguf_writer::{GgufWriter, Meta, Tensor};
use crate::runner::{Part, Runner, blocks, exact};
use crate::scrap::Scrap;

/// A Llama of one layer, to be spoilt.
fn small() -> GgufWriter {
    let ones = |count: usize| vec![0.5; count];
    let mut writer = GgufWriter::new()
        .meta("general.architecture", Meta::text("llama"))
        .meta("llama.context_length", Meta::U32(64))
        .meta("llama.embedding_length", Meta::U32(8))
        .meta("llama.block_count", Meta::U32(1))
        .meta("llama.feed_forward_length", Meta::U32(12))
        .meta("llama.attention.head_count", Meta::U32(2))
        .meta("llama.attention.head_count_kv", Meta::U32(1))
        .meta("llama.attention.layer_norm_rms_epsilon", Meta::F32(1e-5));
    for (name, shape) in [
        ("token_embd.weight", &[16, 8][..]),
        ("output_norm.weight", &[8]),
        ("blk.0.attn_norm.weight", &[8]),
        ("blk.0.attn_q.weight", &[8, 8]),
        ("blk.0.attn_k.weight", &[4, 8]),
        ("blk.0.attn_v.weight", &[4, 8]),
        ("blk.0.attn_output.weight", &[8, 8]),
        ("blk.0.ffn_norm.weight", &[8]),
        ("blk.0.ffn_gate.weight", &[12, 8]),
        ("blk.0.ffn_up.weight", &[12, 8]),
        ("blk.0.ffn_down.weight", &[8, 12]),
    ] {
        writer = writer.f32(name, shape, &ones(shape.iter().product()));
    }
    writer
}

fn open(writer: &GgufWriter) -> Result<DecoderFiles, ModelError> {
    DecoderFiles::from_gguf(Arc::new(writer.read()?))
}

/// The file with one entry replaced.
fn with(key: &str, value: Meta) -> GgufWriter {
    let mut writer = small();
    writer.metadata.retain(|(name, _)| name != key);
    writer.meta(key, value)
}

fn tensor<'a>(writer: &'a mut GgufWriter, name: &str) -> &'a mut Tensor {
    let mut tensors = writer.tensors.iter_mut();
    tensors
        .find(|tensor| tensor.name == name)
        .expect("a tensor")
}

fn field(error: ModelError) -> String {
    match error {
        ModelError::InvalidConfig { field, .. } => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_sound_one_runs() {
    let files = open(&small()).unwrap();
    let mut runner = Runner::load(&files, &exact()).unwrap();
    let rows = runner.sequence(&[1, 2, 3], &blocks([0]), 3);
    assert!(rows.iter().flatten().all(|logit| logit.is_finite()));
}

#[test]
fn entries_that_make_no_sense_are_named() {
    let cases = [
        ("llama.context_length", Meta::U32(0)),
        ("llama.embedding_length", Meta::text("eight")),
        ("llama.embedding_length", Meta::U32(u32::MAX)),
        ("llama.block_count", Meta::U32(0)),
        ("llama.block_count", Meta::U32(1_000_000)),
        ("llama.attention.head_count", Meta::U32(3)),
        ("llama.attention.head_count_kv", Meta::U32(0)),
        ("llama.attention.key_length", Meta::U32(0)),
        ("llama.attention.value_length", Meta::U32(2)),
        ("llama.rope.dimension_count", Meta::U32(3)),
        ("llama.rope.dimension_count", Meta::U32(64)),
        ("llama.rope.freq_base", Meta::F32(-1.0)),
        ("llama.rope.freq_base", Meta::F32(f32::NAN)),
        ("llama.rope.scaling.type", Meta::text("magic")),
        ("llama.attention.layer_norm_rms_epsilon", Meta::F32(0.0)),
        ("split.count", Meta::U32(2)),
    ];
    for (key, value) in cases {
        let shown = format!("{key} = {value:?}");
        let found = open(&with(key, value)).map(|_| ()).expect_err(&shown);
        let expected = match key {
            "llama.attention.head_count" => "llama.attention.head_count_kv",
            "llama.rope.scaling.type" => "llama.rope.scaling.type",
            key => key,
        };
        let found = field(found);
        assert!(found == expected || found == key, "{shown}: {found}");
    }
    let mut missing = small();
    missing
        .metadata
        .retain(|(key, _)| key != "llama.block_count");
    assert_eq!(field(open(&missing).unwrap_err()), "llama.block_count");
}

#[test]
fn architectures_that_are_not_built_in_list_those_that_are() {
    for (key, value, word) in [
        ("general.architecture", Meta::text("rwkv7"), "rwkv7"),
        ("llama.expert_count", Meta::U32(8), "experts"),
    ] {
        match open(&with(key, value)) {
            Err(ModelError::UnsupportedArchitecture { found, supported }) => {
                assert!(found.contains(word), "{found}");
                assert!(supported.contains(&"llama"));
            }
            other => panic!("{other:?}"),
        }
    }
    let mut more = small();
    more = more.f32("blk.0.attn_sinks.weight", &[2], &[0.0, 0.0]);
    match open(&more) {
        Err(ModelError::UnsupportedArchitecture { found, .. }) => {
            assert!(found.contains("blk.0.attn_sinks.weight"), "{found}");
        }
        other => panic!("{other:?}"),
    }
    let folder = Scrap::copy_of("llama");
    folder.edit_json("config.json", |config| {
        config["model_type"] = "mixtral".into()
    });
    folder.edit_json("config.json", |config| {
        config["num_local_experts"] = 8.into()
    });
    match DecoderFiles::open(folder.path()) {
        Err(ModelError::UnsupportedArchitecture { found, .. }) => {
            assert!(found.contains("mixtral with experts"), "{found}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    let names: Vec<String> = small()
        .tensors
        .iter()
        .map(|tensor| tensor.name.clone())
        .collect();
    for name in names {
        let mut missing = small();
        missing.tensors.retain(|tensor| tensor.name != name);
        match open(&missing) {
            Err(ModelError::MissingTensor { tensor }) => assert_eq!(tensor, name),
            other => panic!("{name}: {other:?}"),
        }
        let mut misshapen = small();
        let spoilt = tensor(&mut misshapen, &name);
        spoilt.dimensions.push(2);
        spoilt.bytes.extend_from_within(..);
        match open(&misshapen) {
            Err(ModelError::WrongShape { tensor, .. }) => assert_eq!(tensor, name),
            other => panic!("{name}: {other:?}"),
        }
        let mut whole = small();
        tensor(&mut whole, &name).kind = 26;
        match open(&whole) {
            Err(ModelError::WrongDtype { tensor, found, .. }) => {
                assert_eq!((tensor, found.as_str()), (name.clone(), "I32"));
            }
            other => panic!("{name}: {other:?}"),
        }
        let mut unsound = small();
        let bytes = &mut tensor(&mut unsound, &name).bytes;
        bytes[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
        match open(&unsound).unwrap().load() {
            Err(ModelError::NotFiniteWeights { tensor }) => assert_eq!(tensor, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn scales_of_blocks_have_to_be_numbers() {
    let mut writer = small();
    let words = tensor(&mut writer, "token_embd.weight");
    // The rows become blocks of Q8_0 of 32 elements, of which the first has an infinite scale.
    words.kind = 8;
    words.dimensions = vec![32, 16];
    words.bytes = [[0x00, 0x7c].as_slice(), &[1; 32]].concat().repeat(16);
    writer
        .metadata
        .retain(|(key, _)| key != "llama.embedding_length");
    writer = writer.meta("llama.embedding_length", Meta::U32(32));
    for (name, rows) in [
        ("output_norm.weight", 0),
        ("blk.0.attn_norm.weight", 0),
        ("blk.0.attn_q.weight", 32),
        ("blk.0.attn_k.weight", 16),
        ("blk.0.attn_v.weight", 16),
        ("blk.0.attn_output.weight", 32),
        ("blk.0.ffn_norm.weight", 0),
        ("blk.0.ffn_gate.weight", 12),
        ("blk.0.ffn_up.weight", 12),
    ] {
        let spoilt = tensor(&mut writer, name);
        spoilt.dimensions = if rows == 0 { vec![32] } else { vec![32, rows] };
        spoilt.bytes = vec![0; 4 * 32 * rows.max(1) as usize];
    }
    let down = tensor(&mut writer, "blk.0.ffn_down.weight");
    down.dimensions = vec![12, 32];
    down.bytes = vec![0; 4 * 12 * 32];
    match open(&writer).unwrap().load() {
        Err(ModelError::NotFiniteWeights { tensor }) => assert_eq!(tensor, "token_embd.weight"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_is_cut_after_opening_is_corrupt() {
    let folder = Scrap::copy_of("qwen3");
    for name in ["model.gguf", "model.safetensors"] {
        let path = match name {
            "model.gguf" => folder.file(name),
            _ => folder.path().to_owned(),
        };
        let files = DecoderFiles::open(path).unwrap();
        let bytes = std::fs::read(folder.file(name)).unwrap();
        std::fs::write(folder.file(name), &bytes[..bytes.len() - 64]).unwrap();
        assert!(matches!(files.load(), Err(ModelError::Corrupt { .. })));
    }
}

#[test]
fn fields_that_make_no_sense_are_named() {
    let cases = [
        ("model_type", json!(null)),
        ("hidden_size", json!(-3)),
        ("hidden_size", json!(1_u64 << 40)),
        ("num_hidden_layers", json!(100_000)),
        ("num_key_value_heads", json!(3)),
        ("head_dim", json!(0)),
        ("max_position_embeddings", json!(0)),
        ("hidden_act", json!("laplace")),
        ("layer_types", json!(["full_attention"])),
        ("layer_types", json!(["full_attention", "linear_attention"])),
    ];
    for (name, value) in cases {
        let folder = Scrap::copy_of("llama");
        let shown = format!("{name} = {value}");
        folder.edit_json("config.json", |config| config[name] = value);
        let found = DecoderFiles::open(folder.path()).map(|_| ());
        assert_eq!(field(found.expect_err(&shown)), name, "{shown}");
    }
    let ropes = [
        ("factor", json!({"rope_type": "linear"})),
        ("factor", json!({"rope_type": "linear", "factor": 0})),
        ("rope_type", json!({"rope_type": "dynamic", "factor": 2})),
        (
            "rope_theta",
            json!({"rope_type": "default", "rope_theta": 0.5}),
        ),
        (
            "long_factor",
            json!({"rope_type": "longrope", "short_factor": [1, 1, 1, 1],
            "long_factor": [1, 1], "original_max_position_embeddings": 16}),
        ),
        (
            "partial_rotary_factor",
            json!({"rope_type": "default", "partial_rotary_factor": 0.4}),
        ),
        (
            "mscale",
            json!({"rope_type": "yarn", "factor": 2, "mscale": 0.7}),
        ),
    ];
    for (name, rope) in ropes {
        let folder = Scrap::copy_of("llama");
        let shown = rope.to_string();
        folder.edit_json("config.json", |config| config["rope_parameters"] = rope);
        let found = DecoderFiles::open(folder.path()).map(|_| ());
        assert_eq!(field(found.expect_err(&shown)), name, "{shown}");
    }
}

#[test]
fn options_are_checked_against_the_model() {
    let files = DecoderFiles::open(data("llama")).unwrap();
    let usual = DecoderOptions::default();
    for (name, options) in [
        ("context_tokens", usual.clone().context_tokens(0)),
        ("context_tokens", usual.clone().context_tokens(65)),
        ("cache_tokens", usual.clone().cache_tokens(63)),
        ("cache_tokens", usual.clone().cache_tokens(usize::MAX)),
        ("step_tokens", usual.clone().step_tokens(0)),
        ("step_tokens", usual.clone().step_tokens(usize::MAX)),
    ] {
        assert_eq!(field(files.estimated_bytes(&options).unwrap_err()), name);
        let refused = Runner::load(&files, &options).map(|_| ());
        assert_eq!(field(refused.unwrap_err()), name);
    }
    // Two layers of two heads of 8: keys and values.
    assert_eq!(
        files.cache_bytes_per_token(CacheFormat::F32),
        2 * 2 * 2 * 8 * 4
    );
    assert_eq!(
        files.cache_bytes_per_token(CacheFormat::F16),
        2 * 2 * 2 * 8 * 2
    );
    assert_eq!(
        files.cache_bytes_per_token(CacheFormat::Q8),
        2 * 2 * 2 * (8 + 2)
    );
}

#[test]
fn steps_that_cannot_be_run_are_refused_and_harm_nobody() {
    let mut runner = Runner::open(&data("llama"), &exact());
    let table = blocks([0, 1]);
    let sound = runner.sequence(&[5, 6, 7], &table, 3);
    let long = vec![3; 65];
    let (short, foreign) = (blocks([2]), blocks([2, 10]));
    let many = blocks([2, 3, 4]);
    for (word, tokens, position, blocks) in [
        ("no tokens", &[][..], 0, &table),
        ("vocabulary", &[48], 0, &table),
        ("more than", &long, 0, &many),
        ("more than", &[3], usize::MAX, &many),
        ("blocks", &long[..40], 0, &short),
        ("block 10", &long[..40], 0, &foreign),
    ] {
        let refused = runner.try_step(&[Part {
            tokens,
            position,
            blocks,
            logits: WantedLogits::Last,
        }]);
        match refused {
            Err(ModelError::InvalidStep { detail, .. }) => {
                assert!(detail.contains(word), "{detail}");
            }
            other => panic!("{word}: {other:?}"),
        }
    }
    assert!(runner.step(&[]).is_empty());
    assert!(runner.sequence(&[5, 6, 7], &table, 3) == sound);
}
