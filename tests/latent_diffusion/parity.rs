//! Every stage beside diffusers: tokens, text encoders, the network, the autoencoder, whole paintings.

use modelpool::diffusion::{NoiseSource, NormalNoise, PaintingPlan, Purpose, SchedulerKind};
use modelpool::images::RgbImage;
use modelpool::models::DiffusionOptions;
use modelpool::pool::capabilities::text_to_image::{
    Conditioning, Denoise, GuidanceKind, TextToImageCapable,
};
use modelpool::pool::core::StepContext;

use super::pipeline::{Pipeline, open};

const NAMES: [&str; 4] = ["sd15", "sd21", "sdxl", "lcm"];

const TOLERANCE: f32 = 1e-4;

/// Of values up to 1, and of larger ones relative to them.
fn assert_near(made: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(made.len(), wanted.len(), "{what}");
    let pairs = made.iter().zip(wanted);
    let differences = pairs.map(|(made, wanted)| (made - wanted).abs() / wanted.abs().max(1.0));
    // Not `f32::max`, which would hide a NaN.
    let worst = differences.fold(0.0, |worst, next| if next <= worst { worst } else { next });
    println!("{what}: {worst:e}");
    assert!(worst <= TOLERANCE, "{what}: {worst}");
}

fn threads(count: usize) -> StepContext {
    StepContext::new(count)
}

#[test]
fn prompts_become_the_same_tokens() {
    for name in NAMES {
        let pipeline = Pipeline::load(name);
        for (number, prompt) in pipeline.reference.prompts().iter().enumerate() {
            let tokens = pipeline.tokens(prompt);
            for (encoder, ids) in tokens.encoders.iter().enumerate() {
                let wanted = format!("text.{number}.tokens.{encoder}");
                assert_eq!(*ids, pipeline.reference.ids(&wanted), "{name} {wanted}");
            }
        }
    }
}

#[test]
fn text_encoders_give_the_same_rows_and_pooled_vectors() {
    for name in NAMES {
        let mut pipeline = Pipeline::load(name);
        for (number, prompt) in pipeline.reference.prompts().iter().enumerate() {
            let tokens = pipeline.tokens(prompt);
            let encoded = pipeline.model.encode_prompt(&tokens, &threads(2)).unwrap();
            let wanted = format!("text.{number}.hidden");
            let shape = pipeline.reference.shape(&wanted);
            assert_eq!([encoded.tokens, encoded.width], *shape);
            let wanted = pipeline.reference.values(&wanted);
            assert_near(&encoded.hidden, &wanted, &format!("{name}: text {number}"));
            let pooled = format!("text.{number}.pooled");
            if pipeline.reference.has(&pooled) {
                let wanted = pipeline.reference.values(&pooled);
                assert_near(&encoded.pooled, &wanted, &format!("{name}: {pooled}"));
            } else {
                assert!(encoded.pooled.is_empty());
            }
        }
    }
}

/// What the two entries of the recorded steps were told.
fn recorded_conditions(pipeline: &mut Pipeline) -> [Conditioning; 2] {
    let prompts = pipeline.reference.prompts();
    [0, 2].map(|number: usize| {
        let tokens = pipeline.tokens(&prompts[number]);
        pipeline.model.encode_prompt(&tokens, &threads(1)).unwrap()
    })
}

#[test]
fn a_step_of_the_network_is_the_same_at_every_size_and_in_any_company() {
    for name in NAMES {
        let mut pipeline = Pipeline::load(name);
        let conditions = recorded_conditions(&mut pipeline);
        let timesteps = pipeline.reference.values("unet.timesteps");
        let is_told = pipeline.model.description().guidance == GuidanceKind::Embedded;
        assert_eq!(is_told, name == "lcm");
        for size in 0.. {
            let latents = format!("unet.{size}.latents");
            if !pipeline.reference.has(&latents) {
                assert!(size > 1);
                break;
            }
            let shape = pipeline.reference.shape(&latents);
            let latents = pipeline.reference.values(&latents);
            let (height, width) = (shape[2], shape[3]);
            let entries: Vec<Denoise<'_>> = (0..2)
                .map(|entry| Denoise {
                    latents: &latents[entry * latents.len() / 2..][..latents.len() / 2],
                    width,
                    height,
                    timestep: timesteps[entry],
                    conditioning: &conditions[entry],
                    guidance: is_told.then_some([7.5, 2.0][entry]),
                })
                .collect();
            let together = pipeline.model.predict(&entries, &threads(2)).unwrap();
            let wanted = pipeline.reference.values(&format!("unet.{size}.out"));
            let what = format!("{name}: {width} x {height}");
            assert_near(&together.concat(), &wanted, &what);
            for (entry, together) in entries.iter().zip(together) {
                let alone = pipeline.model.predict(&[*entry], &threads(1)).unwrap();
                assert_eq!(alone[0], together, "{what}: to the bit");
            }
        }
    }
}

