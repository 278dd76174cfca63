//! What can't be painted is refused at once, by a typed error, and harms nobody.

use std::error::Error;
use std::time::Duration;

use modelpool::diffusion::SchedulerKind;
use modelpool::images::{ImageError, ImageSource, RgbImage};
use modelpool::testing::{Act, Point, Steering};
use modelpool::{
    ImageParams, ModelError, PaintingRequest, PoolError, PromptPreparer, PromptTokens,
};

use crate::universe::{Universe, config, within};
use crate::{description, field, one_worker, png, seeded};

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_make_no_sense_are_refused_before_anything_loads() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    let default = ImageParams::default;
    let cases = [
        ("guidance", default().guidance(f32::NAN)),
        ("guidance", default().guidance(-1.0)),
        ("guidance", default().guidance(f32::INFINITY)),
        ("width", default().size(0, 32)),
        ("height", default().size(32, 0)),
        ("width", default().size(33, 32)),
        ("height", default().size(32, 24)),
        ("width", default().size(144, 16)),
        ("height", default().size(16, usize::MAX)),
        // Each side may be, but not both.
        ("width", default().size(128, 80)),
        ("steps", default().steps(0)),
        ("steps", default().steps(1001)),
        // More than the multistep solvers find different timesteps for.
        (
            "steps",
            default()
                .steps(1000)
                .scheduler(SchedulerKind::DpmSolverPlusPlus),
        ),
        ("steps", default().steps(51).scheduler(SchedulerKind::Lcm)),
        ("images", default().images(0)),
        ("images", default().images(17)),
        ("images", default().images(usize::MAX)),
        ("strength", default().strength(0.0)),
        ("strength", default().strength(1.5)),
        ("strength", default().strength(f64::NAN)),
        (
            "scheduler",
            default().scheduler(SchedulerKind::FlowMatchEuler),
        ),
    ];
    for (wanted, params) in cases {
        let error = within(dauber.generate_image("a", params.clone())).await;
        assert_eq!(field(&error.unwrap_err()), wanted, "{params:?}");
    }
    let long = "x".repeat(10 << 20);
    for (prompt, params) in [
        (long.clone(), default()),
        ("a".to_owned(), default().negative_prompt(long)),
    ] {
        let error = within(dauber.generate_image(prompt, params)).await;
        let error = error.unwrap_err();
        assert!(matches!(error, PoolError::InputTooLarge { bytes, limit } if bytes > limit));
    }
    assert_eq!(steering.visits(Point::Load), 0);
    assert_eq!(universe.status().models[0].metrics.accepted, 0);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_cannot_be_begun_from_are_refused_before_a_worker_sees_them() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    let grey = |width: u32, height: u32| {
        let pixels = vec![9; width as usize * height as usize * 3];
        ImageSource::pixels(RgbImage::new(width, height, pixels).unwrap())
    };
    let refused = async |source: ImageSource| {
        let params = ImageParams::default().init(source);
        let refused = within(dauber.generate_image("a", params)).await;
        refused.unwrap_err()
    };
    let error = refused(ImageSource::url("http://127.0.0.1/cat.png")).await;
    let is_forbidden = matches!(error, PoolError::Image(ImageError::ForbiddenAddress { .. }));
    assert!(is_forbidden, "{error}");
    let error = refused(ImageSource::bytes(*b"no picture")).await;
    assert!(matches!(error, PoolError::Image(ImageError::UnknownFormat)));
    let error = refused(ImageSource::path("/nowhere/cat.png")).await;
    assert!(matches!(
        error,
        PoolError::Image(ImageError::Unreadable { .. })
    ));
    assert_eq!(field(&refused(grey(400, 32)).await), "width");
    assert_eq!(field(&refused(grey(128, 128)).await), "width");
    assert_eq!(steering.visits(Point::Load), 0);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_prompts_and_pictures_are_the_specs() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let limits = modelpool::images::ImageLimits::default().max_pixels(100);
    let spec = steering.dauber("dauber", 100, description());
    let dauber = universe
        .register(spec.max_input_bytes(5).image_limits(limits))
        .unwrap();
    let error = within(dauber.generate_image("123456", ImageParams::default())).await;
    let error = error.unwrap_err();
    assert!(matches!(
        error,
        PoolError::InputTooLarge { bytes: 6, limit: 5 }
    ));
    let large = ImageSource::pixels(RgbImage::new(11, 10, vec![0; 330]).unwrap());
    let error = within(dauber.generate_image("1", ImageParams::default().init(large))).await;
    let error = error.unwrap_err();
    assert!(matches!(
        error,
        PoolError::Image(ImageError::TooLarge { .. })
    ));
    png(&dauber, "12345", seeded(1)).await;
    universe.close().await;
}

