//! What the capability takes and refuses, with a model that says what it was asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::task::Poll;
use std::time::Duration;

use modelpool::images::{ImageError, ImageLimits, ImageSource, PixelTensor, RgbImage};
use modelpool::{
    CandleModel, Embedding, ImageEmbedding, ImageEmbeddingCapable, ModelError, ModelHandle,
    ModelInfo, ModelSpec, PicturePreparer, Pool, PoolConfig, PoolError, RequestOptions,
    StepContext,
};

/// Gives each picture's first red, and how many there were in its step; each text's first token.
struct First(ModelInfo);

impl CandleModel for First {
    fn info(&self) -> &ModelInfo {
        &self.0
    }
}

impl ImageEmbeddingCapable for First {
    fn embed_pictures(
        &mut self,
        pictures: &[&PixelTensor],
        _context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        let embed = |picture: &&PixelTensor| {
            let red = picture.values()[0];
            match (red * 255.0).round() as u8 {
                13 => Ok(vec![f32::NAN]),
                14 => Err(ModelError::Other("not this one".to_owned())),
                15 => panic!("a picture that kills"),
                _ => Ok(vec![red]),
            }
        };
        let answers: Vec<_> = pictures.iter().map(embed).collect();
        let short = pictures.iter().any(|picture| picture.shape()[1] == 7);
        Ok(answers.into_iter().skip(usize::from(short)).collect())
    }

    fn classify_pictures(
        &mut self,
        pictures: &[&PixelTensor],
        _context: &StepContext,
    ) -> Result<Vec<Result<Vec<f32>, ModelError>>, ModelError> {
        Ok(pictures.iter().map(|_| Ok(vec![0.2, 0.5, 0.3])).collect())
    }

    fn embed_texts(
        &mut self,
        texts: &[&[u32]],
        _context: &StepContext,
    ) -> Result<Vec<Result<Embedding, ModelError>>, ModelError> {
        Ok(texts.iter().map(|text| Ok(vec![text[0] as f32])).collect())
    }
}

/// Takes pictures as they are, and a text as its length.
struct AsItIs {
    texts: bool,
}

impl PicturePreparer for AsItIs {
    fn picture(&self, picture: &RgbImage) -> Result<PixelTensor, ImageError> {
        Ok(PixelTensor::from_picture(picture))
    }

    fn text(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        if self.texts {
            Ok(vec![text.len() as u32])
        } else {
            Err(ModelError::NotOffered { what: "texts" })
        }
    }
}

struct Rig {
    pool: Pool,
    model: ModelHandle<ImageEmbedding>,
    loads: Arc<AtomicUsize>,
}

async fn rig(
    texts: bool,
    adjust: impl FnOnce(ModelSpec<ImageEmbedding>) -> ModelSpec<ImageEmbedding>,
) -> Rig {
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    let info = ModelInfo::new("first", 1);
    let named = info.clone();
    let loader = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(First(named.clone()))
    };
    let spec = ModelSpec::image_embedding(info, loader, move || Ok(AsItIs { texts }));
    let pool = Pool::start(PoolConfig::default()).await.unwrap();
    let model = pool.register(adjust(spec)).unwrap();
    Rig { pool, model, loads }
}

fn of_red(red: u8) -> ImageSource {
    ImageSource::pixels(RgbImage::new(1, 1, vec![red, 0, 0]).unwrap())
}

#[tokio::test]
async fn pictures_of_every_kind_come_back_in_order() {
    let rig = rig(false, |spec| spec).await;
    let png = RgbImage::new(2, 1, vec![200; 6]).unwrap().to_png().unwrap();
    let file = std::env::temp_dir().join(format!("modelpool-{}.png", std::process::id()));
    std::fs::write(&file, &png).unwrap();
    let from_file = rig.model.embed_image(ImageSource::path(&file)).await;
    std::fs::remove_file(&file).unwrap();
    assert_eq!(from_file.unwrap(), [200.0 / 255.0]);
    let bytes = rig.model.embed_image(ImageSource::bytes(png)).await;
    assert_eq!(bytes.unwrap(), [200.0 / 255.0]);

    let reds: Vec<u8> = (100..180).collect();
    let batch = reds.iter().map(|red| of_red(*red));
    let vectors = rig.model.embed_image_batch(batch).await.unwrap();
    let wanted: Vec<Embedding> = reds
        .iter()
        .map(|red| vec![f32::from(*red) / 255.0])
        .collect();
    assert_eq!(vectors, wanted);
}

