//! Tokenizers in the hub's folder layout, against transformers; and text that comes token by token.

use std::path::Path;
use std::sync::Arc;

use modelpool::ModelError;
use modelpool::language::{
    ChatMessage, ChatTemplate, Detokenizer, LanguageError, TemplateOptions, TextTokenizer,
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Scrap, data, read_json};

#[derive(Deserialize)]
struct Reference {
    prompts: Vec<String>,
    ids: Vec<Vec<u32>>,
    decoded: Vec<String>,
    mixed: Vec<Vec<u32>>,
    mixed_decoded: Vec<String>,
}

fn open(name: &str) -> Arc<TextTokenizer> {
    Arc::new(TextTokenizer::from_folder(&data(name)).expect("a sound folder"))
}

/// What the tokens give one by one.
fn increments(mut detokenizer: Detokenizer, ids: &[u32]) -> Vec<String> {
    let mut pieces: Vec<String> = ids.iter().map(|id| detokenizer.push(*id)).collect();
    pieces.push(detokenizer.finish());
    pieces
}

#[test]
fn folders_tokenise_and_decode_as_in_transformers() {
    for name in ["folder_bpe", "folder_spm"] {
        let tokenizer = open(name);
        let reference: Reference = read_json(&data(name).join("reference.json"));
        let mut wrong = Vec::new();
        for (prompt, ids) in reference.prompts.iter().zip(&reference.ids) {
            let got = tokenizer.encode(prompt, true).expect("ids");
            if got != *ids {
                wrong.push(format!("{prompt:?}: {got:?}, wanted {ids:?}"));
            }
        }
        let rows = reference.ids.iter().chain(&reference.mixed);
        let texts = reference.decoded.iter().chain(&reference.mixed_decoded);
        for (ids, text) in rows.zip(texts) {
            let got = tokenizer.decode(ids);
            if got != *text {
                wrong.push(format!("{ids:?}: {got:?}, wanted {text:?}"));
            }
        }
        assert!(wrong.is_empty(), "{name}\n{}", wrong.join("\n"));
    }
}

#[test]
fn settings_beside_the_tokenizer_are_heeded() {
    let bpe = open("folder_bpe");
    assert_eq!(bpe.special().bos, Some(0));
    assert_eq!(bpe.special().eos, Some(1));
    assert_eq!(bpe.special().ends, [1, 2]);
    let spm = open("folder_spm");
    assert_eq!(spm.special().ends, [2]);
    assert!(spm.is_control(2) && !spm.is_control(300));
    let template = ChatTemplate::from_folder(&data("folder_spm"), &spm).expect("a template");
    let text = template.render(&[ChatMessage::user("x")], &TemplateOptions::default());
    assert_eq!(text.expect("a text"), "<s>x");
}

#[test]
fn a_text_after_a_prompt_keeps_its_space() {
    let spm = open("folder_spm");
    let word = spm.encode("the", false).expect("ids");
    let of_start = increments(Detokenizer::new(Arc::clone(&spm)), &word).concat();
    assert_eq!(of_start, "the");
    let prompt = spm.encode("Once", true).expect("ids");
    let after = Detokenizer::after_prompt(Arc::clone(&spm), &prompt);
    assert_eq!(increments(after, &word).concat(), " the");
    // A prompt of nothing but control tokens is no text.
    let after = Detokenizer::after_prompt(Arc::clone(&spm), &[1]);
    assert_eq!(increments(after, &word).concat(), "the");
}

#[test]
fn bytes_that_are_no_text_become_replacement_characters_and_are_not_waited_for() {
    let spm = open("folder_spm");
    let byte = |value: u8| {
        spm.token_id(&format!("<0x{value:02X}>"))
            .expect("a byte token")
    };
    let push_all = |bytes: &[u8]| {
        let ids: Vec<u32> = bytes.iter().map(|value| byte(*value)).collect();
        increments(Detokenizer::new(Arc::clone(&spm)), &ids)
    };
    assert_eq!(push_all("🙂".as_bytes()), ["", "", "", "🙂", ""]);
    assert_eq!(push_all(b"\xff"), ["\u{fffd}", ""]);
    // Half a character, and then something else.
    assert_eq!(push_all(b"\xe2\x96A"), ["", "", "\u{fffd}A", ""]);
    // A character that never ends, at the end.
    assert_eq!(push_all(b"A\xf0\x9f\x99"), ["A", "", "", "", "\u{fffd}"]);
    // The beginning of one right after half of another.
    assert_eq!(push_all(b"\xf0\x9f\xc3\xa9"), ["", "", "\u{fffd}", "é", ""]);
    // Surrogates and overlong forms are no characters.
    assert_eq!(
        push_all(b"\xed\xa0\x80").concat(),
        "\u{fffd}\u{fffd}\u{fffd}"
    );
    assert_eq!(push_all(b"\xc0\xaf").concat(), "\u{fffd}\u{fffd}");
}

