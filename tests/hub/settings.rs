//! Where the settings come from, what they may be, and folders without a hub.

use std::collections::BTreeMap;
use std::fs;

use modelpool::models::ModelError;
use modelpool::sources::{FolderModel, HubModel, HubSettings};

use crate::hub_server::HubServer;
use crate::{ID, Scratch, model, sentence_model};

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
