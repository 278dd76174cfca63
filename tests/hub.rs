//! The hub source against a local server that speaks the hub's protocol.

#[path = "support/hub_server.rs"]
mod hub_server;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hub_server::{COMMIT, HubServer, Repository};
use modelpool::models::ModelError;
use modelpool::sources::{FolderModel, HubModel, HubSettings, ProgressEvent};

const ID: &str = "someone/small-model";

/// A folder that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("modelpool-hub-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a writable folder");
        Self(path)
    }

    fn cache(&self) -> PathBuf {
        self.0.join("hub")
    }

    /// Every file below the folder, by its path.
    fn files(&self) -> Vec<String> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    walk(&path, found)
                } else {
                    found.push(path)
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.0, &mut found);
        let names = found
            .iter()
            .filter_map(|path| path.strip_prefix(&self.0).ok());
        let mut names: Vec<String> = names.map(|name| name.display().to_string()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn weights() -> Vec<u8> {
    (0..600_000_u32).map(|value| (value % 251) as u8).collect()
}

fn sentence_model() -> Repository {
    let modules = br#"[
        {"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
        {"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
        {"idx":2,"name":"2","path":"2_Dense","type":"sentence_transformers.models.Dense"}]"#;
    Repository::new(
        ID,
        &[
            ("README.md", b"# not needed"),
            ("config.json", b"{}"),
            ("tokenizer.json", b"{\"version\":\"1.0\"}"),
            ("tokenizer_config.json", b"{\"a\":1}"),
            ("special_tokens_map.json", b"{\"b\":1}"),
            ("sentence_bert_config.json", b"{\"max_seq_length\":256}"),
            ("config_sentence_transformers.json", b"{\"c\":1}"),
            ("modules.json", modules),
            ("1_Pooling/config.json", b"{\"d\":1}"),
            ("2_Dense/config.json", b"{\"e\":1}"),
            ("2_Dense/model.safetensors", b"dense"),
            ("2_Dense/pytorch_model.bin", b"pickle"),
            ("model.safetensors", &weights()),
            ("pytorch_model.bin", b"pickle"),
            ("onnx/model.onnx", b"onnx"),
            ("openvino/config.json", b"{}"),
            ("tf_model.h5", b"h5"),
        ],
    )
    .large("model.safetensors")
}

/// Settings that owe nothing to the environment of the test run.
fn model(server: &HubServer, scratch: &Scratch) -> HubModel {
    let settings = HubSettings::from_lookup(|_| None, None);
    HubModel::with_settings(ID, settings)
        .endpoint(server.endpoint())
        .cache_folder(scratch.cache())
}

fn offline(scratch: &Scratch) -> HubModel {
    HubModel::with_settings(ID, HubSettings::from_lookup(|_| None, None))
        .endpoint("http://127.0.0.1:9")
        .cache_folder(scratch.cache())
        .offline(true)
}

#[test]
fn a_first_fetch_downloads_what_is_needed_and_a_second_only_asks_for_the_list() {
    let (server, scratch) = (HubServer::start(sentence_model()), Scratch::new("first"));
    let folder = model(&server, &scratch).fetch_blocking().expect("fetched");
    assert_eq!(
        folder,
        scratch
            .cache()
            .join("models--someone--small-model/snapshots")
            .join(COMMIT)
    );
    let unwanted = [
        "README.md",
        "2_Dense/pytorch_model.bin",
        "pytorch_model.bin",
        "onnx/model.onnx",
        "openvino/config.json",
        "tf_model.h5",
    ];
    for (name, content) in sentence_model().files {
        let path = folder.join(&name);
        if unwanted.contains(&name.as_str()) {
            assert!(!path.exists(), "{name}");
        } else {
            assert_eq!(fs::read(&path).expect("readable"), content, "{name}");
        }
    }
    // One list, eleven files, and one more hop for the large one.
    assert_eq!(server.take_requests().len(), 13);
    assert!(
        scratch.files().iter().all(|name| !name.ends_with("part")),
        "{:?}",
        scratch.files()
    );
    assert_eq!(FolderModel::new(&folder).locate().expect("whole"), folder);

    assert_eq!(
        model(&server, &scratch).fetch_blocking().expect("cached"),
        folder
    );
    let requests = server.take_requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].path.starts_with("/api/models/"));

    assert_eq!(
        model(&server, &scratch)
            .offline(true)
            .fetch_blocking()
            .expect("cached"),
        folder
    );
    assert!(server.take_requests().is_empty());
}

