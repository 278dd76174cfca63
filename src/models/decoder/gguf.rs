//! From a GGUF file's metadata to a [`Description`].

use super::description::{
    Biases, Description, HeadNorm, LayerKind, Norms, Parts, Rotary, RotaryScaling, alternating,
};
use super::families::{MAX_LAYERS, long_rope_attention};
use super::names;
use super::rope::{Scaling, yarn_attention};
use crate::kernels::Activation;
use crate::models::{Gguf, ModelError};

/// The architectures that are built in.
pub(super) const SUPPORTED: [&str; 10] = [
    "gemma", "gemma2", "gemma3", "granite", "llama", "olmo2", "phi3", "qwen2", "qwen3", "smollm3",
];

/// No count or width in a real file is larger.
const MAX_COUNT: u32 = 1 << 24;

/// The entries of a file's architecture.
struct Entries<'a> {
    file: &'a Gguf,
    architecture: &'a str,
}

impl Entries<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn invalid(&self, name: &str, detail: impl Into<String>) -> ModelError {
        self.file.invalid(&self.key(name), detail)
    }

    /// A whole number that may not be 0.
    fn count(&self, name: &str) -> Result<Option<usize>, ModelError> {
        match self.file.u32(&self.key(name))? {
            Some(count) if count == 0 || count > MAX_COUNT => {
                Err(self.invalid(name, format!("{count} is impossible")))
            }
            count => Ok(count.map(|count| count as usize)),
        }
    }

    fn required(&self, name: &str) -> Result<usize, ModelError> {
        self.count(name)?
            .ok_or_else(|| self.invalid(name, "it is missing"))
    }

    /// A number above 0.
    fn positive(&self, name: &str) -> Result<Option<f32>, ModelError> {
        match self.file.f32(&self.key(name))? {
            Some(number) if number <= 0.0 => {
                Err(self.invalid(name, format!("{number} is too small")))
            }
            number => Ok(number),
        }
    }
}

/// Reads the description of the architecture that `file` names.
pub(super) fn describe(file: &Gguf) -> Result<Description, ModelError> {
    let architecture = file
        .str("general.architecture")?
        .ok_or_else(|| file.invalid("general.architecture", "it is missing"))?;
    let unsupported = |found: String| ModelError::UnsupportedArchitecture {
        found,
        supported: SUPPORTED.to_vec(),
    };
    if !SUPPORTED.contains(&architecture) {
        return Err(unsupported(architecture.to_owned()));
    }
    let entries = Entries { file, architecture };
    if file
        .u32(&entries.key("expert_count"))?
        .is_some_and(|count| count > 0)
    {
        return Err(unsupported(format!(
            "{architecture} with experts (expert_count)"
        )));
    }
    if file.u32("split.count")?.is_some_and(|count| count > 1) {
        return Err(file.invalid("split.count", "a model in several files is not supported"));
    }
    let mut description = base(&entries)?;
    match architecture {
        "qwen3" => description.head_norm = HeadNorm::PerHead,
        "phi3" => description.parts = Parts::Fused,
        "gemma" | "gemma2" | "gemma3" => gemma(&entries, &mut description)?,
        "granite" => {
            let number = |name| Ok::<_, ModelError>(entries.positive(name)?.unwrap_or(1.0));
            if let Some(scale) = entries.positive("attention.scale")? {
                description.attention_scale = scale;
            }
            description.embedding_scale = number("embedding_scale")?;
            description.residual_scale = number("residual_scale")?;
            description.logit_scale = 1.0 / number("logit_scale")?;
        }
        "smollm3" => {
            // The format says of no layer that it knows no positions: it is every fourth.
            for layer in description.layers.iter_mut().skip(3).step_by(4) {
                layer.rotary = None;
            }
        }
        "olmo2" => {
            description.norms = Norms::After;
            description.head_norm = HeadNorm::Whole;
        }
        _ => {}
    }
    Ok(description)
}

