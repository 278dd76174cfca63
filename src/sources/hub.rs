//! Models of a hub, fetched into the local cache that all Hugging Face tools share.
//!
//! hf-hub knows the layout of that cache. The transfer is done here, over the HTTP client that
//! hf-hub uses too, because hf-hub neither compares what arrived with what was promised nor limits
//! how long a silent server is waited for, and takes the hub's names as paths without a look.

mod cache;
mod client;
mod files;
mod settings;
mod transfer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use hf_hub::{Repo, RepoType};

use super::folder::{FolderModel, WEIGHTS, WEIGHTS_INDEX, shards_of_index};
use super::pipeline::{self, Kind, WeightFile};
use super::progress::{ProgressCallback, ProgressEvent};
use crate::models::ModelError;
use cache::RepoCache;
use client::{HubClient, Listing};

pub(super) use files::is_safe_name;
pub use settings::HubSettings;

/// What errors call the answer that lists a repository's files.
const LISTING: &str = "the list of files";

/// A model in a repository of the hub.
///
/// ```no_run
/// # fn main() -> Result<(), modelpool::models::ModelError> {
/// use modelpool::sources::HubModel;
///
/// let folder = HubModel::new("sentence-transformers/all-MiniLM-L6-v2")
///     .progress(|event| println!("{}: {} of {}", event.file, event.bytes_done, event.bytes_total))
///     .fetch_blocking()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HubModel {
    repo: String,
    revision: String,
    settings: HubSettings,
    progress: Option<ProgressCallback>,
}

impl HubModel {
    /// A model in the repository `repo`, such as `"BAAI/bge-small-en-v1.5"`, with the settings that
    /// the environment gives ([`HubSettings::from_env`]).
    pub fn new(repo: impl Into<String>) -> Self {
        Self::with_settings(repo, HubSettings::from_env())
    }

    /// A model in the repository `repo`, with settings that owe nothing to the environment.
    pub fn with_settings(repo: impl Into<String>, settings: HubSettings) -> Self {
        Self {
            repo: repo.into(),
            revision: "main".to_owned(),
            settings,
            progress: None,
        }
    }

