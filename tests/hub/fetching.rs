//! What a fetch brings, and what it leaves alone.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};

use modelpool::models::ModelError;
use modelpool::sources::{FolderModel, ProgressEvent};

use crate::hub_server::{COMMIT, HubServer, Repository};
use crate::{ID, Scratch, model, offline, sentence_model, weights};

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