#[test]
fn the_autoencoder_encodes_and_decodes_the_same() {
    for name in NAMES {
        let mut pipeline = Pipeline::load(name);
        let shape = pipeline.reference.shape("vae.pixels");
        let pixels = pipeline.reference.bytes("vae.pixels");
        let picture = RgbImage::new(shape[1] as u32, shape[0] as u32, pixels).unwrap();
        let noise = pipeline.reference.values("vae.noise");
        let none = vec![0.0; noise.len()];
        for (noise, wanted) in [(&none, "vae.mean"), (&noise, "vae.drawn")] {
            let encoded = pipeline.model.encode_picture(&picture, noise, &threads(2));
            let wanted_values = pipeline.reference.values(wanted);
            assert_near(
                &encoded.unwrap(),
                &wanted_values,
                &format!("{name}: {wanted}"),
            );
        }
        let shape = pipeline.reference.shape("vae.latents");
        let latents = pipeline.reference.values("vae.latents");
        let decoded = pipeline
            .model
            .decode(&latents, shape[2], shape[1], &threads(2))
            .unwrap();
        let wanted = pipeline.reference.values("vae.decoded");
        assert_pixels(&decoded, &wanted, name);
    }
}

/// Within one of 255.
fn assert_pixels(picture: &RgbImage, wanted: &[f32], what: &str) {
    assert_eq!(picture.pixels().len(), wanted.len(), "{what}");
    let pairs = picture.pixels().iter().zip(wanted);
    let far = pairs.filter(|(made, wanted)| (f32::from(**made) - **wanted).abs() > 1.0);
    assert_eq!(far.count(), 0, "{what}");
}

/// No noise is drawn between steps.
struct NoNoise;

impl NoiseSource for NoNoise {
    fn fill(&mut self, _values: &mut [f32]) {
        panic!("the solver draws noise");
    }
}

/// One recorded painting.
struct Painted {
    pipeline: &'static str,
    record: &'static str,
    kind: SchedulerKind,
    prompt: usize,
    negative: Option<&'static str>,
    steps: usize,
    guidance: f32,
}

fn check_painting(painted: &Painted) {
    let Painted {
        pipeline: name,
        record,
        guidance,
        ..
    } = *painted;
    let mut pipeline = Pipeline::load(name);
    let mut condition = |prompt: &str, is_absent| {
        let mut tokens = pipeline.tokens(prompt);
        tokens.is_absent = is_absent;
        pipeline.model.encode_prompt(&tokens, &threads(2)).unwrap()
    };
    let prompts = super::pipeline::Reference::of(name).prompts();
    let wanted = condition(&prompts[painted.prompt], false);
    let negative = painted.negative;
    let unwanted = condition(negative.unwrap_or_default(), negative.is_none());

    let shape = pipeline.reference.shape(&format!("{record}.noise"));
    let (height, width) = (shape[1], shape[2]);
    let mut latents = pipeline.reference.values(&format!("{record}.noise"));
    let steps = pipeline.reference.values(&format!("{record}.steps"));
    let schedule = pipeline.model.description().schedule.clone();
    let plan = PaintingPlan::new(painted.kind, painted.steps);
    let mut scheduler = schedule.scheduler(&plan).unwrap();
    scheduler.begin(&mut latents);
    let mut input = Vec::new();
    for after in steps.chunks_exact(latents.len()) {
        scheduler.scale_input(&latents, &mut input);
        let entry = |conditioning| Denoise {
            latents: &input,
            width,
            height,
            timestep: scheduler.timestep().unwrap(),
            conditioning,
            guidance: None,
        };
        let batch = [entry(&wanted), entry(&unwanted)];
        let predicted = pipeline.model.predict(&batch, &threads(2)).unwrap();
        let pairs = predicted[0].iter().zip(&predicted[1]);
        let guided: Vec<f32> = pairs
            .map(|(with, without)| without + guidance * (with - without))
            .collect();
        scheduler.step(&guided, &mut latents, &mut NoNoise).unwrap();
        let what = format!("{name}: {record}, step {}", scheduler.done());
        assert_near(&latents, after, &what);
    }
    assert_eq!(scheduler.done(), painted.steps);
    let picture = pipeline
        .model
        .decode(&latents, width, height, &threads(2))
        .unwrap();
    let pixels = pipeline.reference.values(&format!("{record}.pixels"));
    assert_pixels(&picture, &pixels, name);
}

