"""Writes small_floats.txt: what the ml_dtypes package makes of every 16-bit input.

Run with numpy and ml_dtypes 0.5.4 installed: python small_floats.py > small_floats.txt
PTX's .satfinite clamps to the largest finite value first and turns NaN into the format's NaN, or
into the largest value where there is none; ml_dtypes does neither by itself.
"""

import itertools

import ml_dtypes
import numpy

FORMATS = {
    "e4m3x2": (ml_dtypes.float8_e4m3fn, 448.0, 0x7F, 8),
    "e5m2x2": (ml_dtypes.float8_e5m2, 57344.0, 0x7F, 8),
    "e2m1x2": (ml_dtypes.float4_e2m1fn, 6.0, 0x7, 4),
}


def runs(codes):
    return " ".join(f"{code:x}x{len(list(group))}" for code, group in itertools.groupby(codes))


def encode(values, dtype, largest, nan):
    clamped = numpy.clip(values, -largest, largest).astype(dtype).view(numpy.uint8)
    return [nan if numpy.isnan(value) else int(code) for value, code in zip(values, clamped)]


codes = numpy.arange(65536, dtype=numpy.uint32)
upper = (codes << 16).view(numpy.float32)
half = codes.astype(numpy.uint16).view(numpy.float16).astype(numpy.float32)
print(f"# Written by small_floats.py with ml_dtypes {ml_dtypes.__version__}: runs CODExCOUNT")
for name, (dtype, largest, nan, bits) in FORMATS.items():
    print(f"{name} from the upper half of f32: {runs(encode(upper, dtype, largest, nan))}")
    if bits == 8:
        print(f"{name} from f16: {runs(encode(half, dtype, largest, nan))}")
    values = numpy.arange(1 << bits, dtype=numpy.uint8).view(dtype).astype(numpy.float32)
    wide = values.astype(numpy.float16).view(numpy.uint16)
    print(f"f16 from {name}: {runs(0x7FFF if numpy.isnan(v) else int(w) for v, w in zip(values, wide))}")