#[test]
fn the_cache_is_laid_out_as_hf_hub_reads_it() {
    let (server, scratch) = (HubServer::start(sentence_model()), Scratch::new("layout"));
    let folder = model(&server, &scratch).fetch_blocking().expect("fetched");
    let cache = hf_hub::Cache::new(scratch.cache()).model(ID.to_owned());
    let found = cache
        .get("model.safetensors")
        .expect("hf-hub finds the file");
    assert_eq!(found, folder.join("model.safetensors"));
    #[cfg(unix)]
    {
        let target = fs::read_link(folder.join("1_Pooling/config.json")).expect("a link");
        assert!(target.starts_with("../../../blobs"), "{target:?}");
    }
}

#[test]
fn a_new_commit_brings_new_files_and_keeps_the_blobs_that_did_not_change() {
    let (server, scratch) = (HubServer::start(sentence_model()), Scratch::new("commit"));
    let old = model(&server, &scratch).fetch_blocking().expect("fetched");
    server.take_requests();
    let commit = "f".repeat(40);
    server.repository().commit = commit.clone();
    server
        .repository()
        .files
        .insert("config.json".to_owned(), b"{\"new\":1}".to_vec());
    let new = model(&server, &scratch).fetch_blocking().expect("fetched");
    assert!(new.ends_with(&commit));
    assert_eq!(
        fs::read(new.join("config.json")).expect("readable"),
        b"{\"new\":1}"
    );
    assert_eq!(fs::read(old.join("config.json")).expect("readable"), b"{}");
    let content_requests = server.take_requests();
    assert!(
        !content_requests
            .iter()
            .any(|request| request.path.starts_with("/content/"))
    );
    assert_eq!(offline(&scratch).fetch_blocking().expect("the newest"), new);
    let by_commit = offline(&scratch).revision(COMMIT).fetch_blocking();
    assert_eq!(by_commit.expect("a commit is a revision"), old);
}

#[test]
fn a_branch_with_a_slash_is_a_revision() {
    let mut repository = sentence_model();
    repository.revision = "refs/pr/7".to_owned();
    let (server, scratch) = (HubServer::start(repository), Scratch::new("revision"));
    let folder = model(&server, &scratch)
        .revision("refs/pr/7")
        .fetch_blocking()
        .expect("fetched");
    assert_eq!(
        offline(&scratch)
            .revision("refs/pr/7")
            .fetch_blocking()
            .expect("cached"),
        folder
    );
    assert!(matches!(
        offline(&scratch).fetch_blocking(),
        Err(ModelError::NotCached { repo, revision, file })
            if repo == ID && revision == "main" && file == "config.json"
    ));
    let unknown = model(&server, &scratch).revision("v2").fetch_blocking();
    assert!(matches!(unknown, Err(ModelError::HubNotFound { revision, .. }) if revision == "v2"));
}

#[test]
fn the_token_goes_to_the_hub_and_to_no_other_host() {
    let mut repository = sentence_model();
    repository.required_token = Some("hf_secret".to_owned());
    let (server, scratch) = (HubServer::start(repository), Scratch::new("token"));
    for refused in [
        model(&server, &scratch),
        model(&server, &scratch).token("hf_wrong"),
    ] {
        assert!(matches!(
            refused.fetch_blocking(),
            Err(ModelError::HubUnauthorized { status: 401, repo, .. }) if repo == ID
        ));
    }
    server.take_requests();
    let with_token = model(&server, &scratch).token("hf_secret");
    assert!(!format!("{with_token:?}").contains("hf_secret"));
    with_token.fetch_blocking().expect("allowed");
    for request in server.take_requests() {
        let expected = request
            .host
            .starts_with("127.0.0.1")
            .then_some("Bearer hf_secret");
        assert_eq!(request.authorization.as_deref(), expected, "{request:?}");
    }
}

#[test]
fn a_login_file_gives_the_token() {
    let mut repository = sentence_model();
    repository.required_token = Some("hf_login".to_owned());
    let (server, scratch) = (HubServer::start(repository), Scratch::new("login"));
    fs::write(scratch.0.join("token"), "hf_login\n").expect("written");
    let home = scratch.0.display().to_string();
    let settings = HubSettings::from_lookup(|name| (name == "HF_HOME").then(|| home.clone()), None);
    let fetched = HubModel::with_settings(ID, settings)
        .endpoint(server.endpoint())
        .fetch_blocking();
    assert!(fetched.expect("allowed").starts_with(scratch.cache()));
}