/// What a model of this kind may take is longer than the pool allows others.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_may_take_ten_minutes_unless_the_spec_says_otherwise() {
    let steering = Steering::new();
    steering.script(Point::Step, [Act::Hang]);
    let mut settings = config();
    settings.step_timeout = Duration::from_millis(50);
    let universe = Universe::new(settings).await;
    let patient = steering.dauber("patient", 100, description());
    let patient = universe.register(patient.max_workers(1)).unwrap();
    let stream = within(patient.generate_image("a", seeded(1)))
        .await
        .unwrap();
    within(steering.visited(Point::Step, 1)).await;
    let hasty = Steering::new();
    hasty.always(Point::Step, Act::Hang);
    let spec = hasty.dauber("hasty", 100, description()).max_workers(1);
    let spec = spec.step_timeout(Duration::from_millis(50));
    let given_up = universe.register(spec).unwrap();
    let given_up = within(given_up.generate_image("a", seeded(1)))
        .await
        .unwrap();
    let error = within(given_up.collect()).await.unwrap_err();
    assert!(matches!(error, PoolError::Stalled { .. }), "{error}");
    // By then the other one's time would have been up, too.
    hasty.open(Point::Step);
    steering.open(Point::Step);
    assert_eq!(within(stream.collect()).await.unwrap().len(), 1);
    universe.close().await;
}

fn request() -> PaintingRequest {
    PaintingRequest {
        prompt: PromptTokens {
            encoders: vec![vec![65]],
            is_absent: false,
        },
        negative: None,
        guidance: 1.0,
        width: 32,
        height: 32,
        steps: 2,
        seed: 5,
        images: 1,
        scheduler: SchedulerKind::Euler,
        init: None,
        strength: 1.0,
        preview_every: 0,
    }
}

/// Requests may be made by hand, or come from another machine.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_were_never_checked_are_checked_by_the_worker() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    let edit = |change: fn(&mut PaintingRequest)| {
        let mut request = request();
        change(&mut request);
        request
    };
    let other = RgbImage::new(16, 16, vec![0; 16 * 16 * 3]).unwrap();
    let cases = [
        ("width", edit(|request| request.width = usize::MAX - 15)),
        ("height", edit(|request| request.height = 0)),
        ("steps", edit(|request| request.steps = 0)),
        ("images", edit(|request| request.images = 1_000_000)),
        ("guidance", edit(|request| request.guidance = f32::NAN)),
        ("negative_prompt", edit(|request| request.guidance = 2.0)),
        (
            "init",
            PaintingRequest {
                init: Some(other),
                ..request()
            },
        ),
    ];
    for (wanted, request) in cases {
        let error = within(dauber.ask(request)).await.unwrap_err();
        match error.source().unwrap().downcast_ref() {
            Some(ModelError::InvalidPainting { field, .. }) => assert_eq!(*field, wanted),
            other => panic!("{other:?}"),
        }
    }
    let unknown = edit(|request| request.prompt.encoders[0][0] = 300);
    let error = within(dauber.ask(unknown)).await.unwrap_err();
    assert!(matches!(
        error,
        PoolError::Model {
            source: ModelError::Tokenize { .. },
            ..
        }
    ));
    within(dauber.ask(request())).await.unwrap();
    assert_eq!(steering.visits(Point::Load), 1);
    universe.close().await;
}

struct Picky;

impl PromptPreparer for Picky {
    fn prepare(&self, prompt: &str) -> Result<PromptTokens, ModelError> {
        if prompt.contains('?') {
            return Err(ModelError::Tokenize {
                detail: "a question".to_owned(),
            });
        }
        let tokens = prompt
            .bytes()
            .map(|byte| u32::from(byte.to_ascii_lowercase()));
        Ok(PromptTokens {
            encoders: vec![tokens.collect()],
            is_absent: false,
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preparer_makes_the_tokens_and_says_what_it_can_not() {
    let steering = Steering::new();
    let universe = Universe::new(config()).await;
    let spec = steering.dauber("dauber", 100, description()).max_workers(1);
    let dauber = universe.register(spec.preparer(|| Ok(Picky))).unwrap();
    let error = within(dauber.generate_image("what?", ImageParams::default())).await;
    let error = error.unwrap_err();
    assert!(matches!(
        error,
        PoolError::Model {
            source: ModelError::Tokenize { .. },
            ..
        }
    ));
    assert_eq!(steering.visits(Point::Load), 0);
    assert_eq!(
        png(&dauber, "A CAT", seeded(1)).await,
        png(&dauber, "a cat", seeded(1)).await
    );
    assert_eq!(steering.steps()[0], ["prompt: a cat"]);
    universe.close().await;

    let universe = Universe::new(config()).await;
    let spec = steering.dauber("dauber", 100, description());
    let spec = spec.preparer(|| Err::<Picky, _>(ModelError::Other("no tokenizer".to_owned())));
    let dauber = universe.register(spec).unwrap();
    let error = within(dauber.generate_image("a", ImageParams::default())).await;
    assert!(matches!(error.unwrap_err(), PoolError::LoadFailed { .. }));
    universe.close().await;
}
