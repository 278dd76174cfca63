//! What comes back for what is asked.

use modelpool::diffusion::SchedulerKind;
use modelpool::images::{ImageSource, RgbImage};
use modelpool::testing::Steering;
use modelpool::{GuidanceKind, ImageChunk, PaintingRequest, PromptTokens};

use crate::universe::within;
use crate::{begin, description, one_worker, pictures, png, predictions, seeded};

#[tokio::test(flavor = "multi_thread")]
async fn chunks_come_in_order_and_the_picture_is_last() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    let mut stream = begin(&dauber, "a cat", seeded(7).steps(3).preview_every(2)).await;
    let mut chunks = Vec::new();
    while let Some(chunk) = within(stream.next()).await {
        chunks.push(chunk.unwrap());
    }
    assert_eq!(chunks[0], ImageChunk::Queued);
    for (chunk, wanted) in chunks[1..4].iter().zip(1..) {
        let ImageChunk::Step {
            image,
            step,
            of,
            preview,
        } = chunk
        else {
            panic!("{chunk:?}");
        };
        assert_eq!((*image, *step, *of), (0, wanted, 3));
        let size = preview.as_ref().map(|it| (it.width(), it.height()));
        assert_eq!(size, (wanted == 2).then_some((4, 4)));
    }
    let ImageChunk::Image(painting) = &chunks[4] else {
        panic!("{:?}", chunks[4]);
    };
    assert_eq!((painting.image, painting.seed, chunks.len()), (0, 7, 5));
    assert_eq!(
        (painting.picture.width(), painting.picture.height()),
        (32, 32)
    );
    let read = ImageSource::bytes(painting.png.clone());
    assert_eq!(read.load(&Default::default()).unwrap(), painting.picture);
    let timings = painting.timings;
    assert!(timings.queued <= timings.encoded && timings.encoded <= timings.begun);
    assert!(timings.begun <= timings.denoised && timings.denoised <= timings.total);
    let written = serde_json::to_string(&chunks).unwrap();
    let read: Vec<ImageChunk> = serde_json::from_str(&written).unwrap();
    assert_eq!(read, chunks);
    universe.close().await;
    let calls = [
        "prompt: a cat",
        "a cat",
        "a cat",
        "a cat",
        "decode",
        "finished",
    ];
    assert_eq!(steering.steps().concat(), calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_gives_the_same_bytes_and_everything_that_is_asked_counts() {
    let steering = Steering::new();
    let mut guided = description();
    guided.default_guidance = 3.0;
    let (universe, dauber) = one_worker(&steering, guided).await;
    let base = png(&dauber, "a cat", seeded(1)).await;
    assert_eq!(png(&dauber, "a cat", seeded(1)).await, base);
    let init = || ImageSource::pixels(RgbImage::new(32, 32, vec![90; 32 * 32 * 3]).unwrap());
    let others = [
        ("a dog", seeded(1)),
        ("a cat", seeded(2)),
        ("a cat", seeded(1).steps(5)),
        ("a cat", seeded(1).guidance(2.0)),
        ("a cat", seeded(1).negative_prompt("")),
        ("a cat", seeded(1).negative_prompt("a dog")),
        ("a cat", seeded(1).size(32, 48)),
        ("a cat", seeded(1).scheduler(SchedulerKind::EulerAncestral)),
        (
            "a cat",
            seeded(1).scheduler(SchedulerKind::DpmSolverPlusPlus),
        ),
        ("a cat", seeded(1).init(init()).strength(0.5)),
        ("a cat", seeded(1).init(init()).strength(0.75)),
        ("", seeded(1)),
    ];
    let mut seen = vec![base];
    for (prompt, params) in others {
        let other = png(&dauber, prompt, params.clone()).await;
        assert_eq!(
            png(&dauber, prompt, params.clone()).await,
            other,
            "{params:?}"
        );
        assert!(!seen.contains(&other), "{params:?} changes nothing");
        seen.push(other);
    }
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_seed_each_picture_is_another_and_its_seed_makes_it_again() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    let one = pictures(&dauber, "a cat", Default::default())
        .await
        .remove(0);
    let other = pictures(&dauber, "a cat", Default::default())
        .await
        .remove(0);
    assert_ne!(one.png, other.png);
    assert_eq!(png(&dauber, "a cat", seeded(one.seed)).await, one.png);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_pictures_is_what_its_seed_gives_alone() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    let ancestral = seeded(u64::MAX - 2).scheduler(SchedulerKind::EulerAncestral);
    let many = pictures(&dauber, "a cat", ancestral.clone().images(6)).await;
    assert_eq!(many.len(), 6);
    for (image, painting) in many.iter().enumerate() {
        assert_eq!(painting.image, image);
        let alone = ancestral.clone().seed(painting.seed);
        assert_eq!(png(&dauber, "a cat", alone).await, painting.png);
    }
    // They were begun when there was room for them.
    let begun: Vec<_> = many.iter().map(|painting| painting.timings.begun).collect();
    assert!(begun[4] >= many[0].timings.denoised && begun[0] < many[0].timings.denoised);
    // The model takes four entries at once, so the first four came before the fifth was begun.
    let calls: Vec<usize> = predictions(&steering).iter().map(Vec::len).collect();
    assert_eq!(calls[..8], [4, 4, 4, 4, 2, 2, 2, 2]);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guidance_takes_two_entries_and_is_left_out_where_it_does_nothing() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    let guided = seeded(1).guidance(5.0).negative_prompt("bad").steps(1);
    png(&dauber, "good", guided.clone()).await;
    png(&dauber, "good", guided.guidance(1.0)).await;
    let calls = predictions(&steering);
    assert_eq!(calls, [vec!["good", "bad"], vec!["good"]]);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_takes_one_entry_is_asked_twice() {
    let steering = Steering::new();
    let mut single = description();
    single.max_batch = 1;
    let (universe, dauber) = one_worker(&steering, single).await;
    let guided = seeded(1).guidance(5.0).negative_prompt("bad").steps(2);
    let one_by_one = png(&dauber, "good", guided.clone()).await;
    let calls = predictions(&steering);
    assert_eq!(calls.concat(), ["good", "bad", "good", "bad"]);
    assert_eq!(calls.len(), 4);
    universe.close().await;

    let (universe, dauber) = one_worker(&Steering::new(), description()).await;
    assert_eq!(png(&dauber, "good", guided).await, one_by_one);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_guidance_is_the_models_and_none_is_nobodys() {
    let mut made = Vec::new();
    for kind in [GuidanceKind::Embedded, GuidanceKind::None] {
        let steering = Steering::new();
        let mut other = description();
        other.guidance = kind;
        let (universe, dauber) = one_worker(&steering, other).await;
        let strong = png(&dauber, "a", seeded(1).guidance(9.0).negative_prompt("b")).await;
        let weak = png(&dauber, "a", seeded(1).guidance(2.0)).await;
        assert!(predictions(&steering).iter().all(|call| call == &["a"]));
        assert_eq!(strong == weak, kind == GuidanceKind::None);
        made.push(strong);
        universe.close().await;
    }
    assert_ne!(made[0], made[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_to_begin_from_gives_the_size_and_is_kept_the_more_the_less_is_painted_over() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    let grey = RgbImage::new(37, 70, vec![90; 37 * 70 * 3]).unwrap();
    let from = |strength: f64| {
        let source = ImageSource::bytes(grey.to_png().unwrap());
        seeded(3).steps(10).init(source).strength(strength)
    };
    let distance = |painting: &RgbImage| -> u64 {
        let red = painting.pixels().chunks(3).map(|pixel| pixel[0]);
        red.map(|red| u64::from(red.abs_diff(90))).sum()
    };
    let little = pictures(&dauber, "a", from(0.1)).await.remove(0).picture;
    assert_eq!((little.width(), little.height()), (32, 64));
    let much = pictures(&dauber, "a", from(1.0)).await.remove(0).picture;
    assert!(distance(&little) * 2 < distance(&much));
    // One step of ten, and all ten.
    assert_eq!(predictions(&steering).len(), 11);
    let mut named = pictures(&dauber, "a", from(0.5).size(48, 16)).await;
    let named = named.remove(0).picture;
    assert_eq!((named.width(), named.height()), (48, 16));
    // So little that no step would be left: one is made.
    let least = pictures(&dauber, "a", from(0.01)).await;
    assert_eq!(least.len(), 1);
    universe.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_once_gets_one_picture_and_a_probe_is_answered() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    let request = PaintingRequest {
        prompt: PromptTokens {
            encoders: vec![b"a cat".map(u32::from).to_vec()],
            is_absent: false,
        },
        negative: None,
        guidance: 1.0,
        width: 32,
        height: 32,
        steps: 4,
        seed: 5,
        images: 3,
        scheduler: SchedulerKind::Euler,
        init: None,
        strength: 1.0,
        preview_every: 0,
    };
    let answer = within(dauber.ask(request)).await.unwrap();
    let ImageChunk::Image(painting) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(painting.png, png(&dauber, "a cat", seeded(5)).await);
    within(universe.probe(&dauber)).await.unwrap();
    universe.close().await;
}

/// After the last step, what the preview shows is what is decoded.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_preview_shows_the_colours_of_the_picture() {
    let steering = Steering::new();
    let (universe, dauber) = one_worker(&steering, description()).await;
    let params = seeded(7).steps(8).preview_every(8).size(48, 32);
    let mut stream = begin(&dauber, "a cat", params).await;
    let (mut shown, mut picture) = (None, None);
    while let Some(chunk) = within(stream.next()).await {
        match chunk.unwrap() {
            ImageChunk::Step { preview, .. } => shown = shown.or(preview),
            ImageChunk::Image(painting) => picture = Some(painting.picture),
            _ => {}
        }
    }
    let (shown, picture) = (shown.unwrap(), picture.unwrap());
    assert_eq!((shown.width(), shown.height()), (6, 4));
    let mut compared = 0;
    for (place, pixel) in shown.pixels().chunks(3).enumerate() {
        let (x, y) = (place % 6 * 8, place / 6 * 8);
        let decoded = &picture.pixels()[(y * 48 + x) * 3..][..2];
        for (shown, (decoded, bias)) in pixel.iter().zip(decoded.iter().zip([0.0, 0.1])) {
            if (1..255).contains(decoded) && (1..255).contains(shown) {
                let latent = (f32::from(*decoded) + 0.5 - 128.0) / 40.0;
                let wanted = (0.5 * latent + bias + 1.0) * 127.5;
                assert!(
                    (f32::from(*shown) - wanted).abs() < 2.0,
                    "{shown}, not {wanted}"
                );
                compared += 1;
            }
        }
    }
    assert!(compared > 20, "{compared}");
    universe.close().await;
}