#[test]
fn shards_come_by_the_index() {
    let index = br#"{"metadata":{},"weight_map":{"a":"model-00001-of-00002.safetensors",
        "b":"model-00002-of-00002.safetensors","c":"model-00001-of-00002.safetensors"}}"#;
    let repository = Repository::new(
        ID,
        &[
            ("config.json", b"{}"),
            ("model.safetensors.index.json", index),
            ("model-00001-of-00002.safetensors", b"one"),
            ("model-00002-of-00002.safetensors", b"two"),
            ("other.safetensors", b"not in the index"),
        ],
    );
    let (server, scratch) = (HubServer::start(repository), Scratch::new("shards"));
    let folder = model(&server, &scratch).fetch_blocking().expect("fetched");
    assert_eq!(
        fs::read(folder.join("model-00002-of-00002.safetensors")).expect("read"),
        b"two"
    );
    assert!(!folder.join("other.safetensors").exists());
    assert_eq!(offline(&scratch).fetch_blocking().expect("whole"), folder);
    fs::remove_file(folder.join("model-00001-of-00002.safetensors")).expect("removed");
    assert!(matches!(
        offline(&scratch).fetch_blocking(),
        Err(ModelError::NotCached { file, .. }) if file == "model-00001-of-00002.safetensors"
    ));
    // What is gone is fetched again, and nothing else.
    server.take_requests();
    model(&server, &scratch).fetch_blocking().expect("mended");
    assert_eq!(server.take_requests().len(), 2);
}

#[test]
fn an_index_that_points_outside_is_refused() {
    let index = br#"{"weight_map":{"a":"../../../../outside.safetensors"}}"#;
    let repository = Repository::new(
        ID,
        &[
            ("config.json", b"{}"),
            ("model.safetensors.index.json", index),
        ],
    );
    let (server, scratch) = (HubServer::start(repository), Scratch::new("index"));
    let refused = model(&server, &scratch).fetch_blocking();
    assert!(
        matches!(refused, Err(ModelError::Corrupt { .. })),
        "{refused:?}"
    );
}

#[test]
fn progress_runs_from_nothing_to_all_of_each_file() {
    let (server, scratch) = (HubServer::start(sentence_model()), Scratch::new("progress"));
    let events: Arc<Mutex<Vec<ProgressEvent>>> = Arc::default();
    let seen = Arc::clone(&events);
    let watched = model(&server, &scratch).progress(move |event| {
        seen.lock().expect("not poisoned").push(event);
    });
    watched.fetch_blocking().expect("fetched");
    let events = events.lock().expect("not poisoned");
    let mut by_file: BTreeMap<&str, Vec<&ProgressEvent>> = BTreeMap::new();
    for event in events.iter() {
        assert_eq!(event.repo, ID);
        by_file.entry(&event.file).or_default().push(event);
    }
    assert_eq!(by_file.len(), 11);
    for (file, events) in by_file {
        assert_eq!(events[0].bytes_done, 0, "{file}");
        let last = events[events.len() - 1];
        assert_eq!(last.bytes_done, last.bytes_total, "{file}");
        assert!(events.is_sorted_by_key(|event| event.bytes_done), "{file}");
        assert!(file != "model.safetensors" || (last.bytes_total == 600_000 && events.len() > 3));
    }
}

#[test]
fn missing_files_repositories_and_hubs_are_told_apart() {
    let scratch = Scratch::new("missing");
    let server = HubServer::start(sentence_model());
    let other = HubModel::with_settings("someone/else", HubSettings::from_lookup(|_| None, None))
        .endpoint(server.endpoint())
        .cache_folder(scratch.cache());
    assert!(matches!(
        other.fetch_blocking(),
        Err(ModelError::HubNotFound { repo, .. }) if repo == "someone/else"
    ));
    for missing in ["config.json", "model.safetensors"] {
        *server.repository() = sentence_model();
        server.repository().files.remove(missing);
        assert!(matches!(
            model(&server, &scratch).fetch_blocking(),
            Err(ModelError::HubNotFound { file, .. }) if file == missing
        ));
    }
    server.repository().status = Some(403);
    let refused = model(&server, &scratch).fetch_blocking();
    assert!(matches!(
        refused,
        Err(ModelError::HubUnauthorized { status: 403, .. })
    ));
    server.repository().status = Some(500);
    let failed = model(&server, &scratch).fetch_blocking();
    assert!(matches!(failed, Err(ModelError::Hub { detail, .. }) if detail.contains("500")));
    let endpoint = server.endpoint();
    let unreachable = model(&server, &scratch);
    drop(server);
    assert!(matches!(
        unreachable.fetch_blocking(),
        Err(ModelError::HubUnreachable { endpoint: named, .. }) if named == endpoint
    ));
}

