//! Reading through the pool.

use modelpool::images::{ImageSource, RgbImage};
use modelpool::models::OcrOptions;
use modelpool::{
    GenerationParams, ModelError, ModelSpec, PoolError, VisionChunk, VisionInput, VisionRequest,
};

use crate::real_models::tiny_ocr;
use crate::universe::{Universe, config, within};
use crate::{lines, path, picture, reader};

fn page() -> ImageSource {
    ImageSource::path(path("page.png"))
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_do_not_depend_on_threads_or_on_company() {
    let (universe, alone) = reader(1).await;
    let rendered = ImageSource::path(path("rendered.png"));
    let page_alone = lines(&alone, page()).await.unwrap();
    let rendered_alone = lines(&alone, rendered.clone()).await.unwrap();
    assert_eq!(page_alone.len(), 6);
    universe.close().await;

    let (universe, crowded) = reader(4).await;
    let asks = (0..6).map(|n| {
        let reader = crowded.clone();
        let source = if n % 2 == 0 { page() } else { rendered.clone() };
        tokio::spawn(async move { lines(&reader, source).await })
    });
    for (n, ask) in asks.collect::<Vec<_>>().into_iter().enumerate() {
        let wanted = if n % 2 == 0 {
            &page_alone
        } else {
            &rendered_alone
        };
        assert_eq!(&within(ask).await.unwrap().unwrap(), wanted);
    }
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_streamed_and_a_dropped_stream_leaves_the_worker_free() {
    let (universe, reader) = reader(1).await;
    let params = GenerationParams::default();
    let stream = reader.describe_image(page(), "", params.clone());
    let mut stream = within(stream).await.unwrap();
    let first = within(stream.next()).await.unwrap().unwrap();
    let VisionChunk::Line(first) = first else {
        panic!("a line comes first");
    };
    assert_eq!(first.text, "Region-based segmentation");
    drop(stream);
    assert_eq!(lines(&reader, page()).await.unwrap().len(), 6);
    assert_eq!(universe.status().models[0].metrics.cancelled, 1);
    within(universe.probe(&reader)).await.unwrap();
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_any_shape_are_read_or_have_nothing_in_them() {
    let (universe, reader) = reader(2).await;
    for [width, height] in [[1, 1], [1, 3000], [3000, 1], [33, 31], [5, 400]] {
        let grey = vec![128; (width * height * 3) as usize];
        let grey = RgbImage::new(width, height, grey).unwrap();
        let found = lines(&reader, ImageSource::pixels(grey)).await.unwrap();
        assert!(found.is_empty(), "{width}x{height}: {found:?}");
    }
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_contradicts_itself_is_told_so_and_others_are_unharmed() {
    let (universe, reader) = reader(1).await;
    let good = reader.caller_side();
    drop(good);
    let bad = [
        VisionInput::default(),
        VisionInput {
            size: [64, 64],
            picture: Some(picture("empty.png")),
            ..VisionInput::default()
        },
        VisionInput {
            size: [u32::MAX, u32::MAX],
            ..VisionInput::default()
        },
        VisionInput {
            size: [64, 64],
            pictures: vec![
                modelpool::images::PixelTensor::new([3, 64, 64], vec![0.0; 3 * 64 * 64]).unwrap(),
            ],
            picture: Some(picture("empty.png")),
            ..VisionInput::default()
        },
    ];
    for input in bad {
        let request = VisionRequest {
            input,
            params: GenerationParams::default(),
        };
        let mut stream = reader.stream(request).unwrap();
        let Err(PoolError::Model { source, .. }) = within(stream.next()).await.unwrap() else {
            panic!("it contradicts itself");
        };
        assert!(matches!(source, ModelError::WrongShape { .. }), "{source}");
    }
    assert_eq!(lines(&reader, page()).await.unwrap().len(), 6);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_say_what_is_looked_at_and_what_is_told() {
    let universe = Universe::new(config()).await;
    let register = |name: &str, options| {
        let spec = ModelSpec::ocr_folder_with(tiny_ocr(), options).unwrap();
        universe.register(spec.named(name).max_workers(1)).unwrap()
    };
    let options = OcrOptions::default();
    let sure = register("sure", options.min_confidence(0.98));
    let found = lines(&sure, page()).await.unwrap();
    assert!(found.iter().all(|line| line.confidence >= 0.98));
    assert!((1..6).contains(&found.len()), "{found:?}");

    let small = register("short-sighted", options.detector_side(128));
    let found = lines(&small, page()).await.unwrap();
    assert!(found.len() < 6, "{found:?}");
    let keen = register("keen", options.detector_side(1984));
    let large = ImageSource::path(path("large.png"));
    let found = lines(&keen, large).await.unwrap();
    assert_eq!(found.len(), 3, "{found:?}");
    universe.close().await;
}
