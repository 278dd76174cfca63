//! Vision models from a folder.

use std::path::Path;

use crate::model::{ModelInfo, ModelSpec};
use crate::models::{ModelError, OcrFolder, OcrOptions, OcrPreparer, OcrReader};
use crate::pool::capabilities::vision::Vision;

/// How many threads a worker's estimate allows for.
const THREADS: usize = 8;

impl ModelSpec<Vision> {
    /// A reader of text, registered under the folder's name: PaddleOCR's detector and recogniser as ONNX
    /// files, such as `PP-OCRv6_det_tiny.onnx` and `PP-OCRv6_rec_tiny.onnx`. The recogniser's characters
    /// are in its metadata or, one a line, in a `.txt` file. Queries and parameters are not used.
    ///
    /// ```no_run
    /// use modelpool::images::ImageSource;
    /// use modelpool::{GenerationParams, ModelSpec, Pool, PoolConfig};
    ///
    /// # async fn read() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::start(PoolConfig::default()).await?;
    /// let reader = pool.register(ModelSpec::ocr_folder("models/PP-OCRv6-tiny")?)?;
    /// let page = ImageSource::path("page.png");
    /// let read = reader.describe_image(page, "", GenerationParams::default()).await?;
    /// for line in read.collect().await?.lines() {
    ///     println!("{:?} {}", line.corners[0], line.text);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`OcrFolder::open`].
    pub fn ocr_folder(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::ocr_folder_with(path, OcrOptions::default())
    }

    /// The same with options.
    ///
    /// # Errors
    /// As [`OcrFolder::open`].
    pub fn ocr_folder_with(
        path: impl AsRef<Path>,
        options: OcrOptions,
    ) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let folder = OcrFolder::open(path, options)?;
        let name = path.file_name().map_or_else(
            || "ocr".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        );
        let info =
            ModelInfo::from_bytes(name, folder.weights_bytes(), folder.worker_bytes(THREADS));
        let worker_info = info.clone();
        let spec = Self::vision_shared(
            info,
            move || folder.load(),
            move |weights| Ok(OcrReader::new(worker_info.clone(), weights, options)),
        );
        Ok(spec.preparer(move || Ok(OcrPreparer::new(options))))
    }
}