#[test]
fn a_hub_out_of_reach_leaves_the_cached_model_usable() {
    let (server, scratch) = (HubServer::start(sentence_model()), Scratch::new("reach"));
    let fetched = model(&server, &scratch);
    let folder = fetched.fetch_blocking().expect("fetched");
    drop(server);
    assert_eq!(fetched.fetch_blocking().expect("from the cache"), folder);
}

#[test]
fn a_broken_off_body_leaves_no_file_and_is_resumed() {
    let (server, scratch) = (HubServer::start(sentence_model()), Scratch::new("cut"));
    let cut_at = 300_000;
    server
        .repository()
        .cut
        .insert("model.safetensors".to_owned(), cut_at);
    let broken = model(&server, &scratch).fetch_blocking();
    assert!(
        matches!(&broken, Err(ModelError::HubDamaged { file, .. }) if file == "model.safetensors"),
        "{broken:?}"
    );
    let weights_like = |name: &&String| name.contains("model.safetensors") && name.contains(COMMIT);
    let left = scratch.files();
    let whole = left.iter().filter(weights_like).count();
    assert_eq!(whole, 1, "only the dense layer's: {left:?}");
    assert!(matches!(
        offline(&scratch).fetch_blocking(),
        Err(ModelError::NotCached { .. })
    ));

    server.repository().cut.clear();
    server.take_requests();
    let folder = model(&server, &scratch).fetch_blocking().expect("resumed");
    assert_eq!(
        fs::read(folder.join("model.safetensors")).expect("read"),
        weights()
    );
    let ranges: Vec<_> = server
        .take_requests()
        .into_iter()
        .filter_map(|request| request.range)
        .collect();
    assert_eq!(ranges, [format!("bytes={cut_at}-")]);
}

#[test]
fn a_server_that_ignores_ranges_is_no_trap() {
    let (server, scratch) = (HubServer::start(sentence_model()), Scratch::new("ranges"));
    server
        .repository()
        .cut
        .insert("model.safetensors".to_owned(), 100_000);
    model(&server, &scratch)
        .fetch_blocking()
        .expect_err("cut off");
    server.repository().cut.clear();
    server.repository().ignores_ranges = true;
    let folder = model(&server, &scratch)
        .fetch_blocking()
        .expect("begun again");
    assert_eq!(
        fs::read(folder.join("model.safetensors")).expect("read"),
        weights()
    );
}

#[test]
fn a_body_of_unknown_length_must_still_be_of_the_promised_one() {
    let (server, scratch) = (HubServer::start(sentence_model()), Scratch::new("length"));
    server.repository().hides_length = true;
    server
        .repository()
        .cut
        .insert("tokenizer.json".to_owned(), 5);
    let broken = model(&server, &scratch).fetch_blocking();
    assert!(
        matches!(&broken, Err(ModelError::HubDamaged { file, .. }) if file == "tokenizer.json"),
        "{broken:?}"
    );
    // With neither a length nor a size in the list, nothing is promised at all.
    server.repository().cut.clear();
    server.repository().hides_sizes = true;
    let unpromised = model(&server, &scratch).fetch_blocking();
    assert!(
        matches!(&unpromised, Err(ModelError::HubDamaged { .. })),
        "{unpromised:?}"
    );
    server.repository().hides_length = false;
    model(&server, &scratch)
        .fetch_blocking()
        .expect("Content-Length is a promise");
}

