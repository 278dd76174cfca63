"""Paintings as diffusers' schedulers walk them, with a model that is made up.

    python scripts/reference/schedulers.py

writes to tests/data/diffusion/schedulers: NAME.json, a scheduler_config.json as pipelines on the hub have it;
cases.json, which solver walks which of them in how many steps; and cases.safetensors, for each case I:
I.timesteps, I.latents (the first row is what it begins with, then one row a step), I.noise (what it was given
to begin with), I.picture (for image-to-image) and I.drawn (what was drawn in the steps). The made-up model is
`model` below: elementary arithmetic on what it sees.
"""

import json
import pathlib

import diffusers
import numpy as np
import torch
from safetensors.numpy import save_file

torch.set_num_threads(1)
OUT = pathlib.Path(__file__).parents[2] / "tests/data/diffusion/schedulers"
VALUES = 12

LATENT = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
CONFIGS = {
    # As the hub has them.
    "sd15": dict(_class_name="PNDMScheduler", _diffusers_version="0.6.0", **LATENT, set_alpha_to_one=False,
                 skip_prk_steps=True, steps_offset=1, trained_betas=None, clip_sample=False),
    "sd21": dict(_class_name="DDIMScheduler", _diffusers_version="0.8.0", **LATENT, clip_sample=False,
                 prediction_type="v_prediction", set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1,
                 trained_betas=None),
    "sdxl": dict(_class_name="EulerDiscreteScheduler", _diffusers_version="0.19.0.dev0", **LATENT,
                 clip_sample=False, interpolation_type="linear", prediction_type="epsilon",
                 sample_max_value=1.0, set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1,
                 timestep_spacing="leading", trained_betas=None, use_karras_sigmas=False),
    "turbo": dict(_class_name="EulerAncestralDiscreteScheduler", _diffusers_version="0.23.0.dev0", **LATENT,
                  clip_sample=False, interpolation_type="linear", prediction_type="epsilon",
                  rescale_betas_zero_snr=False, sample_max_value=1.0, set_alpha_to_one=False,
                  skip_prk_steps=True, steps_offset=1, timestep_spacing="trailing", trained_betas=None,
                  use_karras_sigmas=False),
    "dpm-karras": dict(_class_name="DPMSolverMultistepScheduler", **LATENT, algorithm_type="dpmsolver++",
                       solver_order=2, solver_type="midpoint", lower_order_final=True, use_karras_sigmas=True,
                       lambda_min_clipped=-float("inf"), variance_type=None, thresholding=False),
    "heun": dict(_class_name="DPMSolverMultistepScheduler", **LATENT, solver_type="heun",
                 lower_order_final=False, final_sigmas_type="sigma_min", prediction_type="v_prediction",
                 timestep_spacing="trailing"),
    "unipc": dict(_class_name="UniPCMultistepScheduler", **LATENT, solver_type="bh1", solver_order=2,
                  timestep_spacing="leading", steps_offset=1, lower_order_final=False,
                  final_sigmas_type="sigma_min"),
    "lcm": dict(_class_name="LCMScheduler", **LATENT, clip_sample=False, clip_sample_range=1.0,
                original_inference_steps=50, prediction_type="epsilon", set_alpha_to_one=False,
                steps_offset=1, timestep_scaling=10.0, timestep_spacing="leading"),
    "zero-snr": dict(_class_name="DDIMScheduler", **LATENT, clip_sample=False, prediction_type="v_prediction",
                     rescale_betas_zero_snr=True, set_alpha_to_one=True, timestep_spacing="trailing"),
    "cosine": dict(_class_name="DDIMScheduler", beta_schedule="squaredcos_cap_v2", num_train_timesteps=500,
                   prediction_type="epsilon", clip_sample=True, clip_sample_range=2.0,
                   timestep_spacing="linspace"),
    "sample": dict(_class_name="DDIMScheduler", beta_start=0.0001, beta_end=0.02, beta_schedule="linear",
                   num_train_timesteps=200, prediction_type="sample"),
    "trained": dict(_class_name="DDIMScheduler", num_train_timesteps=40, clip_sample=False,
                    trained_betas=[0.001 + 0.002 * step for step in range(40)], prediction_type="v_prediction"),
    "flux-dev": dict(_class_name="FlowMatchEulerDiscreteScheduler", _diffusers_version="0.30.0.dev0",
                     base_image_seq_len=256, base_shift=0.5, max_image_seq_len=4096, max_shift=1.15,
                     num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=True),
    "flux-schnell": dict(_class_name="FlowMatchEulerDiscreteScheduler", _diffusers_version="0.30.0.dev0",
                         base_image_seq_len=256, base_shift=0.5, max_image_seq_len=4096, max_shift=1.15,
                         num_train_timesteps=1000, shift=1.0, use_dynamic_shifting=False),
    "sd3": dict(_class_name="FlowMatchEulerDiscreteScheduler", _diffusers_version="0.29.0.dev0",
                num_train_timesteps=1000, shift=3.0),
    "linear-shift": dict(_class_name="FlowMatchEulerDiscreteScheduler", num_train_timesteps=1000,
                         use_dynamic_shifting=True, time_shift_type="linear", shift_terminal=0.1),
}
CLASSES = {
    "ddim": "DDIMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
    "dpm_solver_plus_plus": "DPMSolverMultistepScheduler",
    "uni_pc": "UniPCMultistepScheduler",
    "lcm": "LCMScheduler",
    "flow_match_euler": "FlowMatchEulerDiscreteScheduler",
}