/// Each is held whole while it is prepared: no more of a batch than that, however long it is and
/// however much room the queue has.
#[tokio::test]
async fn of_a_batch_sixteen_pictures_are_under_way_at_once() {
    let (open, closed) = mpsc::channel::<()>();
    let closed = Mutex::new(closed);
    let info = ModelInfo::new("first", 1);
    let named = info.clone();
    let spec = ModelSpec::image_embedding(
        info,
        move || Ok(First(named.clone())),
        move || {
            // None is prepared before the other half is dropped.
            closed.lock().unwrap().recv().unwrap_err();
            Ok(AsItIs { texts: false })
        },
    );
    let pool = Pool::start(PoolConfig::default()).await.unwrap();
    let model = pool.register(spec).unwrap();
    assert!(model.queue_capacity() / 4 > 40);
    let mut batch = Box::pin(model.embed_image_batch((100..140).map(of_red)));

    let polled = std::future::poll_fn(|context| Poll::Ready(batch.as_mut().poll(context))).await;

    assert!(polled.is_pending());
    assert_eq!(pool.census().permits, 16);
    drop(open);
    assert_eq!(batch.await.unwrap().len(), 40);
}

#[tokio::test]
async fn a_bad_picture_is_refused_before_anything_is_loaded() {
    let rig = rig(false, |spec| {
        spec.image_limits(ImageLimits::default().max_pixels(100))
    })
    .await;
    let truncated = {
        let mut png = RgbImage::new(8, 8, vec![9; 192]).unwrap().to_png().unwrap();
        png.truncate(40);
        ImageSource::bytes(png)
    };
    let large = RgbImage::new(11, 10, vec![0; 330]).unwrap();
    for (picture, what) in [
        (ImageSource::bytes(*b"hello"), "no picture"),
        (truncated, "truncated"),
        (ImageSource::pixels(large.clone()), "too large"),
        (
            ImageSource::bytes(large.to_png().unwrap()),
            "too large, encoded",
        ),
        (ImageSource::path("/nowhere/at/all.png"), "missing"),
        (ImageSource::url("http://127.0.0.1:9/x.png"), "inside"),
        (ImageSource::url("ftp://example.com/x.png"), "no http"),
        (ImageSource::base64("%%%"), "no base64"),
    ] {
        let error = rig.model.embed_image(picture.clone()).await.unwrap_err();
        assert!(matches!(error, PoolError::Image(_)), "{what}: {error}");
        let batch = rig
            .model
            .embed_image_batch([of_red(1), picture.clone()])
            .await;
        // A batch may have begun with its good pictures; what can be told at once is told at once.
        assert!(matches!(batch, Err(PoolError::Image(_))), "{what}");
        let classified = rig.model.classify_image(picture, 1).await;
        assert!(classified.is_err(), "{what}");
    }
    let alone = self::rig(false, |spec| spec).await;
    for picture in [ImageSource::bytes(*b"hello"), ImageSource::base64("%%%")] {
        alone.model.embed_image(picture).await.unwrap_err();
    }
    assert_eq!(alone.loads.load(Ordering::SeqCst), 0);
    assert!(alone.pool.status().models[0].workers.is_empty());
    // And others are served as ever.
    assert_eq!(rig.model.embed_image(of_red(51)).await.unwrap(), [0.2]);
}

