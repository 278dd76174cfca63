"""Makes the painter of the demonstration: Stable Diffusion's architecture, a few megabytes, trained on clothes.

    python train_painter.py --data FASHION_MNIST_FOLDER --work SCRATCH_FOLDER --out ../../assets/painter
    python evaluate_painter.py --pipeline ../../assets/painter --data … --classifier efficientnet-lite0.pth

The pictures are Fashion-MNIST (https://github.com/zalandoresearch/fashion-mnist, MIT licence; Debian
has it as the package dataset-fashion-mnist), 28 × 28 grey, here with a black margin to 32 × 32 and
as RGB. The prompts are class words in a few sentences ("a photo of a dark sneaker"). Dark and light
are the darkest and the lightest third of a class.

Three parts, as in "High-Resolution Image Synthesis with Latent Diffusion Models" (Rombach et al.,
CVPR 2022): an autoencoder to 8 × 8 latents of four channels; a CLIP text model with a byte-pair
tokenizer of its own small vocabulary; a U-Net with cross attention, which is trained together with
the text model to predict the velocity. One caption in ten is empty, so that guidance works
without a classifier. The loss is weighed by min-SNR (Hang et al., ICCV 2023), gamma 5; the weights
that are saved are the moving average.

The autoencoder is kept in the scratch folder when it is done and taken from there by the next run;
the pipeline is saved every 500 steps. The one in the repository is that of step 3000 of 5000: one
core, beside other work, took six minutes for the autoencoder and forty for those steps.
Requirements: torch, diffusers, transformers, numpy.
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from clothes import CLASSES, TEMPLATES, captions, pictures
from word_pieces import write_tokenizer

LENGTH = 32
WIDTH = 64


def autoencoder():
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 24, 48),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=32,
    )


def text_model(tokenizer):
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def noise_model():
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(48, 64),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def noise_schedule():
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="v_prediction",
    )


class Average:
    """The moving average of a model's weights."""

    def __init__(self, model, decay):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.seen = 0

    @torch.no_grad()
    def add(self, model):
        self.seen += 1
        decay = min(self.decay, (1 + self.seen) / (10 + self.seen))
        for mean, new in zip(self.model.parameters(), model.parameters()):
            mean.lerp_(new, 1 - decay)


def rate(step, steps, peak):
    """Warms up over 3 %, then falls along a cosine."""
    warm = 0.03 * steps
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm))))


def set_rate(optimizer, value):
    for group in optimizer.param_groups:
        group["lr"] = value


def scaled(batch):
    """Bytes [n, 32, 32] to RGB in -1..1, [n, 3, 32, 32]."""
    return (torch.from_numpy(batch).float() / 127.5 - 1)[:, None].expand(-1, 3, -1, -1)


def edges(image):
    return image.diff(dim=-1), image.diff(dim=-2)


def train_autoencoder(images, steps, batch, generator):
    model = autoencoder().to(memory_format=torch.channels_last)
    average = Average(model, 0.998)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=1e-4)
    started = time.time()
    for step in range(steps):
        set_rate(optimizer, rate(step, steps, 2e-3))
        chosen = torch.randint(len(images), (batch,), generator=generator).numpy()
        target = scaled(images[chosen]).contiguous(memory_format=torch.channels_last)
        posterior = model.encode(target).latent_dist
        made = model.decode(posterior.sample(generator)).sample
        error = (made - target).square().mean()
        edge = sum((a - b).abs().mean() for a, b in zip(edges(made), edges(target)))
        spread = posterior.kl().mean() / posterior.mean[0].numel()
        loss = error + 0.1 * (made - target).abs().mean() + 0.1 * edge + 1e-3 * spread
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.add(model)
        if step % 50 == 0:
            print(f"autoencoder {step}: error {error:.4f}, spread {spread:.2f}, {time.time() - started:.0f} s", flush=True)
    return average.model


@torch.no_grad()
def latents_of(model, images):
    """Mean and deviation of each picture's latent."""
    parts = [model.encode(scaled(images[at : at + 500])).latent_dist for at in range(0, len(images), 500)]
    return torch.cat([part.mean for part in parts]), torch.cat([part.std for part in parts])


def tokens_of(tokenizer, texts):
    padded = tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    return padded.input_ids


