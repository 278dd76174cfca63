//! Models from files and folders: served as they are, and refused at once where they are broken.

use std::fs;
use std::path::{Path, PathBuf};

use modelpool::models::DecoderOptions;
use modelpool::{ChatMessage, ModelError, ModelSpec, PoolError, TextToText};
use serde_json::{Map, Value, json};

use crate::universe::{Universe, config, within};
use crate::{real_models, up_to};

/// A folder of its own for one test, gone afterwards.
struct Scrap(PathBuf);

impl Scrap {
    /// A tiny llama as transformers saves it, with a tokenizer whose words are `w3` to `w47` and a
    /// template that puts messages one after another.
    fn llama(test: &str) -> Self {
        let name = format!("{test}-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/decoder/llama");
        for file in ["config.json", "model.safetensors"] {
            fs::copy(data.join(file), folder.join(file)).unwrap();
        }
        let scrap = Self(folder);
        let words = ["<pad>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
        let words = words.into_iter().chain((3..48).map(|id| format!("w{id}")));
        let vocabulary: Map<String, Value> = words.zip(0..).map(|(w, id)| (w, id.into())).collect();
        scrap.write(
            "tokenizer.json",
            &json!({
                "version": "1.0",
                "pre_tokenizer": { "type": "WhitespaceSplit" },
                "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "<pad>" },
            }),
        );
        let template = "{% for message in messages %}{{ message.content + ' ' }}{% endfor %}";
        scrap.write(
            "tokenizer_config.json",
            &json!({ "bos_token": "<s>", "eos_token": "</s>", "chat_template": template }),
        );
        scrap
    }

    fn write(&self, file: &str, content: &Value) {
        fs::write(self.0.join(file), content.to_string()).unwrap();
    }
}

impl Drop for Scrap {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_served_with_its_tokenizer_and_its_template() {
    let scrap = Scrap::llama("folder");
    let universe = Universe::new(config()).await;
    let spec = ModelSpec::<TextToText>::folder(&scrap.0, DecoderOptions::default()).unwrap();
    assert!(spec.info().shared_weights_bytes > 0);
    let model = universe.register(spec.max_workers(2)).unwrap();
    let params = up_to(8).ignore_eos(true);
    let prompted = within(model.prompt("w5 w6 w7", params.clone()))
        .await
        .unwrap();
    let prompted = within(prompted.collect()).await.unwrap();
    assert_eq!(prompted.summary.usage.prompt_tokens, 3);
    let messages = [ChatMessage::user("w5"), ChatMessage::assistant("w6 w7")];
    let chatted = within(model.chat(messages, params.clone())).await.unwrap();
    let chatted = within(chatted.collect()).await.unwrap();
    assert_eq!(chatted.answers, prompted.answers);
    let tokens = model.prompt_tokens(vec![5, 6, 7], params).unwrap();
    assert_eq!(
        within(tokens.collect()).await.unwrap().answers,
        prompted.answers
    );
    // 64 positions is what the model was made for.
    let long = "w9 ".repeat(64);
    let error = within(model.prompt(long, up_to(1))).await.unwrap_err();
    let too_long = matches!(
        error,
        PoolError::Model {
            source: ModelError::PromptTooLong {
                tokens: 64,
                most: 63
            },
            ..
        }
    );
    assert!(too_long, "{error:?}");
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_without_a_tokenizer_is_told_of_when_it_is_first_needed() {
    let scrap = Scrap::llama("no-tokenizer");
    fs::remove_file(scrap.0.join("tokenizer.json")).unwrap();
    let universe = Universe::new(config()).await;
    let spec = ModelSpec::<TextToText>::folder(&scrap.0, DecoderOptions::default()).unwrap();
    let model = universe.register(spec).unwrap();
    let error = within(model.prompt("w5", up_to(1))).await.unwrap_err();
    let missing = matches!(
        &error,
        PoolError::LoadFailed { source: ModelError::MissingFile { path }, .. }
            if path.ends_with("tokenizer.json")
    );
    assert!(missing, "{error:?}");
    universe.close().await;
}

#[test]
fn what_is_wrong_with_a_file_or_the_options_is_told_before_it_is_registered() {
    let gguf = |path: &Path, options| ModelSpec::<TextToText>::gguf(path, options).err();
    let usual = DecoderOptions::default;
    let missing = gguf(Path::new("nowhere.gguf"), usual());
    assert!(
        matches!(missing, Some(ModelError::MissingFile { .. })),
        "{missing:?}"
    );
    let scrap = Scrap::llama("broken");
    let folder = gguf(&scrap.0, usual());
    assert!(
        matches!(folder, Some(ModelError::WrongFileKind { .. })),
        "{folder:?}"
    );
    let whole = real_models::smollm2();
    for (field, options) in [
        ("context_tokens", usual().context_tokens(0)),
        ("context_tokens", usual().context_tokens(1 << 40)),
        (
            "cache_tokens",
            usual().context_tokens(512).cache_tokens(100),
        ),
        ("step_tokens", usual().step_tokens(0)),
    ] {
        let error = gguf(&whole, options);
        assert!(
            matches!(&error, Some(ModelError::InvalidConfig { field: at, .. }) if at == field),
            "{field}: {error:?}"
        );
    }
    let cut = scrap.0.join("cut.gguf");
    let bytes = fs::read(&whole).unwrap();
    for kept in [0, 3, 100, 10_000, bytes.len() / 2] {
        fs::write(&cut, &bytes[..kept]).unwrap();
        let error = gguf(&cut, usual());
        assert!(
            matches!(error, Some(ModelError::Corrupt { .. })),
            "{kept}: {error:?}"
        );
    }
}
