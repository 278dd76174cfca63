//! What callers send.

use std::sync::Arc;

use modelpool::language::{
    ChatTemplate, Constraint, ConstraintFactory, Detokenizer, Sampler, StopStrings, TemplateOptions,
};
use modelpool::models::StaticPreparer;
use modelpool::pool::capabilities::text_embedding::{EmbedInput, EmbedOptions, TextPreparer};
use modelpool::pool::core::RequestOptions;
use modelpool::{
    ChatMessage, GenerationParams, GenerationRequest, ImageChunk, ImageParams, PaintingRequest,
    SamplingParams, TextTokenizer,
};

/// Requests and options as JSON.
pub fn options(bytes: &[u8]) {
    if let Ok(params) = serde_json::from_slice::<GenerationParams>(bytes)
        && params.validate().is_ok()
    {
        let again = serde_json::to_vec(&params).expect("sound parameters can be written");
        assert_eq!(
            serde_json::from_slice::<GenerationParams>(&again).ok(),
            Some(params)
        );
    }
    if let Ok(params) = serde_json::from_slice::<SamplingParams>(bytes) {
        let _ = params.validate();
    }
    if let Ok(params) = serde_json::from_slice::<ImageParams>(bytes)
        && params.validate().is_ok()
    {
        let again = serde_json::to_vec(&params).expect("sound parameters can be written");
        assert_eq!(
            serde_json::from_slice::<ImageParams>(&again).ok(),
            Some(params)
        );
    }
    let _ = serde_json::from_slice::<PaintingRequest>(bytes);
    let _ = serde_json::from_slice::<ImageChunk>(bytes);
    let _ = serde_json::from_slice::<RequestOptions>(bytes);
    let _ = serde_json::from_slice::<EmbedInput>(bytes).map(|input| input.cost());
    let _ = serde_json::from_slice::<EmbedOptions>(bytes);
    let _ = serde_json::from_slice::<GenerationRequest>(bytes);
    let _ = serde_json::from_slice::<Vec<ChatMessage>>(bytes);
}

thread_local! {
    static PREPARER: StaticPreparer = StaticPreparer::embedded().expect("the crate's own");
    static BYTES: Option<Arc<TextTokenizer>> = TextTokenizer::of_bytes().ok().map(Arc::new);
    static FACTORY: Option<ConstraintFactory> =
        BYTES.with(|bytes| bytes.clone().map(ConstraintFactory::new));
}

/// Texts of any kind through a tokenizer, forth and, by tokens in any order, back.
pub fn texts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    PREPARER.with(|preparer| {
        let _ = preparer.prepare(text.clone(), &EmbedOptions::default());
    });
    BYTES.with(|tokenizer| {
        let Some(tokenizer) = tokenizer else {
            return;
        };
        if let Ok(ids) = tokenizer.encode(&text, true) {
            let _ = tokenizer.decode(&ids);
        }
        let mut detokenizer = Detokenizer::new(Arc::clone(tokenizer));
        let mut pieces = String::new();
        for &byte in bytes {
            pieces.push_str(&detokenizer.push(u32::from(byte)));
        }
        pieces.push_str(&detokenizer.finish());
    });
}

/// Parameters and logits of any kind through a sampler.
pub fn sampling(bytes: &[u8]) {
    let (words, _) = bytes.as_chunks::<4>();
    let numbers: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    let Some((head, logits)) = numbers.split_at_checked(8) else {
        return;
    };
    let whole = |index: usize| head[index].to_bits() as usize % 64;
    let params = SamplingParams::with_temperature(head[0])
        .top_p(head[1])
        .min_p(head[2])
        .repetition_penalty(head[3])
        .frequency_penalty(head[4])
        .presence_penalty(head[5])
        .top_k(whole(6))
        .logprobs(whole(7));
    let Ok(mut sampler) = Sampler::new(&params, u64::from(head[7].to_bits())) else {
        return;
    };
    let mut history = vec![0, u32::MAX];
    for _ in 0..3 {
        let mut row = logits.to_vec();
        let Ok(sampled) = sampler.sample(&mut row, &history) else {
            return;
        };
        assert!(
            (sampled.token as usize) < logits.len(),
            "a token of the row"
        );
        history.push(sampled.token);
    }
}

/// Stop strings, and a text that comes in pieces.
pub fn stop_strings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\n');
    let stops: Vec<String> = parts.by_ref().take(3).map(str::to_owned).collect();
    let Ok(mut stopper) = StopStrings::new(stops.clone()) else {
        return;
    };
    let mut said = String::new();
    for piece in parts {
        let progress = stopper.push(piece);
        said.push_str(&progress.text);
        if progress.stopped.is_some() {
            break;
        }
    }
    said.push_str(&stopper.finish());
    for stop in stops.iter().filter(|stop| !stop.is_empty()) {
        assert!(!said.contains(stop.as_str()), "{stop:?} was said");
    }
}

/// A chat template: Jinja, as it lies in model files.
pub fn templates(bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes);
    BYTES.with(|tokenizer| {
        let Some(tokenizer) = tokenizer else {
            return;
        };
        if let Ok(template) = ChatTemplate::new(&source, tokenizer) {
            let messages = [
                ChatMessage::system("be brief"),
                ChatMessage::user("{{ 1 / 0 }} <|end|>"),
                ChatMessage::assistant(""),
            ];
            let _ = template.render(&messages, &TemplateOptions::default());
        }
    });
}

/// A constraint of the kind that the first byte means, and a few tokens under it.
pub fn constraints(bytes: &[u8]) {
    let Some((&kind, rest)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(rest).into_owned();
    let constraint = match kind % 3 {
        0 => match serde_json::from_str(&text) {
            Ok(schema) => Constraint::JsonSchema(schema),
            Err(_) => return,
        },
        1 => Constraint::Regex(text),
        _ => Constraint::Grammar(text),
    };
    FACTORY.with(|factory| {
        let Some(Ok(mut state)) = factory.as_ref().map(|factory| factory.compile(&constraint))
        else {
            return;
        };
        for _ in 0..4 {
            // One for each of the tokenizer's tokens.
            let mut logits = [0.0; 257];
            if state.is_finished() || state.mask(&mut logits).is_err() {
                return;
            }
            let Some(token) = logits.iter().position(|logit| logit.is_finite()) else {
                return;
            };
            if state.accept(token as u32).is_err() {
                return;
            }
        }
    });
}
