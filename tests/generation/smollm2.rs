//! A real model through the pool: SmolLM2-135M-Instruct, from its GGUF file.

use std::error::Error;
use std::sync::Arc;

use modelpool::language::LanguageError;
use modelpool::models::{CacheFormat, DecoderOptions};
use modelpool::pool::core::FixedProbe;
use modelpool::{
    ChatMessage, Constraint, FinishReason, ModelError, ModelHandle, ModelSpec, PoolError,
    TextToText,
};
use serde_json::{Value, json};

use crate::universe::{Universe, config, within};
use crate::{blocks_come_back, real_models, up_to};

async fn smollm2(cache_tokens: usize) -> (Universe, ModelHandle<TextToText>) {
    let mut settings = config();
    settings.probe = Arc::new(FixedProbe { total_mb: 4000 });
    let universe = Universe::new(settings).await;
    let options = DecoderOptions::default()
        .context_tokens(256)
        .cache_tokens(cache_tokens)
        .cache_format(CacheFormat::F16);
    let spec = ModelSpec::<TextToText>::gguf(real_models::smollm2(), options).unwrap();
    let model = universe.register(spec.max_workers(1)).unwrap();
    (universe, model)
}

async fn text_of(model: &ModelHandle<TextToText>, prompt: &str, tokens: usize) -> String {
    let stream = model.prompt(prompt, up_to(tokens)).await.unwrap();
    stream.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_a_conversation_and_reads_only_what_is_new_of_it() {
    let (universe, model) = smollm2(4096).await;
    let mut talk = vec![
        ChatMessage::system("You are a terse assistant."),
        ChatMessage::user("What is the capital of France?"),
    ];
    let first = within(model.chat(talk.clone(), up_to(120))).await.unwrap();
    let first = within(first.collect()).await.unwrap();
    let answer = &first.answers[0];
    assert!(answer.text.contains("Paris"), "{answer:?}");
    assert_eq!(answer.finish, FinishReason::Stop, "{answer:?}");

    talk.push(ChatMessage::assistant(&answer.text));
    talk.push(ChatMessage::user("And of Italy?"));
    let second = within(model.chat(talk, up_to(120))).await.unwrap();
    let second = within(second.collect()).await.unwrap();
    let (before, now) = (first.summary.usage, second.summary.usage);
    assert_eq!(before.cached_tokens, 0);
    // All whole blocks of the first prompt, at least.
    assert!(now.cached_tokens + 32 > before.prompt_tokens, "{now:?}");
    assert!(now.cached_tokens < now.prompt_tokens);
    blocks_come_back(&universe).await;
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_writes_json_of_a_schema_and_keeps_to_an_expression() {
    let (universe, model) = smollm2(2048).await;
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "maxLength": 20 },
            "age": { "type": "integer", "minimum": 0, "maximum": 150 },
        },
        "required": ["name", "age"],
        "additionalProperties": false,
    });
    let question = || {
        [ChatMessage::user(
            "Invent a person, as JSON with name and age.",
        )]
    };
    let params = up_to(80).constraint(Constraint::JsonSchema(schema));
    let stream = within(model.chat(question(), params)).await.unwrap();
    let answer = within(stream.collect()).await.unwrap().answers.remove(0);
    let person: Value = serde_json::from_str(&answer.text).expect(&answer.text);
    assert!(
        person["name"].is_string() && person["age"].is_u64(),
        "{person}"
    );
    assert!(matches!(
        answer.finish,
        FinishReason::Constraint | FinishReason::Stop
    ));

    let params = up_to(40).constraint(Constraint::Regex("(yes|no), [a-z]{3,8}\\.".to_owned()));
    let stream = within(model.chat(question(), params)).await.unwrap();
    let text = within(stream.text()).await.unwrap();
    assert!(
        text.starts_with("yes, ") || text.starts_with("no, "),
        "{text}"
    );
    assert!(text.ends_with('.'), "{text}");
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_to_is_told_before_anything_loads() {
    let (universe, model) = smollm2(2048).await;
    let constraints = [
        Constraint::Regex("(unclosed".to_owned()),
        Constraint::Grammar("start: nowhere".to_owned()),
        Constraint::JsonSchema(json!({ "type": "integer", "minimum": 3, "maximum": 1 })),
        Constraint::JsonSchema(json!({ "type": "nonsense" })),
    ];
    for constraint in constraints {
        let params = up_to(5).constraint(constraint.clone());
        let error = within(model.prompt("a", params)).await.unwrap_err();
        let source = error.source().unwrap().downcast_ref::<ModelError>();
        let language = match source {
            Some(ModelError::Language(language)) => language,
            other => panic!("{constraint:?}: {other:?}"),
        };
        let is_told = matches!(
            language,
            LanguageError::InvalidConstraint { .. } | LanguageError::UnsatisfiableConstraint { .. }
        );
        assert!(is_told, "{constraint:?}: {language:?}");
    }
    let error = within(model.chat([], up_to(5))).await.unwrap_err();
    assert!(matches!(
        error,
        PoolError::InvalidRequest {
            field: "messages",
            ..
        }
    ));
    assert_eq!(universe.status().models[0].workers.len(), 0);
    universe.close().await;
}

/// Sixty-four at once, of sixteen kinds, in a cache that does not hold them all; each as it is alone.
#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_streams_each_say_what_they_say_alone() {
    let (universe, model) = smollm2(512).await;
    let asked = |n: usize| (format!("The number {n} is the"), 2 + n % 5);
    let mut alone = Vec::new();
    for (prompt, tokens) in (0..16).map(asked) {
        alone.push(within(text_of(&model, &prompt, tokens)).await);
    }
    let together = (0..64).map(|n| asked(n % 16)).map(|(prompt, tokens)| {
        let model = model.clone();
        tokio::spawn(async move { text_of(&model, &prompt, tokens).await })
    });
    for (n, text) in together.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(within(text).await.unwrap(), alone[n % 16], "number {n}");
    }
    blocks_come_back(&universe).await;
    universe.close().await;
}