#[test]
fn a_long_text_costs_no_more_for_each_token() {
    let spm = open("folder_spm");
    let lone = spm.token_id("<0xE2>").expect("a byte token");
    let mut detokenizer = Detokenizer::new(Arc::clone(&spm));
    let mut length = 0;
    for _ in 0..300_000 {
        length += detokenizer.push(lone).len();
    }
    length += detokenizer.finish().len();
    assert_eq!(length, 900_000);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn increments_are_the_whole_text(
        is_spm in any::<bool>(),
        ids in proptest::collection::vec(0_u32..720, 0..40),
        split in 0_usize..40,
    ) {
        let tokenizer = open(if is_spm { "folder_spm" } else { "folder_bpe" });
        let whole = tokenizer.decode(&ids);
        let pieces = increments(Detokenizer::new(Arc::clone(&tokenizer)), &ids);
        prop_assert_eq!(&pieces.concat(), &whole);

        // With the beginning as a prompt, the rest follows on, unless a character was cut.
        let (prompt, rest) = ids.split_at(split.min(ids.len()));
        let before = tokenizer.decode(prompt);
        if let Some(wanted) = whole.strip_prefix(&before).filter(|_| !before.ends_with('\u{fffd}')) {
            let after = Detokenizer::after_prompt(Arc::clone(&tokenizer), prompt);
            let has_text = !before.is_empty();
            if has_text {
                prop_assert_eq!(increments(after, rest).concat(), wanted);
            }
        }
    }

    #[test]
    fn any_text_comes_back(text in "\\PC{0,40}") {
        let tokenizer = open("folder_spm");
        let ids = tokenizer.encode(&text, false).expect("ids");
        prop_assert_eq!(tokenizer.decode(&ids), &*text);
        let shielded = tokenizer.encode(&tokenizer.shield(&text), false).expect("ids");
        prop_assert!(shielded.iter().all(|id| !tokenizer.is_control(*id)));
    }
}

/// The folder's tokenizer with an edit, in a folder of its own.
fn edited(name: &str, edit: impl FnOnce(&Path, &mut Value)) -> Result<TextTokenizer, ModelError> {
    let scrap = Scrap::new(name);
    let folder = data("folder_spm");
    let mut tokenizer: Value = read_json(&folder.join("tokenizer.json"));
    edit(scrap.path(), &mut tokenizer);
    std::fs::write(scrap.path().join("tokenizer.json"), tokenizer.to_string()).expect("a file");
    TextTokenizer::from_folder(scrap.path())
}

#[test]
fn broken_folders_are_refused_by_name() {
    let scrap = Scrap::new("empty");
    assert!(matches!(
        TextTokenizer::from_folder(scrap.path()),
        Err(ModelError::MissingFile { path }) if path.ends_with("tokenizer.json")
    ));
    assert!(matches!(
        TextTokenizer::from_json(b"{\"version\": "),
        Err(ModelError::Corrupt { .. })
    ));
    assert!(matches!(
        TextTokenizer::from_json(b"\xff"),
        Err(ModelError::Corrupt { .. })
    ));

    let write = |folder: &Path, file: &str, text: &str| {
        std::fs::write(folder.join(file), text).expect("a file");
    };
    let result = edited("settings", |folder, _| {
        write(folder, "tokenizer_config.json", "[1")
    });
    assert!(matches!(
        result,
        Err(ModelError::Corrupt {
            format: "tokenizer_config.json",
            ..
        })
    ));
    for ends in [r#""x""#, "-1", "[2, 1.5]", "99999999999"] {
        let result = edited("ends", |folder, _| {
            write(
                folder,
                "generation_config.json",
                &format!("{{\"eos_token_id\": {ends}}}"),
            );
        });
        assert!(
            matches!(result, Err(ModelError::InvalidConfig { .. })),
            "{ends}: {result:?}"
        );
    }
    let result = edited("beyond", |folder, _| {
        write(
            folder,
            "generation_config.json",
            r#"{"eos_token_id": 123456}"#,
        );
    });
    assert!(
        matches!(
            result,
            Err(ModelError::Language(LanguageError::InvalidTokenizer { .. }))
        ),
        "{result:?}"
    );
    let result = edited("huge", |_, tokenizer| {
        tokenizer["model"]["vocab"]["qqq"] = json!(u32::MAX);
    });
    assert!(
        matches!(
            result,
            Err(ModelError::Language(LanguageError::InvalidTokenizer { .. }))
        ),
        "{result:?}"
    );
    let decoders = [
        json!({"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": true}),
        json!({"type": "BPEDecoder", "suffix": "</w>"}),
        json!({"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"}),
        json!({"type": "Strip", "content": "x", "start": 1, "stop": 1}),
    ];
    for decoder in decoders {
        let result = edited("decoder", |_, tokenizer| {
            tokenizer["decoder"] = decoder.clone()
        });
        assert!(
            matches!(
                result,
                Err(ModelError::Language(
                    LanguageError::UnsupportedTokenizer { .. }
                        | LanguageError::InvalidTokenizer { .. }
                ))
            ),
            "{decoder}: {result:?}"
        );
    }
}
