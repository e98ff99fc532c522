"""Packs one random matrix with compressed-tensors, in f32 throughout: its scales (`calculate_qparams`,
`generate_gparam`) and its compressors' tensors. Writes what `crates/eitri-quant/tests/producers.rs` compares with.

    python make_compressed_tensors.py ../../crates/eitri-quant/tests/fixtures/compressed_tensors_f32.safetensors

Made with compressed-tensors 0.20.0 and torch 2.15.0 on a CPU.
"""

import sys

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationScheme, preset_name_to_scheme
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from safetensors.torch import save_file

ROWS, COLUMNS = 32, 256
CHANNEL_INT8 = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
CASES = {
    "fp8-dynamic": ("float-quantized", preset_name_to_scheme("FP8_DYNAMIC", ["Linear"])),
    "w4a16": ("pack-quantized", preset_name_to_scheme("W4A16", ["Linear"])),
    "w8a16": ("pack-quantized", QuantizationScheme(targets=["Linear"], weights=CHANNEL_INT8)),
    "nvfp4-ct": ("nvfp4-pack-quantized", preset_name_to_scheme("NVFP4A16", ["Linear"])),
}


def packed(weight, format, scheme):
    arguments = scheme.weights
    size = arguments.group_size or COLUMNS
    groups = weight.reshape(ROWS, -1, size)
    least, most = groups.amin(-1), groups.amax(-1)
    state = {"weight": weight}
    if format.startswith("nvfp4"):
        state["weight_global_scale"] = generate_gparam(weight.amin(), weight.amax()).reshape(1)
    scale, _ = calculate_qparams(least, most, arguments, global_scale=state.get("weight_global_scale"))
    state["weight_scale"] = scale
    return BaseCompressor.get_value_from_registry(format).compress(state, scheme)


def main():
    torch.manual_seed(20)
    weight = torch.randn(ROWS, COLUMNS) * 0.05
    weight[:, 3] *= 9
    weight[5] *= 0.01
    tensors = {"weight": weight}
    for name, (format, scheme) in CASES.items():
        for suffix, tensor in packed(weight, format, scheme).items():
            tensors[f"{name}.{suffix}"] = tensor.contiguous()
    save_file(tensors, sys.argv[1])


main()
