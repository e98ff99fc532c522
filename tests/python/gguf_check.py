"""Judges GGUF files that eitri wrote with the gguf package, which it did not write.

usage: gguf_check.py MODEL_DIR FILE.gguf...

For each FILE.gguf, FILE.gguf.f32 holds what eitri decodes from it: all values of all tensors, in
the order of the file, as little-endian f32. The package must decode the same bits. Where it can
quantise to the type itself, the error that eitri leaves must not be much larger than its own.
"""

import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import dequantize, quantize

WORST = 1.02
OWN_QUANTISERS = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"}

NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def source_name(name):
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{NAMES[parts[2]]}.weight"
    return f"{NAMES[parts[0]]}.weight"


def read_safetensors(path):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    tensors = {}
    for name, info in json.loads(data[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in info["data_offsets"])
        assert info["dtype"] == "BF16", info["dtype"]
        halves = np.frombuffer(data[start:end], dtype="<u2").astype(np.uint32)
        tensors[name] = (halves << 16).view(np.float32).reshape(info["shape"])
    return tensors


def square(values):
    return float(np.square(values, dtype=np.float64).sum())


def check(path, source):
    reader = GGUFReader(path)
    ours = np.fromfile(f"{path}.f32", dtype="<f4")
    errors, sums, at = {}, {}, 0
    assert len(reader.tensors) == len(source), (len(reader.tensors), len(source))
    for tensor in reader.tensors:
        kind = GGMLQuantizationType(tensor.tensor_type).name
        values = source[source_name(tensor.name)]
        decoded = dequantize(tensor.data, tensor.tensor_type).reshape(values.shape)
        own = ours[at : at + values.size].reshape(values.shape)
        at += values.size
        assert np.array_equal(decoded.view(np.uint32), own.view(np.uint32)), tensor.name
        error, theirs = square(values - decoded), None
        if kind in OWN_QUANTISERS:
            stored = quantize(values, tensor.tensor_type)
            theirs = square(values - dequantize(stored, tensor.tensor_type))
        if kind == "BF16" or kind == "F32":
            assert error == 0, tensor.name
        before = errors.get(kind, (0.0, 0.0))
        errors[kind] = (before[0] + error, before[1] + (theirs or 0.0))
        sums[kind] = sums.get(kind, 0.0) + square(values)
    assert at == ours.size, (at, ours.size)
    for kind, (error, theirs) in errors.items():
        relative = (error / sums[kind]) ** 0.5
        ratio = (error / theirs) ** 0.5 if theirs else None
        shown = "" if ratio is None else f", {ratio:.4f} of the package's own"
        print(f"{Path(path).name}: {kind} relative error {relative:.6f}{shown}")
        assert ratio is None or ratio <= WORST, (kind, ratio)
    check_metadata(reader)


def check_metadata(reader):
    def field(key):
        return reader.fields[key].contents()

    assert field("general.architecture") == "qwen3"
    tokens = field("tokenizer.ggml.tokens")
    assert len(tokens) == len(field("tokenizer.ggml.token_type"))
    whole = json.loads(field("tokenizer.huggingface.json"))
    assert all(tokens[id] == token for token, id in whole["model"]["vocab"].items())
    assert "messages" in field("tokenizer.chat_template")


def main():
    folder, *files = sys.argv[1:]
    source = read_safetensors(Path(folder) / "model.safetensors")
    for path in files:
        check(path, source)
    print("ok")


main()
