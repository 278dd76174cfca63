//! What the environment says of the hub, in the variables that all Hugging Face tools read.

use std::fmt;
use std::path::PathBuf;

use crate::models::ModelError;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Where the hub is, where its cache is, and who asks.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubSettings {
    /// The hub's address. `HF_ENDPOINT`, else the public hub.
    pub endpoint: String,
    /// The access token. `HF_TOKEN`; where `None`, the content of `token_file` serves.
    pub token: Option<String>,
    /// The file in which a login left a token. `HF_TOKEN_PATH`, else `token` in the home of the hub's
    /// tools.
    pub token_file: Option<PathBuf>,
    /// The folder of the cache. `HF_HUB_CACHE`, else `hub` in the home of the hub's tools, which is
    /// `HF_HOME`, else `huggingface` in `XDG_CACHE_HOME` or `~/.cache`. `None` where the user has no home.
    pub cache_folder: Option<PathBuf>,
    /// Whether to use the cache alone. `HF_HUB_OFFLINE`: 1, true, yes or on.
    pub offline: bool,
}

impl HubSettings {
    /// The settings that the process's environment gives.
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var(name).ok(), std::env::home_dir())
    }

    /// The settings that an environment would give: `lookup` gives a variable's value, `user_home` is the
    /// user's home folder. Empty values count as not set.
    pub fn from_lookup(
        lookup: impl Fn(&str) -> Option<String>,
        user_home: Option<PathBuf>,
    ) -> Self {
        let value = |name: &str| {
            lookup(name)
                .map(|value| value.trim().to_owned())
                .filter(|value| !value.is_empty())
        };
        let folder = |name: &str| value(name).map(PathBuf::from);
        let tools_home = folder("HF_HOME").or_else(|| {
            folder("XDG_CACHE_HOME")
                .or_else(|| user_home.map(|home| home.join(".cache")))
                .map(|cache| cache.join("huggingface"))
        });
        let offline = value("HF_HUB_OFFLINE")
            .is_some_and(|value| is_one_of(&value, &["1", "true", "yes", "on"]));
        Self {
            endpoint: value("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            token: value("HF_TOKEN"),
            token_file: folder("HF_TOKEN_PATH")
                .or_else(|| tools_home.as_ref().map(|home| home.join("token"))),
            cache_folder: folder("HF_HUB_CACHE")
                .or_else(|| tools_home.map(|home| home.join("hub"))),
            offline,
        }
    }

    /// The token, from the settings or from the token's file.
    pub(super) fn resolved_token(&self) -> Option<String> {
        let from_file = || {
            let content = std::fs::read_to_string(self.token_file.as_ref()?).ok()?;
            Some(content.trim().to_owned())
        };
        let token = self.token.clone().or_else(from_file);
        token.filter(|token| !token.is_empty())
    }

    pub(super) fn resolved_cache_folder(&self) -> Result<PathBuf, ModelError> {
        self.cache_folder
            .clone()
            .ok_or_else(|| ModelError::InvalidConfig {
                file: "the hub's settings".to_owned(),
                field: "cache_folder".to_owned(),
                detail: "the user has no home folder: set HF_HOME or a cache folder".to_owned(),
            })
    }
}

fn is_one_of(value: &str, words: &[&str]) -> bool {
    words.iter().any(|word| value.eq_ignore_ascii_case(word))
}

impl fmt::Debug for HubSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A token belongs in no log.
        formatter
            .debug_struct("HubSettings")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("token_file", &self.token_file)
            .field("cache_folder", &self.cache_folder)
            .field("offline", &self.offline)
            .finish()
    }
}
