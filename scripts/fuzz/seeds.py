"""Writes the seeds of the fuzz targets into tests/fuzz/corpus: small sound inputs of every kind.

    python3 scripts/fuzz/seeds.py

Needs nothing but Python. The targets themselves are in tests/fuzz.
"""

import base64
import json
import struct
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests/fuzz/corpus"
DATA = ROOT / "tests/data"

U8, I8, U16, I16, U32, I32, F32, BOOL, STR, ARR, U64, I64, F64 = range(13)
PACKED = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}


def write(target, name, content):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, content):
    if kind == STR:
        return text(content)
    if kind == ARR:
        element, items = content
        return struct.pack("<IQ", element, len(items)) + b"".join(value(element, item) for item in items)
    return struct.pack("<" + PACKED[kind], content)


def gguf(metadata, tensors):
    """`tensors`: name, dimensions, GGML type, bytes."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, (kind, content) in metadata.items():
        head += text(key) + struct.pack("<I", kind) + value(kind, content)
    body = b""
    for name, shape, kind, data in tensors:
        body += b"\0" * (-len(body) % 32)
        head += text(name) + struct.pack("<I", len(shape))
        head += b"".join(struct.pack("<Q", size) for size in shape)
        head += struct.pack("<IQ", kind, len(body))
        body += data
    return head + b"\0" * (-len(head) % 32) + body


def safetensors(tensors):
    """`tensors`: name, dtype, shape, bytes."""
    header, body = {}, b""
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + body


def gguf_seeds():
    every_kind = {f"kind.{kind}": (kind, 1) for kind in PACKED}
    every_kind["kind.text"] = (STR, "some text")
    for kind in (U32, I32, F32, BOOL):
        every_kind[f"many.{kind}"] = (ARR, (kind, [1, 0, 1]))
    every_kind["many.text"] = (ARR, (STR, ["one", "", "three"]))
    every_kind["many.many"] = (ARR, (ARR, [(U8, [1, 2]), (U8, [])]))
    blocks = [
        ("plain.weight", [2, 2], 0, struct.pack("<4f", 1, 2, 3, 4)),
        ("blocks.weight", [32], 8, struct.pack("<e32b", 1.0, *range(32))),
    ]
    write("gguf", "every_kind.gguf", gguf(every_kind, blocks))

    letters = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]
    words = letters + ["th", "the", "Ġa", "<|end|>"]
    bpe = {
        "general.architecture": (STR, "llama"),
        "tokenizer.ggml.model": (STR, "gpt2"),
        "tokenizer.ggml.pre": (STR, "smollm"),
        "tokenizer.ggml.tokens": (ARR, (STR, words)),
        "tokenizer.ggml.token_type": (ARR, (I32, [1] * (len(words) - 1) + [3])),
        "tokenizer.ggml.merges": (ARR, (STR, ["t h", "th e", "Ġ a"])),
        "tokenizer.ggml.bos_token_id": (U32, len(words) - 1),
        "tokenizer.ggml.eos_token_id": (U32, len(words) - 1),
        "tokenizer.ggml.add_bos_token": (BOOL, True),
        "tokenizer.chat_template": (STR, "{% for message in messages %}{{ message.content }}{% endfor %}"),
    }
    write("gguf_model", "bpe.gguf", gguf(bpe, []))
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + ["▁", "▁a", "b", "ab"]
    kinds = [2, 3, 3] + [6] * 256 + [1] * 4
    sentencepiece = {
        "general.architecture": (STR, "gemma3"),
        "tokenizer.ggml.model": (STR, "llama"),
        "tokenizer.ggml.tokens": (ARR, (STR, pieces)),
        "tokenizer.ggml.scores": (ARR, (F32, [-float(place) for place in range(len(pieces))])),
        "tokenizer.ggml.token_type": (ARR, (I32, kinds)),
        "tokenizer.ggml.unknown_token_id": (U32, 0),
        "tokenizer.ggml.bos_token_id": (U32, 1),
        "tokenizer.ggml.eos_token_id": (U32, 2),
    }
    write("gguf_model", "sentencepiece.gguf", gguf(sentencepiece, []))


def table_seeds():
    vocabulary = json.loads((DATA / "encoder/bert/tokenizer.json").read_text())["model"]["vocab"]
    rows = len(vocabulary)
    table = safetensors([
        ("embeddings", "I8", [rows, 4], bytes(place % 251 for place in range(rows * 4))),
    ])
    write("static_weights", "table.safetensors", table)
    scaled = safetensors([
        ("embeddings", "F32", [2, 2], struct.pack("<4f", 1, 2, 3, 4)),
        ("weights", "F32", [2], struct.pack("<2f", 0.5, 2)),
    ])
    write("static_weights", "scaled.safetensors", scaled)
    write("static_folder", "config.json", b"\0" + b'{"normalize": true}')
    write("static_folder", "table.safetensors", b"\2" + table)


def folder_seeds():
    """The first byte is the file's number in the target's list."""
    folders = {
        "encoder_folder": ("encoder/bert", [
            "config.json", "modules.json", "tokenizer.json", "tokenizer_config.json",
            "1_Pooling/config.json", "config_sentence_transformers.json", "sentence_bert_config.json",
        ]),
        "decoder_folder": ("decoder/llama", ["config.json"]),
        "tokenizer_folder": ("encoder/qwen3", ["tokenizer.json", "tokenizer_config.json"]),
    }
    for target, (folder, names) in folders.items():
        for number, name in enumerate(names):
            content = (DATA / folder / name).read_bytes()
            write(target, name.replace("/", "_"), bytes([number]) + content)
    for other in ["xlm-roberta", "modernbert", "distilbert"]:
        config = (DATA / "encoder" / other / "config.json").read_bytes()
        write("encoder_folder", f"{other}.json", b"\0" + config)
    for other in ["gemma3", "phi4", "qwen2_window", "smollm3"]:
        config = (DATA / "decoder" / other / "config.json").read_bytes()
        write("decoder_folder", f"{other}.json", b"\0" + config)
    # A header of the weights' own, without most of the weights.
    write("encoder_folder", "weights.safetensors", bytes([7]) + safetensors([
        ("embeddings.word_embeddings.weight", "F32", [1, 1], struct.pack("<f", 1)),
    ]))
    write("decoder_folder", "weights.safetensors", bytes([1]) + safetensors([
        ("model.embed_tokens.weight", "BF16", [1, 1], b"\0\0"),
    ]))


def hub_seeds():
    def answer(body, *headers):
        lines = ["HTTP/1.1 200 OK", f"content-length: {len(body)}", "connection: close", *headers]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    listing = json.dumps({
        "sha": "0123456789abcdef0123456789abcdef01234567",
        "siblings": [{"rfilename": "config.json", "size": 2}, {"rfilename": "tokenizer.json"}],
    }).encode()
    etag = 'etag: "abc"'
    answers = [answer(listing), answer(b"{}", etag), answer(b"{}", etag)]
    write("hub_answers", "two_files.http", b"\n----\n".join(answers))
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    write("hub_answers", "chunked.http", chunked)
    write("hub_answers", "refused.http", b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")


def onnx(nodes, tensors=()):
    """An ONNX file of (operator, inputs, output, attributes) nodes from x to y, by its wire format."""
    def field(number, content):
        if isinstance(content, int):
            return varint(number << 3) + varint(content)
        return varint(number << 3 | 2) + varint(len(content)) + content

    def varint(count):
        return bytes([count]) if count < 128 else bytes([count & 127 | 128]) + varint(count >> 7)

    def attribute(name, value):
        ints = value if isinstance(value, (list, tuple)) else None
        body = b"".join(field(8, int_) for int_ in ints) if ints else field(3, value)
        return field(1, name) + body + field(20, 7 if ints else 2)

    graph = b""
    for operator, inputs, output, attributes in nodes:
        node = b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, operator)
        node += b"".join(field(5, attribute(*item)) for item in attributes.items())
        graph += field(1, node)
    for name, shape, values in tensors:
        tensor = b"".join(field(1, side) for side in shape) + field(2, 1) + field(8, name)
        graph += field(5, tensor + field(9, struct.pack(f"<{len(values)}f", *values)))
    graph += field(11, field(1, b"x")) + field(12, field(1, b"y"))
    return field(7, graph) + field(8, field(2, 11))


def png(width, height, pixels):
    """A PNG of RGB pixels."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    row = 3 * width
    rows = b"".join(b"\0" + pixels[row * y:row * (y + 1)] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))


