//! What can be wrong with a model, its files, or what it is asked.

use std::path::PathBuf;
use std::sync::Arc;

use crate::images::ImageError;
use crate::language::LanguageError;

/// Why a model could not be loaded or run. Every variant names the file, tensor or field at fault.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file that the model's layout requires is not there.
    #[error("{} is missing", path.display())]
    MissingFile {
        /// The path that was looked for.
        path: PathBuf,
    },
    /// A path exists but is of the wrong kind, such as a directory in a file's place.
    #[error("{} is not {expected}", path.display())]
    WrongFileKind {
        /// The path that was looked at.
        path: PathBuf,
        /// What was wanted there: "a file" or "a directory".
        expected: &'static str,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// A file's content is damaged, truncated or not of its format.
    #[error("{} is not a valid {format}: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The format it should have: "safetensors", "config.json", …
        format: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A tensor that the architecture needs is not in the weights.
    #[error("the weights hold no tensor {tensor}")]
    MissingTensor {
        /// The tensor's full name in the file.
        tensor: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {tensor} has shape {found:?}, the configuration needs {expected:?}")]
    WrongShape {
        /// The tensor's full name in the file.
        tensor: String,
        /// The shape that the configuration calls for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor is stored in an element type that the model cannot use.
    #[error("tensor {tensor} has element type {found}, supported are {supported}")]
    WrongDtype {
        /// The tensor's full name in the file.
        tensor: String,
        /// The element type in the file.
        found: String,
        /// The element types that would do.
        supported: &'static str,
    },
    /// A weight is NaN or infinite.
    #[error("tensor {tensor} holds values that are not finite")]
    NotFiniteWeights {
        /// The tensor's full name in the file.
        tensor: String,
    },
    /// The model computed NaN or infinity for an input.
    #[error("the model's output is not finite")]
    NotFiniteOutput,
    /// A picture that a model was given holds NaN or infinity.
    #[error("the picture's pixels are not finite")]
    NotFinitePixels,
    /// The configuration names an architecture that is not built in.
    #[error("architecture {found} is not supported; supported are {}", supported.join(", "))]
    UnsupportedArchitecture {
        /// The architecture as the configuration names it.
        found: String,
        /// The architectures that are built in.
        supported: Vec<&'static str>,
    },
    /// A configuration field has a value that the model cannot work with.
    #[error("{file}: field {field}: {detail}")]
    InvalidConfig {
        /// The configuration file's name.
        file: String,
        /// The field.
        field: String,
        /// What is wrong with its value.
        detail: String,
    },
    /// A graph uses an operator, or a setting of one, that is not supported.
    #[error("operator {operator} is not supported: {detail}")]
    UnsupportedOperator {
        /// The operator, as the file names it.
        operator: String,
        /// What of it is not supported.
        detail: String,
    },
    /// An operator of a graph does not fit what it was given.
    #[error("{node}: {detail}")]
    Operator {
        /// What the operator makes, as the file names it.
        node: String,
        /// What does not fit.
        detail: String,
    },
    /// A decoder was given a step that it cannot run.
    #[error("sequence {sequence} cannot be run: {detail}")]
    InvalidStep {
        /// The sequence.
        sequence: u64,
        /// What is wrong with its part of the step.
        detail: String,
    },
    /// A painting was asked for that the model, or its scheduler, cannot make.
    #[error("the painting cannot be made: {field} {detail}")]
    InvalidPainting {
        /// What of it is at fault.
        field: &'static str,
        /// What is wrong with that.
        detail: String,
    },
    /// A text could not be turned into tokens.
    #[error("the text cannot be tokenised: {detail}")]
    Tokenize {
        /// What the tokenizer said.
        detail: String,
    },
    /// A prompt is longer than the model's context, or than its cache.
    #[error("the prompt has {tokens} tokens, the model takes {most}")]
    PromptTooLong {
        /// The prompt's tokens.
        tokens: usize,
        /// The most that it may have.
        most: usize,
    },
    /// The hub gave an answer that makes no sense, or the transfer failed in a way of no other variant.
    #[error("cannot fetch {file} of {repo} from the hub: {detail}")]
    Hub {
        /// The repository's id.
        repo: String,
        /// The file, or "the list of files".
        file: String,
        /// What went wrong.
        detail: String,
    },
    /// The hub could not be reached, or broke the connection off.
    #[error("the hub at {endpoint} cannot be reached for {file} of {repo}: {detail}")]
    HubUnreachable {
        /// The repository's id.
        repo: String,
        /// The file, or "the list of files".
        file: String,
        /// The hub's address.
        endpoint: String,
        /// What the network said.
        detail: String,
    },
    /// The hub knows no such repository, revision or file.
    #[error("the hub has no {file} of {repo} at revision {revision}")]
    HubNotFound {
        /// The repository's id.
        repo: String,
        /// The revision.
        revision: String,
        /// The file, or "the list of files" where the repository or the revision is not there.
        file: String,
    },
    /// The hub refuses access: a token is missing, wrong, or lacks the right.
    #[error("the hub refuses access to {file} of {repo} (HTTP {status}); is a token set?")]
    HubUnauthorized {
        /// The repository's id.
        repo: String,
        /// The file, or "the list of files".
        file: String,
        /// The HTTP status: 401 or 403.
        status: u16,
    },
    /// What arrived is not what the hub had promised; it was not kept as a whole file.
    #[error("{file} of {repo} did not arrive as promised: {detail}")]
    HubDamaged {
        /// The repository's id.
        repo: String,
        /// The file.
        file: String,
        /// The promise and what came.
        detail: String,
    },
    /// The hub named a file or a version that would lie outside of the cache folder.
    #[error("the hub's answer for {repo} holds the unsafe name {name:?}")]
    HubUnsafeName {
        /// The repository's id.
        repo: String,
        /// The name, as the hub gave it.
        name: String,
    },
    /// Offline, and the cache does not hold the file.
    #[error("offline, and the cache holds no {file} of {repo} at revision {revision}")]
    NotCached {
        /// The repository's id.
        repo: String,
        /// The revision.
        revision: String,
        /// The file.
        file: String,
    },
    /// Something is wrong with the model's tokenizer, or with what a text or its tokens were asked for.
    #[error(transparent)]
    Language(#[from] LanguageError),
    /// A picture cannot be had, or is none that the model takes.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The model does not do this.
    #[error("the model has no {what}")]
    NotOffered {
        /// What it has not: "texts", "classes", …
        what: &'static str,
    },
    /// A tensor operation failed.
    #[error("tensor operation failed")]
    Tensor(#[source] Arc<candle_core::Error>),
    /// A failure of a model that the user brought.
    #[error("{0}")]
    Other(String),
}

impl From<candle_core::Error> for ModelError {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(Arc::new(error))
    }
}
