#!/usr/bin/env bash
# Pillow makes 8 bits of a 16-bit grey PNG by clipping, and of a 16-bit colour PNG by scaling.
#
# Versions: Pillow 13.0.0, numpy 2.4.6.
# Guess: the same picture as 16-bit grey and as 16-bit RGB comes out alike, since reading either as 8
#   bits drops the low byte: 0, 1, 128 and 255 of 0, 256, 32768 and 65535.
# Behaviour: colour files are read as 8 bits by the high byte, as guessed. Grey ones stay 16 bits, and
#   convert("L") or convert("RGB") clips them: all but the darkest 255 of 65,535 levels turn white.
# Ends with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import io
import struct
import sys
import zlib

import numpy as np
from PIL import Image

LEVELS = np.array([0, 256, 32768, 65535], ">u2")
GREY, RGB = 0, 2


def chunk(kind, content):
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def png(colour, samples):
    """A row of 16-bit pixels."""
    header = struct.pack(">IIBBBBB", len(LEVELS), 1, 16, colour, 0, 0, 0)
    row = b"\0" + samples.tobytes()
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + parts)


grey = Image.open(png(GREY, LEVELS))
colour = Image.open(png(RGB, np.repeat(LEVELS, 3)))
seen = {
    "grey mode": grey.mode,
    "grey as L": np.asarray(grey.convert("L"))[0].tolist(),
    "grey as RGB": np.asarray(grey.convert("RGB"))[0, :, 0].tolist(),
    "colour mode": colour.mode,
    "colour": np.asarray(colour)[0, :, 0].tolist(),
}
expected = {
    "grey mode": "I;16",
    "grey as L": [0, 255, 255, 255],
    "grey as RGB": [0, 255, 255, 255],
    "colour mode": "RGB",
    "colour": [0, 1, 128, 255],
}
print(seen)
sys.exit(0 if seen == expected else 1)
PY
# Output seen:
# {'grey mode': 'I;16', 'grey as L': [0, 255, 255, 255], 'grey as RGB': [0, 255, 255, 255],
#  'colour mode': 'RGB', 'colour': [0, 1, 128, 255]}