/// What all families share, read as Llama has it.
fn base(entries: &Entries<'_>) -> Result<Description, ModelError> {
    let hidden = entries.required("embedding_length")?;
    let heads = entries.required("attention.head_count")?;
    let kv_heads = entries.count("attention.head_count_kv")?.unwrap_or(heads);
    if heads % kv_heads != 0 {
        return Err(entries.invalid(
            "attention.head_count_kv",
            format!("{kv_heads} do not divide {heads} heads"),
        ));
    }
    let head_width = match entries.count("attention.key_length")? {
        Some(width) => width,
        None if hidden % heads == 0 => hidden / heads,
        None => {
            return Err(entries.invalid(
                "attention.head_count",
                format!("{heads} do not divide a width of {hidden}"),
            ));
        }
    };
    if entries
        .count("attention.value_length")?
        .is_some_and(|width| width != head_width)
    {
        return Err(entries.invalid("attention.value_length", "keys are of another length"));
    }
    let layers = entries.required("block_count")?;
    if layers > MAX_LAYERS {
        return Err(entries.invalid(
            "block_count",
            format!("{layers} are more than {MAX_LAYERS}"),
        ));
    }
    let context = entries.required("context_length")?;
    let words = tensor_shape(entries.file, names::GGUF.words)?;
    let vocabulary = words.first().copied().unwrap_or_default();
    let layer = LayerKind {
        window: entries.count("attention.sliding_window")?,
        rotary: Some(0),
    };
    let has = |tensor: &str| {
        entries
            .file
            .tensor(&format!("{}.0.{tensor}.bias", names::GGUF.layer))
            .is_some()
    };
    Ok(Description {
        architecture: entries.architecture.to_owned(),
        hidden,
        vocabulary,
        heads,
        kv_heads,
        head_width,
        intermediate: entries.required("feed_forward_length")?,
        activation: Activation::Silu,
        gated: true,
        norms: Norms::Before,
        head_norm: HeadNorm::None,
        layer_norms: false,
        epsilon: entries
            .positive("attention.layer_norm_rms_epsilon")?
            .unwrap_or(1e-6),
        norm_shift: 0.0,
        biases: Biases {
            qkv: has(names::GGUF.query) || has(names::GGUF.qkv),
            attention_out: has(names::GGUF.attention_out),
            mlp: has(names::GGUF.down),
            head: false,
        },
        parts: Parts::Apart,
        interleaved: matches!(entries.architecture, "llama" | "granite" | "smollm3"),
        attention_scale: 1.0 / (head_width as f32).sqrt(),
        attention_cap: None,
        logit_cap: None,
        embedding_scale: 1.0,
        residual_scale: 1.0,
        logit_scale: 1.0,
        tied: entries
            .file
            .tensor(&format!("{}.weight", names::GGUF.head))
            .is_none(),
        rotaries: vec![rotary(entries, head_width, context)?],
        layers: vec![layer; layers],
        context,
        names: &names::GGUF,
    })
}

/// What sets Gemma apart from Llama, in all its generations.
fn gemma(entries: &Entries<'_>, description: &mut Description) -> Result<(), ModelError> {
    // The files hold the norms' weights with the 1 already added.
    description.embedding_scale = (description.hidden as f32).sqrt();
    description.activation = Activation::GeluTanh;
    if entries.architecture == "gemma" {
        return Ok(());
    }
    description.norms = Norms::Around;
    let count = description.layers.len();
    // The largest of each generation scales its scores by another width; no entry says so.
    let largest = match entries.architecture {
        "gemma2" => count == 46,
        _ => count == 62,
    };
    if largest {
        let width = description.hidden as f32 / description.heads as f32;
        description.attention_scale = 1.0 / width.sqrt();
    }
    description.attention_cap = entries.positive("attn_logit_softcapping")?;
    description.logit_cap = entries.positive("final_logit_softcapping")?;
    let global = LayerKind {
        window: None,
        rotary: Some(0),
    };
    if entries.architecture == "gemma2" {
        let local = LayerKind {
            window: Some(entries.count("attention.sliding_window")?.unwrap_or(4096)),
            rotary: Some(0),
        };
        description.layers = alternating(count, 2, local, global);
        return Ok(());
    }
    description.head_norm = HeadNorm::PerHead;
    let local = LayerKind {
        window: Some(entries.required("attention.sliding_window")?),
        rotary: Some(1),
    };
    let theta = entries.positive("rope.freq_base_swa")?.unwrap_or(1e4);
    description.rotaries.push(Rotary {
        theta: theta.into(),
        width: description.head_width,
        scaling: RotaryScaling::Fixed(Scaling::None),
        axes: Vec::new(),
    });
    description.layers = alternating(count, 6, local, global);
    Ok(())
}

