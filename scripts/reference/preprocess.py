"""Pictures as transformers' processors on Pillow prepare them.

    python scripts/reference/preprocess.py

writes tests/data/images/NAME/preprocessor_config.json, as the processor saves it or as hub folders have
it, and tests/data/images/NAME/pixels.safetensors: picture I of pictures.safetensors [height, width, 3],
which are noise of several shapes, as tensor I [3, height, width]. `filter-NUMBER` only scale, and their
values are 8-bit.
"""

import json
import pathlib

import numpy as np
import transformers as tf
from safetensors.numpy import save_file
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

OUT = pathlib.Path(__file__).parents[2] / "tests/data/images"

# Height and width: smaller and larger than what is wanted, odd and even, strips, a single pixel.
SHAPES = [(37, 53), (54, 38), (16, 16), (9, 70), (61, 11), (1, 1), (18, 14), (120, 97)]

IMAGENET = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
PROCESSORS = {
    # name: (processor, its fields)
    "clip": (CLIPImageProcessorPil, dict(size={"shortest_edge": 18}, crop_size={"height": 18, "width": 18})),
    "clip-padded": (CLIPImageProcessorPil, dict(size={"shortest_edge": 11}, crop_size={"height": 17, "width": 14})),
    "siglip": (SiglipImageProcessorPil, dict(size={"height": 16, "width": 20})),
    "vit": (ViTImageProcessorPil, dict(size={"height": 16, "width": 16})),
    "dinov2": (BitImageProcessorPil, dict(
        size={"shortest_edge": 21}, crop_size={"height": 14, "width": 15}, **IMAGENET)),
    "blip": (BlipImageProcessorPil, dict(size={"height": 19, "width": 19})),
    "efficientnet": (EfficientNetImageProcessorPil, dict(
        size={"height": 18, "width": 18}, resample=0, **IMAGENET)),
    "efficientnet-offset": (EfficientNetImageProcessorPil, dict(
        size={"height": 18, "width": 18}, do_center_crop=True, crop_size={"height": 15, "width": 15},
        rescale_factor=1 / 127.5, rescale_offset=True, include_top=False)),
    "llava": (LlavaImageProcessorPil, dict(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, do_pad=True)),
    "qwen2-vl": (Qwen2VLImageProcessorPil, dict(
        size={"shortest_edge": 400, "longest_edge": 2500}, patch_size=4, merge_size=2)),
    **{f"filter-{number}": (ViTImageProcessorPil, dict(
        size={"height": 23, "width": 17}, resample=number, do_rescale=False, do_normalize=False))
       for number in range(6)},
}
# Files as older hub folders have them; what transformers makes of them is compared all the same.
OLD = {
    "old-clip": (CLIPImageProcessorPil, {
        "feature_extractor_type": "CLIPFeatureExtractor", "size": 15, "crop_size": 13, "resample": 3,
        "do_resize": True, "do_center_crop": True, "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711]}),
    "old-vit": (ViTImageProcessorPil, {
        "feature_extractor_type": "ViTFeatureExtractor", "size": 15, "resample": 2, "do_resize": True,
        "do_normalize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}),
}


def whole(values, grid, processor) -> np.ndarray:
    """A picture [3, height, width] of its patches, which lie square by square and have each pixel twice."""
    patch, merge = processor.patch_size, processor.merge_size
    high, wide = int(grid[1]) // merge, int(grid[2]) // merge
    values = values.reshape(high, wide, merge, merge, 3, 2, patch, patch)
    assert (values[..., 0, :, :] == values[..., 1, :, :]).all()
    values = values[..., 0, :, :].transpose(4, 0, 2, 5, 1, 3, 6)
    return values.reshape(3, high * merge * patch, wide * merge * patch)


def write(name, processor, pictures) -> None:
    folder = OUT / name
    made = {}
    for index, picture in enumerate(pictures):
        values = processor(picture, return_tensors="np", input_data_format="channels_last")
        if name == "qwen2-vl":
            pixels = whole(values["pixel_values"], values["image_grid_thw"][0], processor)
        else:
            pixels = values["pixel_values"][0]
        values = np.ascontiguousarray(pixels)
        made[str(index)] = values.astype(np.uint8 if name.startswith("filter") else np.float32)
    save_file(made, folder / "pixels.safetensors")


def main() -> None:
    rng = np.random.default_rng(5)
    pictures = []
    for height, width in SHAPES:
        # Hard edges, so that sums leave a byte's range, on noise.
        noise = rng.integers(0, 256, (height, width, 3))
        blocks = rng.integers(0, 2, (height // 4 + 1, width // 4 + 1, 3)) * 255
        blocks = blocks.repeat(4, 0).repeat(4, 1)[:height, :width]
        pictures.append(np.where(rng.random((height, width, 1)) < 0.5, noise, blocks).astype(np.uint8))
    OUT.mkdir(parents=True, exist_ok=True)
    save_file({str(i): picture for i, picture in enumerate(pictures)}, OUT / "pictures.safetensors")
    for name, (kind, fields) in PROCESSORS.items():
        (OUT / name).mkdir(exist_ok=True)
        processor = kind(**fields)
        processor.save_pretrained(OUT / name)
        write(name, processor, pictures)
    for name, (kind, fields) in OLD.items():
        (OUT / name).mkdir(exist_ok=True)
        (OUT / name / "preprocessor_config.json").write_text(json.dumps(fields, indent=2) + "\n")
        write(name, kind.from_pretrained(OUT / name), pictures)
    print(tf.__version__)


main()
