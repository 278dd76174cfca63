//! The GGUF reader: what it gives back, and what it refuses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelpool::ModelError;
use modelpool::models::Gguf;
use proptest::prelude::*;

use crate::gguf_writer::{GgufWriter, Meta, Tensor};
use crate::real_models;

fn sample() -> GgufWriter {
    GgufWriter::new()
        .meta("general.architecture", Meta::text("llama"))
        .meta("count", Meta::U32(7))
        .meta("wide", Meta::U64(1 << 40))
        .meta("below", Meta::I32(-3))
        .meta("ratio", Meta::F32(0.5))
        .meta("flag", Meta::Bool(true))
        .meta("types", Meta::I32s(vec![1, -1, 3]))
        .meta("scores", Meta::F32s(vec![0.25, -1.0]))
        .meta("pattern", Meta::Bools(vec![true, false]))
        .meta("tokens", Meta::texts(&["a", "", "Ġé"]))
        .f32("first", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        .f32("second", &[1], &[7.0])
}

fn refusal(writer: &GgufWriter) -> String {
    match writer.read() {
        Err(ModelError::Corrupt { detail, .. }) => detail,
        other => panic!("expected a corrupt file, found {other:?}"),
    }
}

#[test]
fn gives_back_what_was_written() {
    for version in [2, 3] {
        let mut writer = sample();
        writer.version = version;
        let gguf = writer.read().expect("a sound file");
        assert_eq!(gguf.str("general.architecture").unwrap(), Some("llama"));
        assert_eq!(gguf.u32("count").unwrap(), Some(7));
        assert_eq!(gguf.f32("count").unwrap(), Some(7.0));
        assert_eq!(gguf.f32("ratio").unwrap(), Some(0.5));
        assert_eq!(gguf.bool("flag").unwrap(), Some(true));
        assert_eq!(gguf.i32s("types").unwrap(), Some(vec![1, -1, 3]));
        assert_eq!(gguf.f32s("scores").unwrap(), Some(vec![0.25, -1.0]));
        assert_eq!(gguf.bools("pattern").unwrap(), Some(vec![true, false]));
        let tokens = gguf.strs("tokens").unwrap().expect("tokens");
        assert_eq!(tokens.iter().collect::<Vec<_>>(), ["a", "", "Ġé"]);
        assert_eq!(tokens.get(3), None);
        assert_eq!(gguf.array_len("tokens"), Some(3));

        let first = gguf.tensor("first").expect("a tensor");
        assert_eq!(first.shape(), [2, 3]);
        assert_eq!(first.kind().name(), "F32");
        assert_eq!(first.bytes(), 24);
        let bytes = gguf.read_tensor("second").unwrap();
        assert_eq!(bytes, 7.0_f32.to_le_bytes());
    }
}

#[test]
fn a_file_on_disk_is_read_as_one_in_memory() {
    let path = std::env::temp_dir().join(format!("modelpool-{}.gguf", std::process::id()));
    let bytes = sample().bytes();
    std::fs::write(&path, &bytes).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.read_tensor("second").unwrap(), 7.0_f32.to_le_bytes());
    // The file is cut after it was opened.
    std::fs::write(&path, &bytes[..bytes.len() - 2]).unwrap();
    assert!(matches!(
        gguf.read_tensor("second"),
        Err(ModelError::Corrupt { .. })
    ));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(
        Gguf::open(&path),
        Err(ModelError::MissingFile { .. })
    ));
}

#[test]
fn an_entry_of_another_type_is_named() {
    let gguf = sample().read().unwrap();
    let field = |error: ModelError| match error {
        ModelError::InvalidConfig { field, .. } => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(gguf.u32("below").unwrap_err()), "below");
    assert_eq!(field(gguf.u32("wide").unwrap_err()), "wide");
    assert_eq!(field(gguf.u32("ratio").unwrap_err()), "ratio");
    assert_eq!(field(gguf.u32("flag").unwrap_err()), "flag");
    assert_eq!(field(gguf.str("count").unwrap_err()), "count");
    assert_eq!(field(gguf.u32s("types").unwrap_err()), "types");
    assert_eq!(field(gguf.strs("types").unwrap_err()), "types");
    assert_eq!(gguf.u32("absent").unwrap(), None);
    assert_eq!(gguf.strs("absent").unwrap().map(|_| ()), None);
}

#[test]
fn every_cut_is_refused() {
    let bytes = sample().bytes();
    for length in 0..bytes.len() {
        let cut = Gguf::from_bytes("cut.gguf", Arc::from(&bytes[..length]));
        assert!(
            matches!(cut, Err(ModelError::Corrupt { .. })),
            "{length} bytes of {}",
            bytes.len()
        );
    }
}

#[test]
fn counts_that_lie_cost_nothing() {
    let begin = Instant::now();
    for lie in [1 << 13, 1 << 20, u64::MAX / 2, u64::MAX] {
        for place in 0..2 {
            let mut writer = sample();
            writer.counts[place] = Some(lie);
            refusal(&writer);
        }
        let texts = [&8_u32.to_le_bytes()[..], &lie.to_le_bytes()].concat();
        let numbers = [&5_u32.to_le_bytes()[..], &lie.to_le_bytes()].concat();
        let arrays = [&9_u32.to_le_bytes()[..], &lie.to_le_bytes()].concat();
        for array in [texts, numbers, arrays] {
            refusal(&sample().meta("lie", Meta::Raw(9, array)));
        }
        refusal(&sample().meta("lie", Meta::Raw(8, lie.to_le_bytes().to_vec())));
    }
    assert!(begin.elapsed() < Duration::from_secs(1));
}

