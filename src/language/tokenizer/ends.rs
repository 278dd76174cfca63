//! Tokens that models are known to end their turn with.

/// Names of such tokens; a file need not say what they are for.
const KNOWN: [&str; 15] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<turn|>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
];

/// Whether a token of this name ends a turn in some model.
pub(super) fn is_known(token: &str) -> bool {
    KNOWN.contains(&token)
}

/// The ids of those among the control tokens.
pub(super) fn known<'a>(controls: impl Iterator<Item = (&'a str, u32)>) -> Vec<u32> {
    let found: Vec<_> = controls.filter(|(token, _)| is_known(token)).collect();
    let has = |name: &str| found.iter().any(|(token, _)| *token == name);
    // In the harmony format, `<|end|>` ends a message, after which the model goes on.
    let is_harmony = has("<|return|>") && has("<|call|>");
    found
        .iter()
        .filter(|(token, _)| !(is_harmony && *token == "<|end|>"))
        .map(|(_, id)| *id)
        .collect()
}
