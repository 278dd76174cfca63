//! How byte-level BPE cuts a text into words, by the names that GGUF files use.
//!
//! The expressions are those of the models' own tokenizers. Each cuts what the one before left:
//! what it matches is a word, and what lies between is one, too.

use tokenizers::SplitDelimiterBehavior;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

use super::invalid;
use crate::language::LanguageError;
use crate::models::{Gguf, ModelError};

const KEY: &str = "tokenizer.ggml.pre";

/// Words with their leading space, runs of digits, of other signs, and white space, of which the last
/// blank goes to the next word.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;

/// A way to cut a text into words.
#[derive(Debug, Clone, Copy)]
pub(super) struct PreTokenizer {
    names: &'static [&'static str],
    splits: &'static [&'static str],
    /// A word that is itself a token is that token, whatever merges would make of it.
    pub(super) whole_words: bool,
    /// Models of this kind expect `bos` before a text unless their file says otherwise.
    pub(super) add_bos: bool,
}

const fn plain(names: &'static [&'static str], splits: &'static [&'static str]) -> PreTokenizer {
    PreTokenizer {
        names,
        splits,
        whole_words: false,
        add_bos: false,
    }
}

/// As above, for tokenizers that look up whole words first and expect `bos`.
const fn whole(names: &'static [&'static str], splits: &'static [&'static str]) -> PreTokenizer {
    PreTokenizer {
        names,
        splits,
        whole_words: true,
        add_bos: true,
    }
}

const KNOWN: [PreTokenizer; 12] = [
    // What llama.cpp does with files from before the name was written.
    plain(
        &["default"],
        &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    ),
    plain(
        &[
            "gpt-2",
            "phi-2",
            "olmo",
            "mpt",
            "exaone4",
            "trillion",
            "modern-bert",
            "roberta-bpe",
            "jina-es",
            "jina-de",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v1-en",
            "jina-v2-code",
        ],
        &[GPT2],
    ),
    plain(
        &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
        ],
        &[r"\p{N}", GPT2],
    ),
    whole(
        &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "lfm2",
        ],
        &[LLAMA3],
    ),
    plain(&["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], &[LLAMA3]),
    plain(
        &[
            "qwen2",
            "deepseek-r1-qwen",
            "megrez",
            "stablelm2",
            "hunyuan",
            "grok-2",
        ],
        &[QWEN2],
    ),
    plain(&["qwen35"], &[QWEN35]),
    whole(&["tekken"], &[TEKKEN]),
    plain(&["gpt-4o", "llama4", "kanana2"], &[GPT4O]),
    plain(
        &["falcon"],
        &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    ),
    plain(
        &["deepseek-coder"],
        &[
            "[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+",
            r"\p{N}",
        ],
    ),
    plain(
        &["deepseek-v3", "hunyuan-dense"],
        &[
            r"\p{N}{1,3}",
            "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
            DEEPSEEK3,
        ],
    ),
];

/// The pre-tokenizer that a file names; without a name, that of old files.
pub(super) fn find(gguf: &Gguf) -> Result<PreTokenizer, ModelError> {
    let name = gguf.str(KEY)?.unwrap_or("default");
    let found = KNOWN.iter().find(|known| known.names.contains(&name));
    found.copied().ok_or_else(|| {
        LanguageError::UnsupportedTokenizer {
            field: KEY,
            found: name.to_owned(),
            known: KNOWN
                .iter()
                .flat_map(|known| known.names)
                .copied()
                .collect(),
        }
        .into()
    })
}

impl PreTokenizer {
    pub(super) fn build(&self) -> Result<Sequence, LanguageError> {
        let mut steps = Vec::new();
        for expression in self.splits {
            let pattern = SplitPattern::Regex((*expression).to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|error| invalid(KEY, error.to_string()))?;
            steps.push(PreTokenizerWrapper::Split(split));
        }
        let bytes = ByteLevel::new(false, true, false);
        steps.push(PreTokenizerWrapper::ByteLevel(bytes));
        Ok(Sequence::new(steps))
    }
}
