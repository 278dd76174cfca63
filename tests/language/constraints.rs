//! Constrained output.

use std::sync::Arc;
use std::time::Instant;

use modelpool::language::{
    Constraint, ConstraintFactory, ConstraintState, LanguageError, Sampler, SamplingParams,
    TextTokenizer,
};
use modelpool::models::Gguf;
use serde_json::{Value, json};

use crate::real_models;
use crate::tokenizers::byte_tokenizer;

fn bytes() -> Arc<TextTokenizer> {
    Arc::new(byte_tokenizer(&["<s>", "</s>"], 0, 1))
}

fn compile(constraint: &Constraint) -> Result<ConstraintState, LanguageError> {
    ConstraintFactory::new(bytes()).compile(constraint)
}

/// What an entirely random model says under a constraint, up to its end; `most` tokens at most.
fn ramble(
    tokenizer: &TextTokenizer,
    mut state: ConstraintState,
    seed: u64,
    most: usize,
) -> Option<String> {
    let params = SamplingParams::with_temperature(1.0);
    let mut sampler = Sampler::new(&params, seed).expect("a sampler");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut ids = Vec::new();
    while ids.len() < most {
        // Ends and closing signs are likelier than others, or most texts would never end.
        let mut logits: Vec<f32> = (0..tokenizer.vocabulary() + 3)
            .map(|id| {
                let token = u32::try_from(id).expect("a small vocabulary");
                let closes = tokenizer
                    .token_bytes(token)
                    .is_some_and(|bytes| bytes.iter().any(|byte| b"\"}],0".contains(byte)));
                random.f32() + if closes { 6.0 } else { 0.0 }
            })
            .collect();
        for end in &tokenizer.special().ends {
            logits[*end as usize] += 9.0;
        }
        state.mask(&mut logits).expect("some token may follow");
        let beyond = &logits[tokenizer.vocabulary()..];
        assert!(beyond.iter().all(|logit| *logit == f32::NEG_INFINITY));
        let token = sampler.sample(&mut logits, &ids).expect("a token").token;
        state.accept(token).expect("a token that was allowed");
        if tokenizer.is_end(token) {
            assert!(state.is_finished());
            return Some(tokenizer.decode(&ids));
        }
        ids.push(token);
        if state.is_finished() {
            return Some(tokenizer.decode(&ids));
        }
    }
    None
}

fn person() -> Constraint {
    Constraint::JsonSchema(json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        },
        "required": ["name", "age"],
        "additionalProperties": false,
    }))
}

fn check_person(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|why| panic!("{text:?}: {why}"));
    let fields = value.as_object().expect("an object");
    assert!(
        value["name"]
            .as_str()
            .is_some_and(|name| name.chars().count() <= 8)
    );
    assert!(value["age"].as_u64().is_some_and(|age| age <= 120));
    let known = ["name", "age", "tags"];
    assert!(
        fields.keys().all(|name| known.contains(&name.as_str())),
        "{text}"
    );
}

#[test]
fn json_keeps_to_its_schema_whatever_the_model_wants() {
    let tokenizer = bytes();
    let factory = ConstraintFactory::new(Arc::clone(&tokenizer));
    let mut ended = 0;
    for seed in 0..40 {
        let state = factory.compile(&person()).expect("a schema");
        if let Some(text) = ramble(&tokenizer, state, seed, 400) {
            check_person(&text);
            ended += 1;
        }
    }
    assert!(ended >= 20, "{ended} of 40 texts ended");
}

#[test]
fn real_tokenizers_can_be_constrained() {
    for path in [real_models::smollm2(), real_models::gemma3()] {
        let gguf = Gguf::open(path).expect("a file");
        let tokenizer = Arc::new(TextTokenizer::from_gguf(&gguf).expect("a tokenizer"));
        let factory = ConstraintFactory::new(Arc::clone(&tokenizer));
        let mut ended = 0;
        for seed in 0..4 {
            let state = factory.compile(&person()).expect("a schema");
            if let Some(text) = ramble(&tokenizer, state, seed, 200) {
                check_person(&text);
                ended += 1;
            }
        }
        assert!(ended >= 1);
    }
}

#[test]
fn expressions_and_grammars_are_kept_to() {
    let tokenizer = bytes();
    let factory = ConstraintFactory::new(Arc::clone(&tokenizer));
    let date = Constraint::Regex("(19|20)[0-9]{2}-[01][0-9]|né+".to_owned());
    let sum =
        Constraint::Grammar("start: NUMBER (\"+\" NUMBER)*\nNUMBER: /[0-9]{1,3}/\n".to_owned());
    for seed in 0..10 {
        let state = factory.compile(&date).expect("an expression");
        let text = ramble(&tokenizer, state, seed, 60).expect("a short text");
        assert!(text.starts_with("né") || text.len() == 7, "{text}");
        let state = factory.compile(&sum).expect("a grammar");
        if let Some(text) = ramble(&tokenizer, state, seed, 60) {
            assert!(
                text.bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'+'),
                "{text}"
            );
        }
    }
}

