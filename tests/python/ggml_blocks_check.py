"""Compares the values of a GGUF file's tensors with those that the `gguf` package reads, bit for bit.

usage: python ggml_blocks_check.py FILE.gguf VALUES.f32      (needs `gguf`; see requirements.txt)

VALUES.f32 holds the values of all tensors in the order of the file. Prints one line per tensor and fails at the first that differs.
"""

import sys

import gguf
import numpy

ours = numpy.fromfile(sys.argv[2], dtype=numpy.uint32)
for tensor in gguf.GGUFReader(sys.argv[1]).tensors:
    theirs = gguf.dequantize(tensor.data, tensor.tensor_type).ravel().view(numpy.uint32)
    mine, ours = ours[: theirs.size], ours[theirs.size :]
    differing = numpy.flatnonzero(mine != theirs)
    if differing.size:
        at = differing[0]
        sys.exit(f"{tensor.name}: {differing.size} of {theirs.size} differ, first at {at}: {mine[at : at + 1].view(numpy.float32)} is not {theirs[at : at + 1].view(numpy.float32)}")
    print(f"ok  {tensor.name}: {theirs.size} values")
if ours.size:
    sys.exit(f"{ours.size} values belong to no tensor")
