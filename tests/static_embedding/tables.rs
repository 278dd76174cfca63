//! Tables and tokenizers from elsewhere: sound ones and damaged ones.

use std::sync::Arc;

use modelpool::models::{ModelError, StaticEmbedder, StaticFolder, StaticWeights};
use modelpool::pool::capabilities::text_embedding::{EmbedInput, EmbedOptions, TextPreparer};
use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::{assert_close, info, run};

/// A safetensors file of these tensors.
fn file(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        let view = TensorView::new(*dtype, shape.to_vec(), data).expect("a consistent tensor");
        (*name, view)
    });
    serialize(views, None).expect("serialisable")
}

fn le_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

#[test]
fn damaged_tables_are_typed_errors() {
    let sound = include_bytes!("../../assets/embedded/model.safetensors");
    for length in [0, 1, 7, 8, 100, sound.len() / 2, sound.len() - 1] {
        let found = StaticWeights::from_bytes(&sound[..length]);
        assert!(
            matches!(found, Err(ModelError::Corrupt { .. })),
            "{length}: {found:?}"
        );
    }
    let mut longer = sound.to_vec();
    longer.push(0);
    assert!(matches!(
        StaticWeights::from_bytes(&longer),
        Err(ModelError::Corrupt { .. })
    ));
    let huge_header = [0xff_u8; 64];
    assert!(matches!(
        StaticWeights::from_bytes(&huge_header),
        Err(ModelError::Corrupt { .. })
    ));

    let rows: &[u8] = &[1, 2, 3, 4, 5, 6];
    let two = le_bytes(&[1.0, 2.0]);
    let nan = le_bytes(&[1.0, f32::NAN, 0.0, 0.0]);
    let missing = file(&[("other", Dtype::I8, &[3, 2], rows)]);
    assert!(matches!(
        StaticWeights::from_bytes(&missing),
        Err(ModelError::MissingTensor { tensor }) if tensor == "embeddings"
    ));
    for shape in [&[6][..], &[1, 3, 2], &[]] {
        let data = if shape.is_empty() { &rows[..1] } else { rows };
        let bytes = file(&[("embeddings", Dtype::I8, shape, data)]);
        let found = StaticWeights::from_bytes(&bytes);
        assert!(
            matches!(found, Err(ModelError::WrongShape { .. })),
            "{shape:?}: {found:?}"
        );
    }
    let no_rows = file(&[("embeddings", Dtype::I8, &[0, 2], &[])]);
    assert!(matches!(
        StaticWeights::from_bytes(&no_rows),
        Err(ModelError::WrongShape { .. })
    ));
    let unsigned = file(&[("embeddings", Dtype::U8, &[3, 2], rows)]);
    assert!(matches!(
        StaticWeights::from_bytes(&unsigned),
        Err(ModelError::WrongDtype { .. })
    ));
    let not_finite = file(&[("embeddings", Dtype::F32, &[2, 2], &nan)]);
    assert!(matches!(
        StaticWeights::from_bytes(&not_finite),
        Err(ModelError::NotFiniteWeights { tensor }) if tensor == "embeddings"
    ));
    let infinite_half = [0x00, 0x7c, 0x00, 0x3c, 0x00, 0x3c];
    let bad_weights: [(Dtype, &[usize], &[u8]); 3] = [
        (Dtype::F32, &[2], &two),
        (Dtype::I8, &[3], &rows[..3]),
        (Dtype::F16, &[3], &infinite_half),
    ];
    for (dtype, shape, data) in bad_weights {
        let bytes = file(&[
            ("embeddings", Dtype::I8, &[3, 2], rows),
            ("weights", dtype, shape, data),
        ]);
        let found = StaticWeights::from_bytes(&bytes);
        let tensor = match found {
            Err(ModelError::WrongShape { tensor, .. })
            | Err(ModelError::WrongDtype { tensor, .. })
            | Err(ModelError::NotFiniteWeights { tensor }) => tensor,
            other => panic!("{dtype:?}: {other:?}"),
        };
        assert_eq!(tensor, "weights");
    }
    for row in [-1_i64, 3, i64::MAX] {
        let bytes = file(&[
            ("embeddings", Dtype::I8, &[3, 2], rows),
            ("mapping", Dtype::I64, &[1], &row.to_le_bytes()),
        ]);
        let found = StaticWeights::from_bytes(&bytes);
        assert!(
            matches!(found, Err(ModelError::InvalidConfig { .. })),
            "{row}: {found:?}"
        );
    }
}

