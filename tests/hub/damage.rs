//! Hubs that fail, break off, lie or attack.

use std::fs;

use modelpool::models::ModelError;
use modelpool::sources::{HubModel, HubSettings};

use crate::hub_server::{COMMIT, HubServer, Repository};
use crate::{ID, Scratch, model, offline, sentence_model, weights};

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