#[test]
fn stable_diffusion_1_paints_the_same() {
    check_painting(&Painted {
        pipeline: "sd15",
        record: "ddim",
        kind: SchedulerKind::Ddim,
        prompt: 0,
        negative: Some("dog"),
        steps: 4,
        guidance: 5.0,
    });
}

#[test]
fn stable_diffusion_2_paints_the_same_by_velocities() {
    check_painting(&Painted {
        pipeline: "sd21",
        record: "ddim",
        kind: SchedulerKind::Ddim,
        prompt: 2,
        negative: None,
        steps: 4,
        guidance: 7.5,
    });
}

#[test]
fn sdxl_paints_the_same_and_takes_zeros_for_no_negative_prompt() {
    check_painting(&Painted {
        pipeline: "sdxl",
        record: "euler",
        kind: SchedulerKind::Euler,
        prompt: 0,
        negative: None,
        steps: 4,
        guidance: 5.0,
    });
    check_painting(&Painted {
        pipeline: "sdxl",
        record: "negative",
        kind: SchedulerKind::Euler,
        prompt: 0,
        negative: Some(""),
        steps: 2,
        guidance: 3.0,
    });
}

#[test]
fn pictures_do_not_depend_on_the_number_of_threads() {
    let mut pipeline = Pipeline::load("sd15");
    let mut latents = vec![0.0; 4 * 9 * 13];
    NormalNoise::new(5, Purpose::Latents).fill(&mut latents);
    let of_one = pipeline.model.decode(&latents, 13, 9, &threads(1)).unwrap();
    for count in [2, 3, 8] {
        let of_many = pipeline
            .model
            .decode(&latents, 13, 9, &threads(count))
            .unwrap();
        assert_eq!(of_one, of_many);
    }
}

#[test]
fn each_part_is_counted_with_what_it_takes() {
    let folder = open("sdxl");
    let parts: Vec<_> = folder.part_bytes().iter().map(|(name, _)| *name).collect();
    assert_eq!(parts, ["text_encoder", "text_encoder_2", "unet", "vae"]);
    for (part, bytes) in folder.part_bytes() {
        let files = std::fs::read_dir(folder.path().join(part)).unwrap();
        let stored: u64 = files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        // Halves are widened; the rest of the files are names.
        assert!((stored / 2..=2 * stored).contains(bytes), "{part}: {bytes}");
    }
    let sum: u64 = folder.part_bytes().iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(folder.weight_bytes(), sum);
    assert!(folder.worker_bytes() > 0);
}

/// One recorded adapter, merged at the strength that the script used.
fn check_adapter(name: &str, adapter: &str) {
    let path = super::pipeline::data(name).join(format!("{adapter}.safetensors"));
    let plain = Pipeline::load(name);
    let mut pipeline = Pipeline::load_with(name, DiffusionOptions::default().adapter(path, 0.8));
    let conditions = recorded_conditions(&mut pipeline);
    let wanted = pipeline.reference.values(&format!("{adapter}.hidden"));
    assert_near(
        &conditions[0].hidden,
        &wanted,
        &format!("{name}: {adapter}, text"),
    );
    let latents = pipeline.reference.values("unet.0.latents");
    let timesteps = pipeline.reference.values("unet.timesteps");
    let entries: Vec<Denoise<'_>> = (0..2)
        .map(|entry| Denoise {
            latents: &latents[entry * latents.len() / 2..][..latents.len() / 2],
            width: 8,
            height: 8,
            timestep: timesteps[entry],
            conditioning: &conditions[entry],
            guidance: None,
        })
        .collect();
    let made = pipeline
        .model
        .predict(&entries, &threads(2))
        .unwrap()
        .concat();
    let wanted = pipeline.reference.values(&format!("{adapter}.out"));
    assert_near(&made, &wanted, &format!("{name}: {adapter}, a step"));
    let without = plain.reference.values("unet.0.out");
    let changed = made
        .iter()
        .zip(&without)
        .any(|(made, plain)| (made - plain).abs() > 0.01);
    assert!(changed, "{adapter} tells");
}

#[test]
fn adapters_of_every_tool_are_merged() {
    for (name, adapter) in [
        ("sd15", "kohya"),
        ("sd15", "processors"),
        ("sdxl", "peft"),
        ("sdxl", "counted"),
    ] {
        check_adapter(name, adapter);
    }
}