#[test]
fn arrays_nested_without_end_are_refused() {
    let mut bytes = Vec::new();
    for _ in 0..100_000 {
        bytes.extend(9_u32.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
    }
    let detail = refusal(&GgufWriter::new().meta("deep", Meta::Raw(9, bytes)));
    assert!(detail.contains("nested"), "{detail}");
}

#[test]
fn tensors_that_cannot_be_are_refused() {
    let tensor = |dimensions: &[u64], kind: u32, offset: Option<u64>| Tensor {
        name: "odd".to_owned(),
        dimensions: dimensions.to_vec(),
        kind,
        bytes: vec![0; 64],
        offset,
    };
    let cases = [
        ("beyond", tensor(&[17], 0, None)),
        ("beyond", tensor(&[4], 0, Some(1 << 20))),
        ("beyond", tensor(&[4], 0, Some(u64::MAX - 31))),
        ("multiple", tensor(&[4], 0, Some(33))),
        ("overlap", tensor(&[4], 0, Some(0))),
        ("impossible", tensor(&[1 << 40, 1 << 40], 0, None)),
        ("impossible", tensor(&[u64::MAX], 0, None)),
        ("impossible", tensor(&[4, 0], 0, None)),
        ("impossible", tensor(&[0], 0, None)),
        ("blocks", tensor(&[33], 8, None)),
        ("element type", tensor(&[4], 999, None)),
        ("dimensions", tensor(&[1; 5], 0, None)),
    ];
    for (word, tensor) in cases {
        let mut writer = sample();
        let shown = format!("{tensor:?}");
        writer.tensors.push(tensor);
        let detail = refusal(&writer);
        assert!(detail.contains(word), "{shown}: {detail}");
    }
    let mut twice = sample();
    twice.tensors.push(twice.tensors[0].clone());
    assert!(refusal(&twice).contains("two tensors"));
}

#[test]
fn heads_that_cannot_be_are_refused() {
    assert!(refusal(&sample().meta("count", Meta::U32(8))).contains("two entries"));
    for alignment in [0, 3, 4, 1 << 30] {
        let writer = sample().meta("general.alignment", Meta::U32(alignment));
        assert!(refusal(&writer).contains("alignment"), "{alignment}");
    }
    assert!(refusal(&sample().meta("kind", Meta::Raw(77, vec![0]))).contains("type"));
    let mut text = 2_u64.to_le_bytes().to_vec();
    text.extend([0xff, 0xfe]);
    assert!(refusal(&sample().meta("text", Meta::Raw(8, text.clone()))).contains("UTF-8"));
    // Two halves of one character are not two texts.
    let mut halves = [&8_u32.to_le_bytes()[..], &2_u64.to_le_bytes()].concat();
    for byte in "é".bytes() {
        halves.extend(1_u64.to_le_bytes());
        halves.push(byte);
    }
    assert!(refusal(&sample().meta("halves", Meta::Raw(9, halves))).contains("UTF-8"));
    for version in [0, 1, 4, 3_u32.swap_bytes()] {
        let mut writer = sample();
        writer.version = version;
        refusal(&writer);
    }
    let not = Gguf::from_bytes("not.gguf", Arc::from(&b"PK\x03\x04 something else"[..]));
    assert!(matches!(not, Err(ModelError::Corrupt { .. })));
}

#[test]
fn another_alignment_is_kept_to() {
    let mut writer = sample().meta("general.alignment", Meta::U32(128));
    writer.alignment = 128;
    let gguf = writer.read().unwrap();
    assert_eq!(gguf.tensor("second").unwrap().offset() % 128, 0);
    assert_eq!(gguf.read_tensor("second").unwrap(), 7.0_f32.to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// A damaged file is refused or read, but nothing panics, and whatever tensors are left lie
    /// within the file.
    #[test]
    fn damage_is_survived(places in prop::collection::vec((0..800_usize, any::<u8>()), 1..4)) {
        let mut bytes = sample().bytes();
        for (place, value) in places {
            let place = place % bytes.len();
            bytes[place] = value;
        }
        let length = bytes.len() as u64;
        if let Ok(gguf) = Gguf::from_bytes("damaged.gguf", Arc::from(bytes)) {
            for (name, tensor) in gguf.tensors() {
                prop_assert!(tensor.offset() + tensor.bytes() <= length);
                let read = gguf.read_tensor(name).expect("a tensor within the file");
                prop_assert_eq!(read.len() as u64, tensor.bytes());
            }
        }
    }
}

#[test]
fn real_files_are_read() {
    let smollm2 = Gguf::open(real_models::smollm2()).unwrap();
    assert_eq!(smollm2.str("general.architecture").unwrap(), Some("llama"));
    assert_eq!(
        smollm2
            .strs("tokenizer.ggml.merges")
            .unwrap()
            .unwrap()
            .len(),
        48_900
    );
    assert_eq!(smollm2.tensors().len(), 272);

    let gemma3 = Gguf::open(real_models::gemma3()).unwrap();
    let tokens = gemma3.strs("tokenizer.ggml.tokens").unwrap().unwrap();
    assert_eq!((tokens.len(), tokens.get(2)), (262_144, Some("<bos>")));
    let head = gemma3.tensor("token_embd.weight").unwrap();
    assert_eq!(
        (head.kind().name(), head.shape()),
        ("Q8_0", &[262_144, 640][..])
    );
}
