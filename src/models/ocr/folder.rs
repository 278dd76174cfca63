//! The files of a model, and what is loaded of them.

use std::fmt;
use std::path::{Path, PathBuf};

use super::characters::{Alphabet, LineText};
use super::cut::LINE_HEIGHT;
use super::options::OcrOptions;
use crate::kernels::Team;
use crate::models::{ModelError, OnnxArray, OnnxModel, files};

/// The recogniser's characters, as it carries them.
const CHARACTERS: &str = "character";
/// The most characters of an alphabet.
const MAX_CHARACTERS: usize = 1 << 17;

/// Bytes that a place of the detector's picture takes while it runs: measured were 105, all else that the
/// process has included (a page of 960 by 960).
const BYTES_OF_A_PLACE: u64 = 128;
/// Bytes that a long line, of 1,600 pixels, takes on each thread.
const LINE_BYTES: u64 = 12 << 20;

/// A folder with a detector and a recogniser.
#[derive(Debug, Clone)]
pub struct OcrFolder {
    detector: PathBuf,
    recogniser: PathBuf,
    /// Where the recogniser does not carry its characters.
    characters: Option<PathBuf>,
    weights_bytes: u64,
    options: OcrOptions,
}

impl OcrFolder {
    /// Looks for the files: one `.onnx` with `det` in its name and one with `rec`, and perhaps a `.txt`
    /// with the recogniser's characters, one a line. Nothing is loaded.
    ///
    /// # Errors
    /// [`ModelError`] that names the file that is missing or of which there are several, or the option
    /// that makes no sense.
    pub fn open(path: impl AsRef<Path>, options: OcrOptions) -> Result<Self, ModelError> {
        let path = path.as_ref();
        options.validate()?;
        files::require_directory(path)?;
        let names = names(path)?;
        let one = |part: &str| {
            let is_it = |name: &&String| name.ends_with(".onnx") && name.contains(part);
            let found: Vec<&String> = names.iter().filter(is_it).collect();
            match found.as_slice() {
                [one] => Ok(path.join(one)),
                [] => Err(ModelError::MissingFile {
                    path: path.join(format!("*{part}*.onnx")),
                }),
                several => Err(ModelError::InvalidConfig {
                    file: path.display().to_string(),
                    field: format!("*{part}*.onnx"),
                    detail: format!("{} files are called so", several.len()),
                }),
            }
        };
        let (detector, recogniser) = (one("det")?, one("rec")?);
        let characters = names.iter().find(|name| name.ends_with(".txt"));
        let (_, detector_bytes) = files::open(&detector)?;
        let (_, recogniser_bytes) = files::open(&recogniser)?;
        Ok(Self {
            detector,
            recogniser,
            characters: characters.map(|name| path.join(name)),
            // Weights that are stored as bytes become floats.
            weights_bytes: detector_bytes
                .saturating_add(recogniser_bytes)
                .saturating_mul(4),
            options,
        })
    }

    /// The options that it was opened with.
    pub fn options(&self) -> OcrOptions {
        self.options
    }

    /// What the weights take at the most, in bytes, once they are loaded.
    pub fn weights_bytes(&self) -> u64 {
        self.weights_bytes
    }

    /// What a worker takes beside them, in bytes: the detector's largest picture on its way through, and a
    /// line for each of `threads`.
    pub fn worker_bytes(&self, threads: usize) -> u64 {
        let side = u64::from(self.options.detector_side);
        let lines = LINE_BYTES.saturating_mul(threads as u64);
        (side * side * BYTES_OF_A_PLACE).max(lines)
    }

