//! Moondream: what its `config.json` leaves out is told by the shapes of its tensors.

use serde_json::{Value, json};

use super::description::{Places, Projector, Sight, Tower};
use super::families::{Family, Prompt, add_missing};
use super::names;
use crate::kernels::Activation;
use crate::models::ModelError;
use crate::models::checkpoint::Checkpoint;
use crate::models::decoder::MOONDREAM;
use crate::models::fields::Fields;

/// Heads of its tower.
const HEADS: usize = 16;

/// No real tower has as many layers.
const MAX_LAYERS: usize = 1024;
/// Nor does a real one take pictures of longer sides.
const MAX_SIDE: usize = 1 << 14;

/// Reads what `config` says of the language model, and the rest in the headers.
pub(super) fn describe(
    fields: &Fields,
    config: &Value,
    checkpoint: &Checkpoint,
) -> Result<Family, ModelError> {
    let mut text = config.get("text_config").cloned().unwrap_or(json!({}));
    // What a file leaves out is as in the first Phi.
    let usual = json!({
        "vocab_size": 51200, "hidden_size": 2048, "intermediate_size": 8192,
        "num_hidden_layers": 24, "num_attention_heads": 32, "hidden_act": "gelu_new",
        "max_position_embeddings": 2048, "layer_norm_eps": 1e-5, "partial_rotary_factor": 0.5,
        "tie_word_embeddings": false,
    });
    add_missing(&mut text, &usual);
    let Some(object) = text.as_object_mut() else {
        return Err(fields.invalid("text_config", "it is no object"));
    };
    object.insert("model_type".to_owned(), json!(MOONDREAM));
    let text = Fields::new("config.json", text);
    let outputs = text.required(&["hidden_size"])?;

    let shapes = Shapes(checkpoint);
    let patches = names::MOONDREAM.patches;
    let (_, [hidden, values]) = shapes.of(&format!("{patches}.weight"))?;
    let (name, [rows, _]) = shapes.of(names::MOONDREAM.positions)?;
    let first = names::MOONDREAM_PROJECTOR.layers[0];
    let (_, [inside, _]) = shapes.of(&format!("{first}.weight"))?;
    let (_, [intermediate, _]) = shapes.of("visual.blocks.0.mlp.fc1.weight")?;
    let patch = square_root(values / 3);
    let lines = square_root(rows);
    let size = patch.saturating_mul(lines);
    let fits = 3 * patch * patch == values && lines * lines == rows;
    if !fits || size == 0 || size > MAX_SIDE || !hidden.is_multiple_of(HEADS) {
        return Err(ModelError::WrongShape {
            tensor: name,
            expected: vec![lines * lines, hidden.next_multiple_of(HEADS)],
            found: vec![rows, hidden],
        });
    }
    Ok(Family {
        name: "moondream1",
        sight: Sight {
            tower: Tower {
                names: &names::MOONDREAM,
                hidden,
                heads: HEADS,
                intermediate,
                activation: Activation::GeluTanh,
                rms: false,
                epsilon: 1e-5,
                layers: vec![true; shapes.layers()],
                patch,
                frames: 1,
                patch_bias: true,
                places: Places::Learned,
                size: Some([size; 2]),
                merge: 1,
                window: usize::MAX,
            },
            projector: Some(Projector {
                names: &names::MOONDREAM_PROJECTOR,
                drops_class: false,
                epsilon: 0.0,
                inside,
                activation: Activation::GeluTanh,
                biases: true,
                outputs,
            }),
            in_grid: false,
        },
        text,
        prompt: Prompt::Question {
            before: "\n\nQuestion: ",
            after: "\n\nAnswer:",
        },
        preprocessor: Some(
            json!({
                "image_processor_type": "SiglipImageProcessor",
                "size": { "height": size, "width": size },
            })
            .to_string(),
        ),
    })
}

/// The shapes of tensors, by the ends of their names.
struct Shapes<'a>(&'a Checkpoint);

impl Shapes<'_> {
    /// The full name and the last two sides of a tensor.
    fn of(&self, end: &str) -> Result<(String, [usize; 2]), ModelError> {
        let missing = || ModelError::MissingTensor {
            tensor: end.to_owned(),
        };
        let mut names = self.0.names();
        let name = names.find(|name| name.ends_with(end)).ok_or_else(missing)?;
        let shape = &self.0.entry(name).ok_or_else(missing)?.shape;
        match shape.as_slice() {
            [.., rows, columns] if *rows > 0 && *columns > 0 => {
                Ok((name.to_owned(), [*rows, *columns]))
            }
            _ => Err(ModelError::WrongShape {
                tensor: name.to_owned(),
                expected: vec![1, 1],
                found: shape.clone(),
            }),
        }
    }

    /// How many layers there are tensors of.
    fn layers(&self) -> usize {
        let has = |number: &usize| {
            let part = format!("visual.blocks.{number}.norm1.weight");
            self.0.names().any(|name| name.ends_with(&part))
        };
        (0..MAX_LAYERS).take_while(has).count()
    }
}

fn square_root(number: usize) -> usize {
    number.isqrt()
}
