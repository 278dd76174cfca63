//! What is refused, when, and that nothing was loaded for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use modelpool::images::{ImageError, ImageLimits, ImageSource, PixelTensor, RgbImage};
use modelpool::testing::{Point, Steering};
use modelpool::{
    GenerationParams, ModelError, PoolError, VisionInput, VisionPreparer, VisionRequest,
};

use crate::universe::{Universe, config, within};
use crate::{lines_of, look, one_worker, picture};

/// Counts how often it was made, and refuses tall pictures.
struct Watchful;

impl VisionPreparer for Watchful {
    fn prepare(
        &self,
        picture: RgbImage,
        query: String,
        _params: &GenerationParams,
    ) -> Result<VisionInput, ModelError> {
        if picture.height() > picture.width() {
            return Err(ModelError::Other("it is too tall".to_owned()));
        }
        Ok(VisionInput {
            query,
            size: [picture.width(), picture.height()],
            picture: Some(picture),
            ..VisionInput::default()
        })
    }
}

fn bad_pictures() -> Vec<ImageSource> {
    let png = RgbImage::new(40, 30, vec![9; 3600])
        .unwrap()
        .to_png()
        .unwrap();
    vec![
        ImageSource::path("/no/such/picture.png"),
        ImageSource::path(std::env::temp_dir()),
        ImageSource::url("ftp://example.com/a.png"),
        ImageSource::url("http://127.0.0.1/a.png"),
        ImageSource::url("http://[::ffff:10.0.0.1]/a.png"),
        ImageSource::url("http://2130706433/a.png"),
        ImageSource::base64("data:image/png;base64,&&&"),
        ImageSource::bytes(b"not a picture".as_slice()),
        ImageSource::bytes(&png[..png.len() / 2]),
        ImageSource::bytes(Vec::new()),
        // Too large by the limits of the test.
        ImageSource::bytes(
            RgbImage::new(200, 1, vec![0; 600])
                .unwrap()
                .to_png()
                .unwrap(),
        ),
        ImageSource::pixels(RgbImage::new(1, 200, vec![0; 600]).unwrap()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_pictures_are_told_so_and_nothing_is_loaded_for_them() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let spec = steering
        .onlooker("onlooker", 100)
        .image_limits(ImageLimits::default().max_side(150))
        .preparer(move || {
            counter.fetch_add(1, Ordering::AcqRel);
            Ok(Watchful)
        });
    let onlooker = universe.register(spec).unwrap();
    for source in bad_pictures() {
        let params = GenerationParams::default();
        let error = within(onlooker.describe_image(source.clone(), "words", params)).await;
        let error = error.unwrap_err();
        assert!(matches!(error, PoolError::Image(_)), "{source:?}: {error}");
    }
    assert!(universe.status().models[0].workers.is_empty());
    assert_eq!(steering.visits(Point::Load), 0);
    assert_eq!(made.load(Ordering::Acquire), 0);
    assert_eq!(universe.census().permits, 0);

    // What can be told at once is told even where the queue is full.
    let tall = ImageSource::pixels(RgbImage::new(2, 3, vec![0; 18]).unwrap());
    let params = GenerationParams::default();
    let error = within(onlooker.describe_image(tall, "", params)).await;
    assert!(matches!(error, Err(PoolError::Model { .. })), "{error:?}");
    assert_eq!(made.load(Ordering::Acquire), 1);
    assert!(universe.status().models[0].workers.is_empty());
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_leads_inside_is_refused_at_once() {
    let steering = Steering::new();
    let (universe, onlooker) = one_worker(&steering).await;
    let params = GenerationParams::default();
    let error = within(onlooker.describe_url("http://169.254.169.254/", "", params)).await;
    assert!(
        matches!(
            error,
            Err(PoolError::Image(ImageError::ForbiddenAddress { .. }))
        ),
        "{error:?}"
    );
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_unharmed_by_bad_pictures() {
    let steering = Steering::new();
    let (universe, onlooker) = one_worker(&steering).await;
    let good = look(&onlooker, "one two").await;
    for source in bad_pictures().into_iter().take(10) {
        let params = GenerationParams::default();
        let error = within(onlooker.describe_image(source, "", params)).await;
        assert!(matches!(error, Err(PoolError::Image(_))), "{error:?}");
    }
    let description = within(good.collect()).await.unwrap();
    assert_eq!(description.lines(), lines_of("one two"));
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_and_parameters_are_checked_before_the_picture() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let spec = steering
        .onlooker("onlooker", 100)
        .query_required(true)
        .max_query_bytes(10);
    let onlooker = universe.register(spec).unwrap();
    let params = GenerationParams::default();
    let ask = |query: &str, params| onlooker.describe_image(picture(), query.to_owned(), params);
    let error = within(ask("", params.clone())).await.unwrap_err();
    assert!(matches!(
        error,
        PoolError::InvalidRequest { field: "query", .. }
    ));
    let error = within(ask("elevenbytes", params.clone()))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        PoolError::InputTooLarge {
            bytes: 11,
            limit: 10
        }
    ));
    let error = within(ask("ten bytes!", params.max_tokens(0)))
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        PoolError::InvalidRequest {
            field: "max_tokens",
            ..
        }
    ));
    assert_eq!(steering.visits(Point::Load), 0);

    let long = "x".repeat(10 << 20);
    let default = universe
        .register(steering.onlooker("default", 100))
        .unwrap();
    let params = GenerationParams::default();
    let error = within(default.describe_image(picture(), long, params)).await;
    assert!(matches!(error, Err(PoolError::InputTooLarge { .. })));
    assert_eq!(steering.visits(Point::Load), 0);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pixels_that_are_not_finite_end_their_own_request() {
    let steering = Steering::new();
    let (universe, onlooker) = one_worker(&steering).await;
    for bad in [f32::NAN, f32::INFINITY] {
        let pixels = PixelTensor::new([3, 1, 1], vec![0.0, bad, 0.0]).unwrap();
        let request = VisionRequest {
            input: VisionInput {
                query: "words".to_owned(),
                pictures: vec![pixels],
                ..VisionInput::default()
            },
            ..VisionRequest::default()
        };
        let mut stream = onlooker.stream(request).unwrap();
        let Err(PoolError::Model { source, .. }) = within(stream.next()).await.unwrap() else {
            panic!("an error was wanted");
        };
        assert!(matches!(source, ModelError::NotFinitePixels), "{source}");
    }
    assert_eq!(
        within(look(&onlooker, "well").await.text()).await.unwrap(),
        "well"
    );
    assert_eq!(steering.visits(Point::Load), 1);
    universe.close().await;
}
