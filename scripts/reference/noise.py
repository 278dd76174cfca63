"""Normal noise by Philox4x32-10 and the polar method, written down a second time.

    python scripts/reference/noise.py

writes tests/data/diffusion/noise.safetensors: SEED.STREAM, the first values of each. Needs numpy and safetensors;
the bits are checked against the known answers that Random123 comes with.
"""

import math
import pathlib

import numpy as np
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).parents[2] / "tests/data/diffusion/noise.safetensors"
WORD = 0xFFFFFFFF


def philox(counter, key):
    counter, key = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(second >> 32) ^ counter[1] ^ key[0], second & WORD,
                   (first >> 32) ^ counter[3] ^ key[1], first & WORD]
        key = [(key[0] + 0x9E3779B9) & WORD, (key[1] + 0xBB67AE85) & WORD]
    return counter


def normal(seed, stream, count):
    values, block = [], 0
    while len(values) < count:
        words = philox([block & WORD, block >> 32, stream, 0], [seed & WORD, seed >> 32])
        block += 1
        x, y = (((words[i] << 32 | words[i + 1]) >> 11) / 2**52 - 1.0 for i in (0, 2))
        square = x * x + y * y
        if 0 < square < 1:
            scale = math.sqrt(-2 * math.log(square) / square)
            values += [x * scale, y * scale]
    return np.array(values[:count], dtype=np.float32)


assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
assert philox([WORD] * 4, [WORD] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
assert philox([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]) == \
    [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]
seeds = [0, 1, 42, 0x123456789ABCDEF0, 2**64 - 1]
save_file({f"{seed}.{stream}": normal(seed, stream, 257) for seed in seeds for stream in range(3)}, OUT)