    /// The repository's id.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// The branch, tag or commit; "main" if not set.
    pub fn revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = revision.into();
        self
    }

    /// The access token, for private and gated repositories.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.settings.token = Some(token.into());
        self
    }

    /// The hub's address, such as a mirror's.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.settings.endpoint = endpoint.into();
        self
    }

    /// The cache folder: the one that holds `models--…` folders.
    pub fn cache_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.settings.cache_folder = Some(folder.into());
        self
    }

    /// Whether to use the cache alone.
    pub fn offline(mut self, offline: bool) -> Self {
        self.settings.offline = offline;
        self
    }

    /// Is called as bytes arrive.
    pub fn progress(mut self, callback: impl Fn(ProgressEvent) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(callback));
        self
    }

    /// Brings the model's files into the cache, where they are not yet, and gives the folder that
    /// holds them: configuration, tokenizer, sentence-transformers modules and safetensors weights, but
    /// no duplicates in other formats; of a pipeline of diffusers, those of each part that paints. All
    /// are of one commit. It blocks; see [`Self::fetch`].
    ///
    /// A file appears in the folder only when all its bytes arrived, of the promised number and,
    /// for large files, the promised SHA-256. Large downloads that broke off are resumed by the next call.
    /// When the hub can't be reached and the cache holds the model, the cache serves, with a warning
    /// in the log.
    ///
    /// # Errors
    /// [`ModelError::HubUnreachable`], [`ModelError::HubNotFound`], [`ModelError::HubUnauthorized`],
    /// [`ModelError::HubDamaged`], [`ModelError::HubUnsafeName`] and [`ModelError::Hub`] for what the
    /// hub does; [`ModelError::NotCached`] offline; [`ModelError::InvalidConfig`] for a repository id, a
    /// revision, a token or a cache folder that can't be one; [`ModelError::Unwritable`] for the
    /// cache's files.
    pub fn fetch_blocking(&self) -> Result<PathBuf, ModelError> {
        files::check_repo_id(&self.repo)?;
        files::check_revision(&self.revision)?;
        let repo = Repo::with_revision(self.repo.clone(), RepoType::Model, self.revision.clone());
        let cache = RepoCache::new(self.settings.resolved_cache_folder()?, repo);
        if self.settings.offline {
            return self.cached(&cache);
        }
        match self.download(&cache) {
            Err(unreachable @ ModelError::HubUnreachable { .. }) => {
                let cached = self.cached(&cache).map_err(|_| unreachable.clone())?;
                tracing::warn!(repo = self.repo, error = %unreachable, "the cached model is used");
                Ok(cached)
            }
            other => other,
        }
    }

    /// As [`Self::fetch_blocking`], on tokio's threads for blocking work. A dropped future does not
    /// stop a download that has begun.
    ///
    /// # Errors
    /// As [`Self::fetch_blocking`].
    pub async fn fetch(&self) -> Result<PathBuf, ModelError> {
        let model = self.clone();
        let fetched = tokio::task::spawn_blocking(move || model.fetch_blocking()).await;
        fetched.unwrap_or_else(|error| {
            Err(ModelError::Hub {
                repo: self.repo.clone(),
                file: LISTING.to_owned(),
                detail: format!("the task that fetches it ended early: {error}"),
            })
        })
    }

    /// The folder of the revision, if the cache holds a whole model there.
    fn cached(&self, cache: &RepoCache) -> Result<PathBuf, ModelError> {
        let not_cached = |file: String| ModelError::NotCached {
            repo: self.repo.clone(),
            revision: self.revision.clone(),
            file,
        };
        let Some(snapshot) = cache.snapshot_of_revision() else {
            return Err(not_cached(super::folder::CONFIG.to_owned()));
        };
        match FolderModel::new(snapshot.clone()).locate() {
            Err(ModelError::MissingFile { path }) => {
                let name = path.strip_prefix(&snapshot).unwrap_or(&path);
                Err(not_cached(name.display().to_string()))
            }
            other => other,
        }
    }

    fn download(&self, cache: &RepoCache) -> Result<PathBuf, ModelError> {
        let token = self.settings.resolved_token();
        let client = HubClient::new(
            &self.repo,
            &self.revision,
            &self.settings.endpoint,
            token,
            self.progress.clone(),
        )?;
        let listing = client.list()?;
        // Two fetches of one repository at once would write the same files.
        let _lock = cache.lock()?;
        if listing.size_of.contains_key(pipeline::INDEX) {
            self.bring_pipeline(&client, cache, &listing)?;
        } else {
            // First, so that a repository without it fails before its weights are fetched.
            self.bring(&client, cache, &listing, super::folder::CONFIG)?;
            for name in files::wanted(&listing) {
                self.bring(&client, cache, &listing, name)?;
            }
            self.bring_weights(&client, cache, &listing)?;
        }
        // Last, so that a revision never points to a folder that lacks files.
        cache.point_revision_to(&listing.commit)?;
        Ok(cache.snapshot(&listing.commit))
    }

    fn bring_weights(
        &self,
        client: &HubClient<'_>,
        cache: &RepoCache,
        listing: &Listing,
    ) -> Result<(), ModelError> {
        if listing.size_of.contains_key(WEIGHTS) || !listing.size_of.contains_key(WEIGHTS_INDEX) {
            return self.bring(client, cache, listing, WEIGHTS);
        }
        self.bring(client, cache, listing, WEIGHTS_INDEX)?;
        let index = cache.snapshot(&listing.commit).join(WEIGHTS_INDEX);
        for shard in shards_of_index(&index)? {
            self.bring(client, cache, listing, &shard)?;
        }
        Ok(())
    }

    fn bring_pipeline(
        &self,
        client: &HubClient<'_>,
        cache: &RepoCache,
        listing: &Listing,
    ) -> Result<(), ModelError> {
        let names = listing.size_of.keys();
        for name in names.filter(|name| pipeline::is_small_file(name)) {
            self.bring(client, cache, listing, name)?;
        }
        for (part, kind) in pipeline::PARTS {
            let Kind::Network(stem) = kind else { continue };
            let config = format!("{part}/{}", super::folder::CONFIG);
            if !listing.size_of.contains_key(&config) {
                continue;
            }
            match pipeline::weight_file(part, stem, |name| listing.size_of.contains_key(name)) {
                WeightFile::Whole(name) => self.bring(client, cache, listing, &name)?,
                WeightFile::Index(name) => {
                    self.bring(client, cache, listing, &name)?;
                    let index = cache.snapshot(&listing.commit).join(&name);
                    for shard in shards_of_index(&index)? {
                        self.bring(client, cache, listing, &format!("{part}/{shard}"))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes sure that one file is in the commit's folder.
    fn bring(
        &self,
        client: &HubClient<'_>,
        cache: &RepoCache,
        listing: &Listing,
        name: &str,
    ) -> Result<(), ModelError> {
        let Some(size) = listing.size_of.get(name) else {
            return Err(ModelError::HubNotFound {
                repo: self.repo.clone(),
                revision: self.revision.clone(),
                file: name.to_owned(),
            });
        };
        if cache.holds(&listing.commit, name, *size) {
            return Ok(());
        }
        let blob = client.download(&listing.commit, name, *size, cache)?;
        cache.link(&listing.commit, name, &blob)
    }
}

impl fmt::Debug for HubModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HubModel")
            .field("repo", &self.repo)
            .field("revision", &self.revision)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