#[test]
fn the_end_is_known() {
    let tokenizer = bytes();
    let id = |text: &str| tokenizer.encode(text, false).expect("ids")[0];
    let mut state = compile(&Constraint::Regex("ab?".to_owned())).expect("an expression");
    assert!(!state.is_finished());
    let mut logits = vec![0.0; tokenizer.vocabulary()];
    state.mask(&mut logits).expect("an a");
    let allowed: Vec<_> = (0..)
        .zip(&logits)
        .filter(|(_, logit)| **logit == 0.0)
        .collect();
    assert_eq!(allowed, [(id("a"), &0.0)]);
    assert_eq!(
        state.accept(id("b")),
        Err(LanguageError::ConstraintViolated { token: id("b") })
    );

    let mut state = compile(&Constraint::Regex("ab?".to_owned())).expect("an expression");
    state.accept(id("a")).expect("an a");
    assert!(!state.is_finished(), "a b may follow");
    state.accept(id("b")).expect("a b");
    assert!(state.is_finished(), "nothing may follow");
    let mut logits = vec![0.0; tokenizer.vocabulary()];
    state.mask(&mut logits).expect("the end");
    let allowed: Vec<u32> = (0..)
        .zip(&logits)
        .filter(|(_, logit)| **logit == 0.0)
        .map(|(id, _)| id)
        .collect();
    assert_eq!(allowed, tokenizer.special().ends);
}

#[test]
fn what_no_text_fulfils_is_refused() {
    for schema in [
        json!(false),
        json!({"enum": []}),
        json!({"type": "string", "minLength": 3, "maxLength": 2}),
        json!({"type": "integer", "minimum": 3, "maximum": 2}),
        json!({"allOf": [{"type": "string"}, {"type": "number"}]}),
        json!({"type": "object", "properties": {"a": false}, "required": ["a"]}),
    ] {
        let error = compile(&Constraint::JsonSchema(schema.clone()));
        assert!(
            matches!(error, Err(LanguageError::UnsatisfiableConstraint { .. })),
            "{schema}: {error:?}"
        );
    }
    let error = compile(&Constraint::Regex("[^\\s\\S]".to_owned()));
    assert!(
        matches!(
            error,
            Err(LanguageError::UnsatisfiableConstraint { .. }
                | LanguageError::InvalidConstraint { .. })
        ),
        "{error:?}"
    );
}

#[test]
fn senseless_and_hostile_constraints_are_refused() {
    let nested = (0..500).fold(json!({}), |inner, _| json!({"items": inner}));
    let recursive = json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}});
    let wide: Vec<Value> = (0..200_000)
        .map(|number| json!(format!("{number:09}")))
        .collect();
    let refused = [
        Constraint::JsonSchema(json!({"type": "no such type"})),
        Constraint::JsonSchema(json!(17)),
        Constraint::JsonSchema(nested),
        Constraint::JsonSchema(recursive),
        Constraint::JsonSchema(json!({"$ref": "https://example.org/schema.json"})),
        Constraint::JsonSchema(json!({"enum": wide})),
        Constraint::Regex("(".to_owned()),
        Constraint::Regex("a".repeat(100_000)),
        Constraint::Regex("(".repeat(30_000) + &")".repeat(30_000)),
        Constraint::Grammar(String::new()),
        Constraint::Grammar("begin: \"a\"".to_owned()),
        Constraint::Grammar("start: start".to_owned()),
    ];
    for constraint in refused {
        let error = compile(&constraint);
        assert!(
            matches!(
                error,
                Err(LanguageError::InvalidConstraint { .. }
                    | LanguageError::UnsatisfiableConstraint { .. })
            ),
            "{}: {error:?}",
            beginning(&constraint)
        );
    }
    // These may be kept to or refused, but neither may take for ever.
    let costly = [
        Constraint::Regex("(((((a{9999}){9999}){9999}){9999}){9999}){9999}".to_owned()),
        Constraint::Regex("(a|b|ab)*c(a|b|ab){300}".to_owned()),
        Constraint::Grammar(format!(
            "start: {}\"a\"{}",
            "(".repeat(30_000),
            ")".repeat(30_000)
        )),
        Constraint::Grammar(format!("start: {}", "/(a|b)*c(a|b){30}/ ".repeat(3000))),
        Constraint::Grammar("start: a\na: a a | \"x\" |\n".to_owned()),
    ];
    for constraint in costly {
        let started = Instant::now();
        if let Ok(state) = compile(&constraint) {
            ramble(&bytes(), state, 1, 20);
        }
        let took = started.elapsed();
        assert!(took.as_secs() < 20, "{}: {took:?}", beginning(&constraint));
    }
}

/// Enough of a constraint to know it by.
fn beginning(constraint: &Constraint) -> String {
    format!("{constraint:?}").chars().take(100).collect()
}

#[test]
fn a_tokenizer_without_an_end_cannot_be_constrained() {
    let file = crate::tokenizers::byte_file(&["<s>"], 0, 0);
    let metadata = file
        .metadata
        .iter()
        .filter(|(key, _)| !key.ends_with("eos_token_id"));
    let file = crate::gguf_writer::GgufWriter {
        metadata: metadata.cloned().collect(),
        ..file
    };
    let gguf = file.read().expect("a file");
    let tokenizer = Arc::new(TextTokenizer::from_gguf(&gguf).expect("a tokenizer"));
    let error = ConstraintFactory::new(tokenizer).compile(&person());
    assert!(matches!(error, Err(LanguageError::InvalidTokenizer { .. })));
}