def cases():
    solvers = ["ddim", "euler", "euler_ancestral", "dpm_solver_plus_plus", "uni_pc"]
    for name in ["sd15", "sd21", "sdxl", "turbo", "dpm-karras", "zero-snr", "heun", "unipc"]:
        for kind in solvers:
            if name == "dpm-karras" and kind == "euler_ancestral":
                continue
            for steps in [1, 4, 20] + ([31] if kind in ("dpm_solver_plus_plus", "uni_pc") else []):
                yield dict(config=name, kind=kind, steps=steps)
            yield dict(config=name, kind=kind, steps=10, strength=0.7)
    for kind in ["ddim", "euler", "dpm_solver_plus_plus", "uni_pc"]:
        for name in ["cosine", "sample", "trained"]:
            yield dict(config=name, kind=kind, steps=9)
    for name in ["lcm", "sd15"]:
        for steps in [1, 4, 7]:
            yield dict(config=name, kind="lcm", steps=steps)
    yield dict(config="lcm", kind="lcm", steps=8, strength=0.5)
    for steps in [1, 4, 28]:
        for tokens in [64, 1024, 4096]:
            yield dict(config="flux-dev", kind="flow_match_euler", steps=steps, tokens=tokens, even=True)
        yield dict(config="flux-schnell", kind="flow_match_euler", steps=steps, tokens=1024, even=True)
        yield dict(config="sd3", kind="flow_match_euler", steps=steps)
        if steps > 1:
            yield dict(config="linear-shift", kind="flow_match_euler", steps=steps, tokens=1024, even=True)
    yield dict(config="flux-dev", kind="flow_match_euler", steps=10, tokens=1024, even=True, strength=0.6)


def model(seen, timestep, step, fixed):
    return seen / (1 + seen.abs()) + 0.3 * fixed[step % len(fixed)] + 0.0001 * float(timestep)


def walk(case, rng, fixed):
    config = CONFIGS[case["config"]]
    scheduler = getattr(diffusers, CLASSES[case["kind"]]).from_config(config)
    steps = case["steps"]
    if case["kind"] == "flow_match_euler":
        shift = {}
        if config.get("use_dynamic_shifting"):
            from diffusers.pipelines.flux.pipeline_flux import calculate_shift
            shift = dict(mu=calculate_shift(
                case["tokens"], scheduler.config.base_image_seq_len, scheduler.config.max_image_seq_len,
                scheduler.config.base_shift, scheduler.config.max_shift))
        sigmas = np.linspace(1.0, 1 / steps, steps) if case.get("even") else None
        scheduler.set_timesteps(steps, sigmas=sigmas, **shift) if sigmas is not None else \
            scheduler.set_timesteps(steps, **shift)
    else:
        scheduler.set_timesteps(steps)
    strength = case.get("strength", 1.0)
    first = steps - min(int(steps * strength), steps)
    timesteps = scheduler.timesteps[first:]
    scheduler.set_begin_index(first) if hasattr(scheduler, "set_begin_index") else None
    noise = torch.from_numpy(rng.standard_normal((1, 1, 1, VALUES)).astype(np.float32))
    picture = torch.from_numpy(rng.standard_normal((1, 1, 1, VALUES)).astype(np.float32))
    if "strength" in case:
        add = scheduler.scale_noise if case["kind"] == "flow_match_euler" else None
        latents = add(picture, timesteps[:1], noise) if add else scheduler.add_noise(picture, noise, timesteps[:1])
    else:
        latents = noise * getattr(scheduler, "init_noise_sigma", 1.0)
    rows, drawn = [latents], []

    def recorded(shape, **_):
        drawn.append(torch.from_numpy(rng.standard_normal(tuple(shape)).astype(np.float32)))
        return drawn[-1]

    module = __import__(type(scheduler).__module__, fromlist=["randn_tensor"])
    module.randn_tensor = recorded
    for step, timestep in enumerate(timesteps):
        seen = scheduler.scale_model_input(latents, timestep) if hasattr(scheduler, "scale_model_input") else latents
        latents = scheduler.step(model(seen, timestep, step, fixed), timestep, latents, return_dict=False)[0]
        rows.append(latents)
    made = dict(
        timesteps=timesteps.float().numpy(),
        latents=torch.cat(rows).reshape(-1, VALUES).float().numpy(),
        noise=noise.reshape(VALUES).numpy(),
    )
    assert np.isfinite(made["latents"]).all(), case
    if "strength" in case:
        made["picture"] = picture.reshape(VALUES).numpy()
    if drawn:
        made["drawn"] = torch.cat(drawn).reshape(-1, VALUES).numpy()
    return made


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(11)
    fixed = torch.from_numpy(rng.standard_normal((5, VALUES)).astype(np.float32))
    tensors, listed = {"fixed": fixed.numpy()}, []
    for name, config in CONFIGS.items():
        (OUT / f"{name}.json").write_text(json.dumps(config, indent=2) + "\n")
    for case in cases():
        made = walk(case, rng, fixed)
        for name, values in made.items():
            tensors[f"{len(listed)}.{name}"] = np.ascontiguousarray(values.astype(np.float32))
        listed.append(case)
    (OUT / "cases.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in listed) + "\n]\n")
    save_file(tensors, OUT / "cases.safetensors")
    print(len(listed), "cases, diffusers", diffusers.__version__)


main()