#[test]
fn other_bytes_than_promised_are_not_kept() {
    let (server, scratch) = (HubServer::start(sentence_model()), Scratch::new("swapped"));
    let mut other = weights();
    other[77] ^= 1;
    for content in [other, vec![0; 700_000]] {
        server
            .repository()
            .swapped
            .insert("model.safetensors".to_owned(), content);
        let damaged = model(&server, &scratch).fetch_blocking();
        assert!(
            matches!(&damaged, Err(ModelError::HubDamaged { file, .. }) if file == "model.safetensors"),
            "{damaged:?}"
        );
        assert!(scratch.files().iter().all(|name| !name.ends_with("part")));
    }
    server.repository().swapped.clear();
    model(&server, &scratch)
        .fetch_blocking()
        .expect("the right bytes");
}

#[test]
fn hostile_names_are_refused_and_nothing_is_written_outside() {
    let server = HubServer::start(sentence_model());
    let scratch = Scratch::new("hostile");
    let names = [
        "../outside.json",
        "/etc/outside",
        "1_Pooling/../../../config.json",
        "a//b",
        "",
        "..\\outside",
        "C:\\outside",
        "C:outside",
        "1_Pooling/./config.json",
        "nul\u{0}byte",
        "..",
    ];
    for name in names {
        server.repository().extra_names = vec![name.to_owned()];
        assert!(
            matches!(
                model(&server, &scratch).fetch_blocking(),
                Err(ModelError::HubUnsafeName { name: named, .. }) if named == name
            ),
            "{name:?}"
        );
    }
    server.repository().extra_names.clear();
    for commit in ["../../outside", "", "a/b", ".."] {
        server.repository().commit = commit.to_owned();
        let refused = model(&server, &scratch).fetch_blocking();
        assert!(
            matches!(refused, Err(ModelError::HubUnsafeName { .. })),
            "{commit:?}"
        );
    }
    server.repository().commit = COMMIT.to_owned();
    for etag in ["../../../outside", "a.b", ".."] {
        server.repository().etag = Some(etag.to_owned());
        let refused = model(&server, &scratch).fetch_blocking();
        assert!(
            matches!(refused, Err(ModelError::HubUnsafeName { .. })),
            "{etag:?}"
        );
    }
    let outside = |name: &String| !name.starts_with("hub/models--someone--small-model/");
    assert!(
        !scratch.files().iter().any(outside),
        "{:?}",
        scratch.files()
    );
}

#[test]
fn ids_revisions_and_endpoints_that_cannot_be_are_refused_before_a_word_is_said() {
    let (server, scratch) = (HubServer::start(sentence_model()), Scratch::new("ids"));
    let settings = || HubSettings::from_lookup(|_| None, None);
    for id in ["", "a/b/c", "../x", "a b", "/a", "a/", "a/..", "a?b", "ä/b"] {
        let model = HubModel::with_settings(id, settings())
            .endpoint(server.endpoint())
            .cache_folder(scratch.cache());
        assert!(
            matches!(model.fetch_blocking(), Err(ModelError::InvalidConfig { field, .. }) if field == "repo")
        );
    }
    for revision in ["", "../x", "a b", "/x", "x#y"] {
        let refused = model(&server, &scratch).revision(revision).fetch_blocking();
        assert!(
            matches!(refused, Err(ModelError::InvalidConfig { field, .. }) if field == "revision")
        );
    }
    for endpoint in ["", "ftp://x", "http://", "127.0.0.1"] {
        let refused = model(&server, &scratch).endpoint(endpoint).fetch_blocking();
        assert!(
            matches!(refused, Err(ModelError::InvalidConfig { field, .. }) if field == "endpoint")
        );
    }
    let homeless = HubModel::with_settings(ID, settings()).endpoint(server.endpoint());
    assert!(matches!(
        homeless.fetch_blocking(),
        Err(ModelError::InvalidConfig { field, .. }) if field == "cache_folder"
    ));
    assert!(server.take_requests().is_empty());
}

#[test]
fn fetches_at_once_of_one_repository_do_not_disturb_each_other() {
    let (server, scratch) = (HubServer::start(sentence_model()), Scratch::new("at-once"));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let model = model(&server, &scratch);
            std::thread::spawn(move || model.fetch_blocking())
        })
        .collect();
    for thread in threads {
        let folder = thread.join().expect("no panic").expect("fetched");
        assert_eq!(
            fs::read(folder.join("model.safetensors")).expect("read"),
            weights()
        );
    }
    // Four lists, and each file once.
    assert_eq!(server.take_requests().len(), 4 + 12);
}