#[test]
fn every_element_type_mapping_and_weights_give_the_sum_they_should() {
    // Rows (3, 4), (0, 5) and (-6, 8); tokens 0 to 3 take rows 2, 0, 0, 1 and weigh 1, 2, 0.5, 1.
    let values = [3.0_f32, 4.0, 0.0, 5.0, -6.0, 8.0];
    let halves: [u16; 6] = [0x4200, 0x4400, 0x0000, 0x4500, 0xc600, 0x4800];
    let tables = [
        (
            Dtype::I8,
            values.iter().map(|value| *value as i8 as u8).collect(),
        ),
        (Dtype::F32, le_bytes(&values)),
        (
            Dtype::F64,
            values
                .iter()
                .flat_map(|value| f64::from(*value).to_le_bytes())
                .collect(),
        ),
        (
            Dtype::F16,
            halves
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect::<Vec<u8>>(),
        ),
    ];
    let mapping: Vec<u8> = [2_i64, 0, 0, 1]
        .iter()
        .flat_map(|row| row.to_le_bytes())
        .collect();
    let weights = le_bytes(&[1.0, 2.0, 0.5, 1.0]);
    for (dtype, data) in tables {
        let bytes = file(&[
            ("embeddings", dtype, &[3, 2], &data),
            ("mapping", Dtype::I64, &[4], &mapping),
            ("weights", Dtype::F32, &[4], &weights),
        ]);
        let table = Arc::new(StaticWeights::from_bytes(&bytes).expect("sound"));
        assert_eq!((table.tokens(), table.dimensions()), (4, 2));
        let mut model = StaticEmbedder::new(info(), table);
        // (-6, 8) + 2 (3, 4) + (0, 5) = (0, 21)
        let input = EmbedInput {
            tokens: vec![0, 1, 3],
            ..EmbedInput::default()
        };
        assert_close(
            &run(&mut model, &input).expect("known tokens"),
            &[0.0, 1.0],
            "sum",
        );
        // 0.5 (3, 4)
        let input = EmbedInput {
            tokens: vec![2],
            ..EmbedInput::default()
        };
        assert_close(
            &run(&mut model, &input).expect("known token"),
            &[0.6, 0.8],
            "scaled",
        );
    }
}

#[test]
fn a_folder_with_table_and_tokenizer_opens() {
    let folder = std::env::temp_dir().join(format!("modelpool-static-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a writable folder");
    assert!(matches!(
        StaticFolder::open(&folder),
        Err(ModelError::MissingFile { .. })
    ));
    let rows = file(&[("embeddings", Dtype::I8, &[3, 2], &[0, 0, 3, 4, 4, 3])]);
    std::fs::write(folder.join("model.safetensors"), rows).expect("written");
    std::fs::write(folder.join("tokenizer.json"), "{").expect("written");
    assert!(matches!(
        StaticFolder::open(&folder),
        Err(ModelError::Corrupt { path, .. }) if path.ends_with("tokenizer.json")
    ));
    let tokenizer = |vocabulary: &str| {
        format!(
            r###"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],
            "normalizer":{{"type":"Lowercase"}},"pre_tokenizer":{{"type":"Whitespace"}},
            "post_processor":null,"decoder":null,"model":{{"type":"WordPiece","unk_token":"[UNK]",
            "continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":{vocabulary}}}}}"###
        )
    };
    let too_many = tokenizer(r#"{"[UNK]":0,"red":1,"blue":2,"green":3}"#);
    std::fs::write(folder.join("tokenizer.json"), too_many).expect("written");
    assert!(matches!(
        StaticFolder::open(&folder),
        Err(ModelError::WrongShape { .. })
    ));
    let fitting = tokenizer(r#"{"[UNK]":0,"red":1,"blue":2}"#);
    std::fs::write(folder.join("tokenizer.json"), fitting).expect("written");
    let opened = StaticFolder::open(&folder).expect("sound");
    let input = opened
        .preparer()
        .prepare("RED mauve".to_owned(), &EmbedOptions::default())
        .expect("one known token");
    let mut model = StaticEmbedder::new(info(), opened.weights());
    assert_close(&run(&mut model, &input).expect("known"), &[0.6, 0.8], "red");
    std::fs::remove_dir_all(&folder).expect("removed");
}