def train_noise_model(mean, deviation, labels, shades, tokenizer, steps, batch, generator, keep):
    """The U-Net and the text model together. `keep` takes both averages from time to time."""
    text, unet = text_model(tokenizer), noise_model()
    text_average, unet_average = Average(text, 0.999), Average(unet, 0.999)
    parameters = [*text.parameters(), *unet.parameters()]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=1e-2)
    alphas = noise_schedule().alphas_cumprod
    started, shown = time.time(), 0.0
    for step in range(steps):
        set_rate(optimizer, rate(step, steps, 2e-3))
        chosen = torch.randint(len(mean), (batch,), generator=generator)
        clean = mean[chosen] + deviation[chosen] * torch.randn(mean[chosen].shape, generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        time_step = torch.randint(len(alphas), (batch,), generator=generator)
        alpha = alphas[time_step].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean

        # One sentence for all pictures of one kind: few sentences go through the text model.
        template = int(torch.randint(len(TEMPLATES), (1,), generator=generator))
        sentences = ["", *captions(template)]
        plain = torch.rand(batch, generator=generator) < 0.5
        row = 1 + labels[chosen] * 3 + torch.where(plain, 0, shades[chosen])
        row[torch.rand(batch, generator=generator) < 0.1] = 0
        used, row = row.unique(return_inverse=True)
        states = text(tokens_of(tokenizer, [sentences[at] for at in used])).last_hidden_state

        made = unet(noisy, time_step, states[row]).sample
        signal = alphas[time_step] / (1 - alphas[time_step])
        weight = signal.clamp(max=5) / (signal + 1)
        loss = (weight * (made - velocity).square().mean(dim=(1, 2, 3))).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        text_average.add(text)
        unet_average.add(unet)
        shown = loss.item() if step == 0 else 0.98 * shown + 0.02 * loss.item()
        if step % 100 == 0:
            print(f"noise model {step}: loss {shown:.4f}, {time.time() - started:.0f} s", flush=True)
        if step % 500 == 499:
            print(f"kept at {step}", flush=True)
            keep(text_average.model, unet_average.model)
    return text_average.model, unet_average.model


def save(out, vae, text, tokenizer_folder, unet):
    """The pipeline as diffusers saves it, in half precision."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=CLIPTokenizer.from_pretrained(tokenizer_folder),
        unet=unet,
        scheduler=noise_schedule(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    copy.deepcopy(pipeline).to(dtype=torch.float16).save_pretrained(out)
    config = json.loads((out / "vae/config.json").read_text())
    config.pop("_name_or_path", None)
    (out / "vae/config.json").write_text(json.dumps(config, indent=2) + "\n")
    # The tokenizer as the first pipelines have it: a vocabulary and merges.
    for name in ("vocab.json", "merges.txt"):
        (out / "tokenizer" / name).write_bytes((tokenizer_folder / name).read_bytes())
    (out / "tokenizer/tokenizer.json").unlink(missing_ok=True)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--pictures", type=int, default=30_000)
    arguments.add_argument("--autoencoder-steps", type=int, default=1000)
    arguments.add_argument("--steps", type=int, default=5000)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(6)
    generator = torch.Generator().manual_seed(6)
    given.work.mkdir(parents=True, exist_ok=True)

    images, labels, shades = (part[: given.pictures] for part in pictures(given.data, "train"))
    vae_folder = given.work / "vae"
    if not vae_folder.exists():
        vae = train_autoencoder(images, given.autoencoder_steps, 32, generator)
        mean, deviation = latents_of(vae, images[:5000])
        vae.register_to_config(scaling_factor=float(1 / (mean.square() + deviation.square()).mean().sqrt()))
        vae.save_pretrained(vae_folder)
    # Trained in f32 and kept in f16: what the U-Net learns is the latents of the rounded weights.
    vae = AutoencoderKL.from_pretrained(vae_folder).half().float().eval().requires_grad_(False)
    test, _, _ = pictures(given.data, "t10k")
    with torch.no_grad():
        again = vae.decode(vae.encode(scaled(test[:500])).latent_dist.mean).sample
    error = (again - scaled(test[:500])).square().mean()
    print(f"autoencoder on pictures it has not seen: {10 * math.log10(4 / error):.1f} dB", flush=True)

    mean, deviation = latents_of(vae, images)
    scale = vae.config.scaling_factor
    tokenizer_folder = given.work / "tokenizer"
    write_tokenizer(tokenizer_folder, [text for at in range(len(TEMPLATES)) for text in captions(at)], LENGTH)
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    text, unet = train_noise_model(
        mean * scale,
        deviation * scale,
        torch.from_numpy(labels).long(),
        torch.from_numpy(shades).long(),
        tokenizer,
        given.steps,
        64,
        generator,
        lambda text, unet: save(given.out, vae, text, tokenizer_folder, unet),
    )
    save(given.out, vae, text, tokenizer_folder, unet)
    sizes = {str(file.relative_to(given.out)): file.stat().st_size for file in given.out.rglob("*.safetensors")}
    print(json.dumps({"classes": CLASSES, "bytes": sizes}, indent=1))


if __name__ == "__main__":
    main()