#[tokio::test]
async fn the_async_fetch_does_the_same() {
    let (server, scratch) = (HubServer::start(sentence_model()), Scratch::new("async"));
    let folder = model(&server, &scratch).fetch().await.expect("fetched");
    assert!(folder.join("model.safetensors").is_file());
    server.repository().status = Some(404);
    let missing = model(&server, &scratch).fetch().await;
    assert!(matches!(missing, Err(ModelError::HubNotFound { .. })));
}

#[test]
fn the_environment_sets_the_defaults() {
    let settings = |variables: &[(&str, &str)]| {
        let variables: BTreeMap<String, String> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        HubSettings::from_lookup(|name| variables.get(name).cloned(), Some("/home/me".into()))
    };
    let plain = settings(&[]);
    assert_eq!(plain.endpoint, "https://huggingface.co");
    assert_eq!(plain.token, None);
    assert_eq!(
        plain.token_file,
        Some("/home/me/.cache/huggingface/token".into())
    );
    assert_eq!(
        plain.cache_folder,
        Some("/home/me/.cache/huggingface/hub".into())
    );
    assert!(!plain.offline);

    let all = settings(&[
        ("HF_ENDPOINT", "https://mirror.example"),
        ("HF_TOKEN", " hf_x\n"),
        ("HF_HOME", "/data/hf"),
        ("HF_HUB_OFFLINE", "TRUE"),
    ]);
    assert_eq!(all.endpoint, "https://mirror.example");
    assert_eq!(all.token.as_deref(), Some("hf_x"));
    assert_eq!(all.token_file, Some("/data/hf/token".into()));
    assert_eq!(all.cache_folder, Some("/data/hf/hub".into()));
    assert!(all.offline);

    let closer = settings(&[
        ("HF_HOME", "/data/hf"),
        ("HF_HUB_CACHE", "/fast/hub"),
        ("HF_TOKEN_PATH", "/run/secret"),
        ("HF_TOKEN", ""),
    ]);
    assert_eq!(closer.cache_folder, Some("/fast/hub".into()));
    assert_eq!(closer.token_file, Some("/run/secret".into()));
    assert_eq!(closer.token, None);
    let xdg = settings(&[("XDG_CACHE_HOME", "/x")]);
    assert_eq!(xdg.cache_folder, Some("/x/huggingface/hub".into()));
    for (value, expected) in [
        ("1", true),
        ("yes", true),
        ("on", true),
        ("0", false),
        ("no", false),
        ("", false),
    ] {
        assert_eq!(
            settings(&[("HF_HUB_OFFLINE", value)]).offline,
            expected,
            "{value:?}"
        );
    }
    let homeless = HubSettings::from_lookup(|_| None, None);
    assert_eq!((homeless.cache_folder, homeless.token_file), (None, None));
}

#[test]
fn folders_that_lack_files_say_which() {
    let scratch = Scratch::new("folder");
    let path = scratch.0.join("model");
    let missing = |name: &str| match FolderModel::new(&path).locate() {
        Err(ModelError::MissingFile { path: found }) => assert_eq!(found, path.join(name)),
        other => panic!("{name}: {other:?}"),
    };
    missing("");
    fs::write(&path, "a file").expect("written");
    assert!(matches!(
        FolderModel::new(&path).locate(),
        Err(ModelError::WrongFileKind { .. })
    ));
    fs::remove_file(&path).expect("removed");
    fs::create_dir_all(path.join("1_Pooling")).expect("made");
    missing("config.json");
    fs::write(path.join("config.json"), "{}").expect("written");
    missing("model.safetensors");
    fs::write(path.join("model.safetensors"), "").expect("written");
    FolderModel::new(&path).locate().expect("a plain model");
    let modules = |text: &str| fs::write(path.join("modules.json"), text).expect("written");
    modules("[{\"path\":\"1_Pooling\",\"type\":\"x.Pooling\"}]");
    missing("tokenizer.json");
    fs::write(path.join("tokenizer.json"), "{}").expect("written");
    missing("1_Pooling/config.json");
    fs::create_dir(path.join("1_Pooling/config.json")).expect("made");
    assert!(matches!(
        FolderModel::new(&path).locate(),
        Err(ModelError::WrongFileKind { .. })
    ));
    for damaged in ["{", "{}", "[{\"path\":\"../up\",\"type\":\"x.Dense\"}]"] {
        modules(damaged);
        assert!(
            matches!(
                FolderModel::new(&path).locate(),
                Err(ModelError::Corrupt { .. })
            ),
            "{damaged}"
        );
    }
}