fn tensor_shape<'a>(file: &'a Gguf, name: &str) -> Result<&'a [usize], ModelError> {
    let name = format!("{name}.weight");
    match file.tensor(&name) {
        Some(tensor) => Ok(tensor.shape()),
        None => Err(ModelError::MissingTensor { tensor: name }),
    }
}

fn rotary(entries: &Entries<'_>, head_width: usize, context: usize) -> Result<Rotary, ModelError> {
    let width = entries.count("rope.dimension_count")?.unwrap_or(head_width);
    if width > head_width || !width.is_multiple_of(2) {
        return Err(entries.invalid(
            "rope.dimension_count",
            format!("{width} of {head_width} components cannot be turned"),
        ));
    }
    let theta = entries.positive("rope.freq_base")?.unwrap_or(1e4);
    if theta <= 1.0 {
        return Err(entries.invalid("rope.freq_base", format!("{theta} is too small")));
    }
    Ok(Rotary {
        theta: theta.into(),
        width,
        scaling: scaling(entries, width, context)?,
        axes: Vec::new(),
    })
}

fn scaling(
    entries: &Entries<'_>,
    width: usize,
    context: usize,
) -> Result<RotaryScaling, ModelError> {
    let fixed = |scaling| Ok(RotaryScaling::Fixed(scaling));
    let original = entries.count("rope.scaling.original_context_length")?;
    if let (Some(short), Some(long)) = (
        factors(entries.file, "rope_factors_short", width)?,
        factors(entries.file, "rope_factors_long", width)?,
    ) {
        let original = original.unwrap_or(context);
        let attention = match entries.positive("rope.scaling.attn_factor")? {
            Some(attention) => attention.into(),
            None => long_rope_attention(context as f64 / original as f64, original as f64),
        };
        let each = |factors| Scaling::Each { factors, attention };
        return Ok(RotaryScaling::ByContext {
            short: each(short),
            long: each(long),
            original,
        });
    }
    // How Llama 3's scaling is held.
    if let Some(factors) = factors(entries.file, "rope_freqs", width)? {
        return fixed(Scaling::Each {
            factors,
            attention: 1.0,
        });
    }
    let factor = entries.positive("rope.scaling.factor")?;
    let kind = entries.file.str(&entries.key("rope.scaling.type"))?;
    match (kind, factor) {
        (None | Some("none"), None) => fixed(Scaling::None),
        (Some("none"), _) => fixed(Scaling::None),
        (None | Some("linear"), Some(factor)) => fixed(Scaling::Linear(factor.into())),
        (Some("yarn"), Some(factor)) => {
            let factor = f64::from(factor);
            let number = |name, default: f32| {
                Ok::<_, ModelError>(entries.positive(name)?.unwrap_or(default).into())
            };
            let attention: f64 = number("rope.scaling.attn_factor", 1.0)?;
            fixed(Scaling::Yarn {
                factor,
                original: original.unwrap_or(context) as f64,
                beta_fast: number("rope.scaling.yarn_beta_fast", 32.0)?,
                beta_slow: number("rope.scaling.yarn_beta_slow", 1.0)?,
                attention: Some(attention * yarn_attention(factor)),
            })
        }
        (Some("linear" | "yarn"), None) => {
            Err(entries.invalid("rope.scaling.factor", "it is missing"))
        }
        (Some(other), _) => {
            Err(entries.invalid("rope.scaling.type", format!("{other} is not supported")))
        }
    }
}

/// A tensor of divisors of the frequencies, if the file has it.
fn factors(file: &Gguf, name: &str, width: usize) -> Result<Option<Vec<f32>>, ModelError> {
    let name = format!("{name}.weight");
    let Some(tensor) = file.tensor(&name) else {
        return Ok(None);
    };
    if tensor.shape() != [width / 2] {
        return Err(ModelError::WrongShape {
            tensor: name,
            expected: vec![width / 2],
            found: tensor.shape().to_vec(),
        });
    }
    if tensor.kind().name() != "F32" {
        return Err(ModelError::WrongDtype {
            tensor: name,
            found: tensor.kind().name().to_owned(),
            supported: "F32",
        });
    }
    let bytes = file.read_tensor(&name)?;
    let (words, _) = bytes.as_chunks::<4>();
    let factors: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
    if factors
        .iter()
        .all(|factor| factor.is_finite() && *factor > 0.0)
    {
        Ok(Some(factors))
    } else {
        Err(ModelError::NotFiniteWeights { tensor: name })
    }
}