#[tokio::test]
async fn what_a_model_has_not_is_refused_at_once() {
    let rig = rig(false, |spec| spec).await;
    let offered = |error: PoolError, wanted: &str| match error {
        PoolError::Model {
            source: ModelError::NotOffered { what },
            ..
        } => what == wanted,
        _ => false,
    };
    let error = rig.model.embed_text("a cat").await.unwrap_err();
    assert!(offered(error, "texts"));
    let error = rig.model.classify_image(of_red(1), 1).await.unwrap_err();
    assert!(offered(error, "classes"));
    let error = rig.model.embed_image_batch([]).await.unwrap_err();
    assert!(matches!(
        error,
        PoolError::InvalidRequest { field: "batch", .. }
    ));
    let error = rig.model.embed_text("").await.unwrap_err();
    assert!(matches!(
        error,
        PoolError::InvalidRequest { field: "text", .. }
    ));
    let error = rig
        .model
        .embed_text("x".repeat(10 << 20))
        .await
        .unwrap_err();
    assert!(matches!(error, PoolError::InputTooLarge { .. }));
    assert_eq!(rig.loads.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn texts_and_classes_where_there_are_any() {
    let rig = rig(true, |spec| spec.class_names(["cat", "dog"])).await;
    assert_eq!(rig.model.embed_text("four").await.unwrap(), [4.0]);
    let texts = rig
        .model
        .embed_text_batch(["a", "bb", "ccc"])
        .await
        .unwrap();
    assert_eq!(texts, [[1.0], [2.0], [3.0]]);
    let classes = rig.model.classify_image(of_red(1), 2).await.unwrap();
    let found: Vec<_> = classes
        .iter()
        .map(|class| (class.index, class.name.as_deref(), class.probability))
        .collect();
    // There are more classes than names.
    assert_eq!(found, [(1, Some("dog"), 0.5), (2, None, 0.3)]);
    let error = rig.model.classify_image(of_red(1), 0).await.unwrap_err();
    assert!(matches!(
        error,
        PoolError::InvalidRequest { field: "count", .. }
    ));
    rig.pool.probe(&rig.model).await.unwrap();
}

#[tokio::test]
async fn one_bad_answer_is_one_callers_own() {
    let rig = rig(false, |spec| spec.max_workers(1)).await;
    let ask = |red| rig.model.embed_image(of_red(red));
    let (nan, refused, good) = tokio::join!(ask(13), ask(14), ask(51));
    let source = |answer: Result<Embedding, PoolError>| match answer {
        Err(PoolError::Model { source, .. }) => source,
        other => panic!("{other:?}"),
    };
    assert!(matches!(source(nan), ModelError::NotFiniteOutput));
    assert!(matches!(source(refused), ModelError::Other(_)));
    assert_eq!(good.unwrap(), [0.2]);
}

#[tokio::test]
async fn a_picture_that_kills_is_poisoned_alone() {
    let rig = rig(false, |spec| spec).await;
    let ask = |red| rig.model.embed_image(of_red(red));
    let (bad, good) = tokio::join!(ask(15), ask(51));
    assert!(matches!(bad, Err(PoolError::Poisoned { .. })), "{bad:?}");
    assert_eq!(good.unwrap(), [0.2]);
    // A model that answers too little is a broken one, too.
    let seven_rows = RgbImage::new(1, 7, vec![51; 21]).unwrap();
    let short = rig.model.embed_image(ImageSource::pixels(seven_rows)).await;
    assert!(
        matches!(short, Err(PoolError::Poisoned { .. })),
        "{short:?}"
    );
}

#[tokio::test]
async fn a_deadline_holds_while_a_picture_is_fetched() {
    let rig = rig(false, |spec| spec).await;
    // Whoever connects is let in, and never hears anything.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/slow.png", listener.local_addr().unwrap());
    let limits = ImageLimits::default().trusted_host("127.0.0.1");
    let patient = self::rig(false, |spec| spec.image_limits(limits)).await;
    let hurried = RequestOptions::default().deadline(Duration::from_millis(50));
    let error = patient
        .model
        .with(hurried)
        .embed_image(ImageSource::url(url))
        .await
        .unwrap_err();
    assert!(
        matches!(error, PoolError::DeadlineExceeded { .. }),
        "{error}"
    );
    drop(listener);
    assert_eq!(rig.model.embed_image(of_red(51)).await.unwrap(), [0.2]);
}
