//! A model's folder in which one file is what the fuzzer says.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder of small files, made once and spoilt again and again; it goes when dropped.
pub struct Folder {
    path: PathBuf,
    files: &'static [(&'static str, &'static [u8])],
}

impl Folder {
    pub fn new(files: &'static [(&'static str, &'static [u8])]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("modelpool-fuzz-{}-{number}", std::process::id());
        let folder = Self {
            path: std::env::temp_dir().join(name),
            files,
        };
        for (name, content) in files {
            folder.write(name, content);
        }
        folder
    }

    /// Puts a file there and says where that is.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).expect("a folder");
        }
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// Replaces the file that the first byte means with the other bytes, looks, and mends it.
    pub fn spoil(&self, bytes: &[u8], look: impl FnOnce(&Path)) {
        let Some((&choice, content)) = bytes.split_first() else {
            return;
        };
        let (name, sound) = self.files[usize::from(choice) % self.files.len()];
        self.write(name, content);
        look(&self.path);
        self.write(name, sound);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