def tiff_entries(width, height):
    """A directory of one strip of RGB pixels that follow it."""
    entries = [(256, width), (257, height), (258, 8), (259, 1), (262, 2), (273, 0), (277, 3),
               (278, height), (279, 3 * width * height)]
    end = 8 + 2 + 12 * len(entries) + 4
    packed = b"".join(struct.pack("<HHII", tag, 4, 1, end if tag == 273 else value)
                      for tag, value in entries)
    return struct.pack("<H", len(entries)) + packed + b"\0\0\0\0"


def input_seeds():
    write("options", "generation.json", json.dumps({
        "max_tokens": 16, "temperature": 0.7, "top_k": 40, "top_p": 0.9, "min_p": 0.05,
        "repetition_penalty": 1.1, "repetition_window": 64, "frequency_penalty": 0.0,
        "presence_penalty": 0.0, "seed": 1, "logprobs": 3, "stop": ["\n\n"], "n": 2,
        "ignore_eos": False, "overlong": "TruncateStart",
        "time_to_first_token": {"secs": 1, "nanos": 0},
    }).encode())
    write("options", "embed.json", b'{"task": {"Named": "query"}, "dimensions": 64}')
    write("options", "request.json", b'{"deadline": {"secs": 1, "nanos": 5}, "priority": "Batch"}')
    write("options", "chat.json", b'[{"role": "user", "content": "hello"}]')
    write("options", "image.json", json.dumps({
        "negative_prompt": "blurry", "guidance": 5.0, "width": 64, "height": 32, "steps": 4, "seed": 1,
        "images": 2, "scheduler": "dpm_solver_plus_plus", "init": {"bytes": [1]}, "strength": 0.5,
        "preview_every": 2,
    }).encode())
    for name in ["sd15", "turbo", "dpm-karras", "zero-snr", "flux-dev"]:
        write("schedules", f"{name}.json", (DATA / f"diffusion/schedulers/{name}.json").read_bytes())
    write("texts", "mixed.txt", "It’s 10°C — “Straße”, 日本語 👩‍👩‍👧\r\n\0 end".encode())
    write("texts", "broken.txt", b"half \xe2\x82 and \xff and \xf0\x9f")
    write("sampling", "row.f32", struct.pack("<6f2I", 0.7, 0.9, 0.05, 1.1, 0.1, 0.1, 5, 3)
          + struct.pack("<12f", *[place * 0.37 % 3 for place in range(12)]))
    write("stop_strings", "stops.txt", "end\n\U0001f600!\nab\nsome\ntext e\nnd of it\n".encode())
    write("templates", "turns.jinja", b"{% for message in messages %}<|{{ message.role }}|>"
          b"{{ message['content'] | trim }}{% if loop.last and add_generation_prompt %}"
          b"<|assistant|>{% endif %}{% endfor %}")
    write("templates", "macro.jinja", b"{%- macro turn(m, n=1) -%}{{ m.role.upper() ~ n }}{%- endmacro -%}"
          b"{% set ns = namespace(i=0) %}{% for m in messages if m.role != 'system' %}"
          b"{% set ns.i = ns.i + 1 %}{{ turn(m, ns.i) }}{% endfor %}{{ raise_exception('no') if not messages }}")
    write("onnx", "convolution.onnx", onnx(
        [(b"Conv", [b"x", b"w", b"b"], b"c", {b"pads": [1, 1, 1, 1], b"strides": [2, 2]}),
         (b"Relu", [b"c"], b"r", {}), (b"MaxPool", [b"r"], b"p", {b"kernel_shape": [2, 2]}),
         (b"ReduceMean", [b"p"], b"m", {b"axes": [2, 3], b"keepdims": 1}),
         (b"Squeeze", [b"m"], b"s", {b"axes": [2, 3]}), (b"MatMul", [b"s", b"v"], b"l", {}),
         (b"Softmax", [b"l"], b"y", {b"axis": 1})],
        [(b"w", [2, 2, 3, 3], [0.1] * 36), (b"b", [2], [0.5, 1.0]), (b"v", [2, 3], [1.0] * 6)]))
    write("onnx", "elementwise.onnx", onnx(
        [(b"Mul", [b"w", b"w"], b"k", {}), (b"Add", [b"x", b"k"], b"a", {}),
         (b"ConvTranspose", [b"a", b"t"], b"u", {b"strides": [2, 2]}),
         (b"Concat", [b"u", b"u"], b"j", {b"axis": 1}),
         (b"Transpose", [b"j"], b"y", {b"perm": [0, 2, 3, 1]})],
        [(b"w", [2, 1, 1], [0.5, 2.0]), (b"t", [2, 1, 2, 2], [0.25] * 8)]))
    pixels = struct.pack("<3B", 10, 20, 30) * 6
    write("pictures", "plain.png", png(3, 2, pixels))
    write("pictures", "plain.bmp", b"BM" + struct.pack("<IHHI", 54 + 24, 0, 0, 54)
          + struct.pack("<IiiHHIIiiII", 40, 3, 2, 1, 24, 0, 24, 0, 0, 0, 0)
          + (pixels[:9] + b"\0\0\0") * 2)
    write("pictures", "plain.gif", b"GIF89a" + struct.pack("<HHBBB", 2, 2, 0x80, 0, 0)
          + b"\xff\x00\x00\x00\x00\xff" + b"," + struct.pack("<HHHHB", 0, 0, 2, 2, 0)
          + b"\x02\x03\x44\x34\x05\x00;")
    write("pictures", "plain.tiff", b"II*\0\x08\0\0\0" + tiff_entries(3, 2) + pixels)
    text = base64.b64encode(png(3, 2, pixels))
    write("picture_texts", "plain.txt", text)
    write("picture_texts", "data.txt", b"data:image/png;base64," + text)
    write("picture_texts", "url.txt", b"http://[::ffff:127.0.0.1]:80/cat.png?a=b#c")
    write("picture_texts", "source.json", b'{"bytes": [1, 2, 3]}')
    write("preprocessor", "clip.json", b'{"image_processor_type": "CLIPImageProcessor", "size": 4, "resample": 3,'
          b' "crop_size": {"height": 3, "width": 6}, "image_mean": [0.5, 0.4, 0.3], "image_std": 0.2}')
    write("preprocessor", "efficientnet.json", b'{"image_processor_type": "EfficientNetImageProcessor", "size": [2, 9],'
          b' "resample": 1, "rescale_factor": 0.0078, "rescale_offset": true, "do_normalize": false}')
    bars = bytes(180 * (2 <= x < 22 and y % 8 < 4) for y in range(16) for x in range(24))
    write("text_lines", "bars.map", bytes([24, 16, 48, 40]) + bars)
    slope = bytes(190 * (abs(2 * (y - 12) - (x - 20)) < 9) for y in range(24) for x in range(40))
    write("text_lines", "slope.map", bytes([40, 24, 200, 3]) + slope)
    write("text_lines", "odd.map", bytes([9, 9, 1, 255]) + bytes(range(175, 256)))
    write("constraints", "schema.json", b'\x00{"type": "object", "properties": {"a": {"type": "integer"},'
          b' "b": {"enum": ["x", "y"]}}, "required": ["a"]}')
    write("constraints", "regex.txt", b"\x01[a-z]{2,5}(, [0-9]+)*")
    write("constraints", "grammar.lark", b'\x02start: "yes" | number\nnumber: /[0-9]+/\n')


gguf_seeds()
table_seeds()
folder_seeds()
hub_seeds()
input_seeds()
