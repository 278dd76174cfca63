//! Each stage beside diffusers' `FluxPipeline`: tokens, both text encoders, the transformer at two sizes,
//! the latents after every step, and the picture.

use modelpool::diffusion::{NormalNoise, PaintingPlan, Purpose, SchedulerKind};
use modelpool::models::{DiffusionOptions, FluxFolder, FluxPainter};
use modelpool::pool::capabilities::text_to_image::{
    Conditioning, Denoise, GuidanceKind, PromptPreparer, TextToImageCapable,
};
use modelpool::pool::core::StepContext;

use super::folders::{Pipeline, Reference, load, worst_difference};

/// Of values that are about 1 to 6.
const TOLERANCE: f32 = 1e-4;

/// The first has few tokens, the second more than T5 is given here.
fn prompts() -> [String; 2] {
    let long = "the sea is never full. ".repeat(6);
    [
        "The quick brown fox".to_owned(),
        format!("Zürich, naïve café: rivers run to the sea, and {long}"),
    ]
}

fn context() -> StepContext {
    StepContext::new(2)
}

/// A painter with what it makes of the prompts.
struct Prompted {
    pipeline: Pipeline,
    reference: Reference,
    painter: FluxPainter,
    conditioning: Vec<Conditioning>,
}

fn prompted(pipeline: Pipeline, name: &str) -> Prompted {
    let folder = pipeline.open();
    let mut painter = load(&folder);
    let preparer = folder.preparer().expect("tokenizers");
    let reference = Reference::of(name);
    let conditioning = prompts().into_iter().enumerate().map(|(number, prompt)| {
        let tokens = preparer.prepare(&prompt).expect("a prompt");
        assert_eq!(
            tokens.encoders,
            [
                reference.tokens(&format!("tokens.clip.{number}")),
                reference.tokens(&format!("tokens.t5.{number}")),
            ]
        );
        let made = painter
            .encode_prompt(&tokens, &context())
            .expect("a prompt");
        let hidden = reference.values(&format!("hidden.{number}"));
        let pooled = reference.values(&format!("pooled.{number}"));
        let differences = [
            worst_difference(&made.hidden, &hidden),
            worst_difference(&made.pooled, &pooled),
        ];
        println!("{name}: T5 and CLIP differ by {differences:?}");
        assert!(
            differences
                .iter()
                .all(|difference| *difference <= TOLERANCE)
        );
        made
    });
    let conditioning = conditioning.collect();
    Prompted {
        pipeline,
        reference,
        painter,
        conditioning,
    }
}

fn check(pipeline: Pipeline, name: &str, guidance: Option<f32>, steps: usize) {
    let Prompted {
        pipeline,
        reference,
        mut painter,
        conditioning,
    } = prompted(pipeline, name);
    for number in 0..2 {
        let latents = reference.values(&format!("step.{number}.latents"));
        let [_, height, width] = reference.shape(&format!("step.{number}.latents"))[..] else {
            panic!("latents have three axes");
        };
        let entry = Denoise {
            latents: &latents,
            width,
            height,
            timestep: 612.3,
            conditioning: &conditioning[0],
            guidance,
        };
        let made = painter.predict(&[entry], &context()).expect("a step");
        let wanted = reference.values(&format!("step.{number}.output"));
        let difference = worst_difference(&made[0], &wanted);
        println!("{name}: a step of {width} by {height} differs by {difference}");
        assert!(difference <= TOLERANCE);
    }

    let description = painter.description().clone();
    let [_, height, width] = reference.shape("walk.start")[..] else {
        panic!("latents have three axes");
    };
    let tokens = height * width / description.latents_per_token.pow(2);
    let plan = PaintingPlan::new(SchedulerKind::FlowMatchEuler, steps).tokens(tokens);
    let mut scheduler = description.schedule.scheduler(&plan).expect("a scheduler");
    let mut latents = reference.values("walk.start");
    let mut noise = NormalNoise::new(0, Purpose::Steps);
    for step in 0..steps {
        let timestep = scheduler.timestep().expect("one more step");
        let wanted = reference.values(&format!("timestep.{step}"))[0];
        assert!((timestep - wanted).abs() <= 1e-3, "{timestep}, {wanted}");
        let entry = Denoise {
            latents: &latents,
            width,
            height,
            timestep,
            conditioning: &conditioning[0],
            guidance,
        };
        let flow = painter.predict(&[entry], &context()).expect("a step");
        scheduler
            .step(&flow[0], &mut latents, &mut noise)
            .expect("a step");
        let difference = worst_difference(&latents, &reference.values(&format!("walk.{step}")));
        println!("{name}: after step {step} latents differ by {difference}");
        assert!(difference <= TOLERANCE);
    }
    let picture = painter
        .decode(&latents, width, height, &context())
        .expect("a picture");
    let wanted = reference.bytes("pixels");
    assert_eq!(picture.pixels().len(), wanted.len());
    let pairs = picture.pixels().iter().zip(&wanted);
    let most = pairs.map(|(made, wanted)| made.abs_diff(*wanted)).max();
    println!("{name}: pixels differ by {most:?}");
    assert!(most <= Some(1));
    drop(pipeline);
}

#[test]
fn schnell_is_as_in_diffusers() {
    check(Pipeline::schnell(), "schnell", None, 4);
}

#[test]
fn dev_is_given_the_guidance_as_in_diffusers() {
    check(Pipeline::dev(), "dev", Some(3.5), 3);
}

#[test]
fn a_folder_says_what_its_model_is_like() {
    let schnell = Pipeline::schnell();
    let folder = schnell.open();
    let description = folder.description();
    assert_eq!(description.latent_channels, 16);
    assert_eq!(description.pixels_per_latent, 4);
    assert_eq!(description.size_multiple, 8);
    assert_eq!(description.latents_per_token, 2);
    assert_eq!(description.default_steps, 4);
    assert_eq!(description.guidance, GuidanceKind::None);
    let dev = Pipeline::dev();
    let folder = dev.open();
    assert_eq!(folder.description().guidance, GuidanceKind::Embedded);
    assert_eq!(folder.description().default_guidance, 3.5);
}

#[test]
fn larger_pictures_take_more_memory() {
    let pipeline = Pipeline::schnell();
    let open = |pixels| {
        let options = DiffusionOptions::default().max_pixels(pixels);
        let folder = FluxFolder::open(pipeline.path(), &options).expect("a sound folder");
        assert_eq!(folder.description().max_pixels, pixels);
        folder.worker_bytes()
    };
    assert!(open(4096 * 4096) > 4 * open(1024 * 1024));
    // Sums that would not fit are cut off.
    assert!(open(usize::MAX) > open(4096 * 4096));
}

#[test]
fn a_picture_is_the_same_in_any_company() {
    let Prompted {
        reference,
        mut painter,
        conditioning,
        ..
    } = prompted(Pipeline::schnell(), "schnell");
    let latents = reference.values("step.0.latents");
    let entries: Vec<Denoise<'_>> = conditioning
        .iter()
        .zip([612.3, 250.0])
        .map(|(conditioning, timestep)| Denoise {
            latents: &latents,
            width: 8,
            height: 8,
            timestep,
            conditioning,
            guidance: None,
        })
        .collect();
    let together = painter.predict(&entries, &context()).expect("a step");
    for (entry, together) in entries.iter().zip(&together) {
        for threads in [1, 2] {
            let context = StepContext::new(threads);
            let alone = painter.predict(&[*entry], &context).expect("a step");
            assert_eq!(&alone[0], together);
        }
    }
    assert_ne!(together[0], together[1]);
}