    /// Loads the weights, and tries them on a small picture.
    ///
    /// # Errors
    /// [`ModelError`] that names the file: it is damaged, uses what is not supported, or is no detector
    /// or recogniser.
    pub fn load(&self) -> Result<OcrWeights, ModelError> {
        let detector = OnnxModel::open(&self.detector)?;
        let recogniser = OnnxModel::open(&self.recogniser)?;
        let alphabet = self.alphabet(&recogniser)?;
        let weights = OcrWeights {
            detector,
            recogniser,
            alphabet,
        };
        weights.try_out().map_err(|error| ModelError::Corrupt {
            path: self.recogniser.with_file_name(""),
            format: "pair of detector and recogniser",
            detail: error.to_string(),
        })?;
        Ok(weights)
    }

    fn alphabet(&self, recogniser: &OnnxModel) -> Result<Alphabet, ModelError> {
        let (alphabet, from) = match (recogniser.metadata(CHARACTERS), &self.characters) {
            (Some(list), _) => (Alphabet::new(list), &self.recogniser),
            (None, Some(path)) => {
                let bytes = files::read(path, "list of characters")?;
                let list = String::from_utf8(bytes).map_err(|error| ModelError::Corrupt {
                    path: path.clone(),
                    format: "list of characters",
                    detail: error.to_string(),
                })?;
                (Alphabet::new(&list), path)
            }
            (None, None) => {
                return Err(ModelError::InvalidConfig {
                    file: self.recogniser.display().to_string(),
                    field: CHARACTERS.to_owned(),
                    detail: "it is missing, and no .txt file lies beside it".to_owned(),
                });
            }
        };
        if alphabet.classes() > MAX_CHARACTERS {
            return Err(ModelError::InvalidConfig {
                file: from.display().to_string(),
                field: CHARACTERS.to_owned(),
                detail: format!("{} are too many", alphabet.classes()),
            });
        }
        Ok(alphabet)
    }
}

/// The names of the files in a folder, in order.
fn names(path: &Path) -> Result<Vec<String>, ModelError> {
    let unreadable = |error| files::unreadable(path, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        names.extend(name.into_string());
    }
    names.sort();
    Ok(names)
}

/// A detector, a recogniser and the recogniser's alphabet.
pub struct OcrWeights {
    detector: OnnxModel,
    recogniser: OnnxModel,
    alphabet: Alphabet,
}

impl fmt::Debug for OcrWeights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("OcrWeights")
            .field("classes", &self.alphabet.classes())
            .finish_non_exhaustive()
    }
}

impl OcrWeights {
    /// The probability of each place of `[1, 3, height, width]` to belong to a line.
    pub(super) fn detect(&self, team: &Team, pixels: OnnxArray) -> Result<OnnxArray, ModelError> {
        only_output(self.detector.run_in(team, &[pixels])?)
    }

    /// What a line of `[1, 3, 48, width]` says.
    pub(super) fn recognise(&self, team: &Team, pixels: OnnxArray) -> Result<LineText, ModelError> {
        let output = only_output(self.recogniser.run_in(team, &[pixels])?)?;
        self.alphabet.read(&output)
    }

    fn try_out(&self) -> Result<(), ModelError> {
        let grey = |height: usize, width: usize| {
            let array = OnnxArray::new(vec![1, 3, height, width], vec![0.0; 3 * height * width]);
            array.ok_or(ModelError::NotFinitePixels)
        };
        let (height, width) = (32, 64);
        let team = Team::new(1);
        let found = self.detect(&team, grey(height, width)?)?;
        let wanted = vec![1, 1, height, width];
        if found.shape() != wanted {
            return Err(ModelError::WrongShape {
                tensor: "the detector's output".to_owned(),
                expected: wanted,
                found: found.shape().to_vec(),
            });
        }
        let line = grey(LINE_HEIGHT as usize, 64)?;
        self.recognise(&team, line).map(drop)
    }
}

fn only_output(mut outputs: Vec<OnnxArray>) -> Result<OnnxArray, ModelError> {
    outputs.pop().ok_or_else(|| ModelError::Operator {
        node: "the graph".to_owned(),
        detail: "has no output".to_owned(),
    })
}
