//! Files that models are read from.

use std::path::Path;
use std::sync::Arc;

use modelpool::TextTokenizer;
use modelpool::models::{
    DecoderFiles, DecoderOptions, EncoderFolder, Gguf, OnnxArray, OnnxModel, Pth, StaticFolder,
    StaticWeights,
};
use modelpool::pool::capabilities::text_embedding::{EmbedOptions, TextPreparer};

use super::folder::Folder;

/// What is larger is not loaded: a header may well describe a model of many gigabytes.
const LOADED_AT_MOST: u64 = 1 << 20;

const TEXT: &str = "It's 10°C — “Straße”, naïve 日本語\n\t👩‍👩‍👧 end";

/// An ONNX file: read, and run on a small picture.
pub fn onnx(bytes: &[u8]) {
    let Ok(model) = OnnxModel::from_bytes("fuzz.onnx", bytes) else {
        return;
    };
    let _ = model.metadata("character");
    let picture = OnnxArray::new(vec![1, 2, 4, 4], vec![0.5; 32]).expect("a full array");
    let _ = model.run(&[picture]);
}

/// A legacy PyTorch file: what it holds, and the values.
pub fn pth(bytes: &[u8]) {
    let folder = Folder::new(&[]);
    let Ok(file) = Pth::open(folder.write("weights.pth", bytes)) else {
        return;
    };
    for name in file.names() {
        let count: usize = file.shape(name).expect("a shape").iter().product();
        assert!(count <= bytes.len());
        if let Ok(values) = file.read(name) {
            assert_eq!(values.len(), count);
        }
    }
}

/// A GGUF header: all of its entries and tensors are looked at.
pub fn gguf(bytes: &[u8]) {
    let Ok(file) = Gguf::from_bytes("fuzz.gguf", Arc::from(bytes)) else {
        return;
    };
    for key in file.keys() {
        let _ = (file.u32(key), file.f32(key), file.bool(key), file.str(key));
        let _ = (
            file.u32s(key),
            file.i32s(key),
            file.f32s(key),
            file.bools(key),
        );
        if let Ok(Some(strings)) = file.strs(key) {
            assert_eq!(strings.iter().count(), strings.len());
            assert!(strings.get(strings.len()).is_none());
        }
        let _ = file.array_len(key);
    }
    for (name, tensor) in file.tensors() {
        let length = tensor.bytes();
        assert!(length <= bytes.len() as u64, "{name} lies within the file");
        let read = file.read_tensor(name).expect("a tensor of a sound header");
        assert_eq!(read.len() as u64, length);
    }
}

/// A GGUF file as a language model: tokenizer and decoder.
pub fn gguf_model(bytes: &[u8]) {
    let Ok(file) = Gguf::from_bytes("fuzz.gguf", Arc::from(bytes)) else {
        return;
    };
    let file = Arc::new(file);
    if let Ok(tokenizer) = TextTokenizer::from_gguf(&file) {
        use_tokenizer(&tokenizer);
    }
    if let Ok(files) = DecoderFiles::from_gguf(file) {
        load_decoder(&files);
    }
}

fn use_tokenizer(tokenizer: &TextTokenizer) {
    if let Ok(ids) = tokenizer.encode(TEXT, true) {
        let known = tokenizer.vocabulary() as u64;
        assert!(ids.iter().all(|&id| u64::from(id) < known), "known ids");
        let _ = tokenizer.decode(&ids);
    }
    let _ = tokenizer.encode_as_text(TEXT, false);
    let _ = tokenizer.decode(&[0, 1, u32::MAX]);
    let _ = (tokenizer.token_bytes(u32::MAX), tokenizer.shield(TEXT));
}

fn load_decoder(files: &DecoderFiles) {
    let options = DecoderOptions::default();
    let _ = (
        files.worker_bytes(&options),
        files.estimated_bytes(&options),
    );
    if files.weight_bytes() <= LOADED_AT_MOST {
        let _ = files.load();
    }
}

/// A static embedding's table.
pub fn static_weights(bytes: &[u8]) {
    if let Ok(weights) = StaticWeights::from_bytes(bytes) {
        assert!(weights.tokens() > 0 && weights.dimensions() > 0);
    }
}

macro_rules! sound_files {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../data/", $folder, "/", $name)))),*]
    };
}

thread_local! {
    static ENCODER: Folder = Folder::new(sound_files!("encoder/bert":
        "config.json", "modules.json", "tokenizer.json", "tokenizer_config.json",
        "1_Pooling/config.json", "config_sentence_transformers.json",
        "sentence_bert_config.json", "model.safetensors",
    ));
    static DECODER: Folder = Folder::new(sound_files!("decoder/llama":
        "config.json", "model.safetensors",
    ));
    static TOKENIZER: Folder = Folder::new(sound_files!("encoder/qwen3":
        "tokenizer.json", "tokenizer_config.json", "config.json",
    ));
    static STATIC: Folder = Folder::new(&[
        ("config.json", b"{\"normalize\": true}"),
        ("tokenizer.json", include_bytes!("../data/encoder/bert/tokenizer.json")),
        ("model.safetensors", include_bytes!("corpus/static_weights/table.safetensors")),
    ]);
}

/// A sentence-transformers folder, one of its files spoilt.
pub fn encoder_folder(bytes: &[u8]) {
    ENCODER.with(|folder| folder.spoil(bytes, open_encoder));
}

fn open_encoder(path: &Path) {
    let Ok(encoder) = EncoderFolder::open(path) else {
        return;
    };
    if let Ok(preparer) = encoder.preparer()
        && let Ok(input) = preparer.prepare(TEXT.to_owned(), &EmbedOptions::default())
    {
        assert!(input.tokens.len() <= encoder.max_tokens());
    }
    if encoder.weight_bytes() <= LOADED_AT_MOST {
        let _ = encoder.load();
    }
}

/// A hub folder of a decoder, one of its files spoilt.
pub fn decoder_folder(bytes: &[u8]) {
    DECODER.with(|folder| {
        folder.spoil(bytes, |path| {
            if let Ok(files) = DecoderFiles::open(path) {
                load_decoder(&files);
            }
        });
    });
}

/// A folder with a language model's tokenizer, one of its files spoilt.
pub fn tokenizer_folder(bytes: &[u8]) {
    TOKENIZER.with(|folder| {
        folder.spoil(bytes, |path| {
            if let Ok(tokenizer) = TextTokenizer::from_folder(path) {
                use_tokenizer(&tokenizer);
            }
        });
    });
}

/// A model2vec folder, one of its files spoilt.
pub fn static_folder(bytes: &[u8]) {
    STATIC.with(|folder| {
        folder.spoil(bytes, |path| {
            if let Ok(opened) = StaticFolder::open(path) {
                let _ = opened
                    .preparer()
                    .prepare(TEXT.to_owned(), &EmbedOptions::default());
            }
        });
    });
}
