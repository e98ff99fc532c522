"""Writes a run as a Hugging Face directory: config.json, generation_config.json, tokenizer files, bf16 model.safetensors.

usage: python export.py RUN_DIR --tokenizer TOK_DIR --out MODEL_DIR
"""

import argparse
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file

import model


def config_of(s: model.Shape, tokenizer_config: dict, ids: dict[str, int]) -> dict:
    common = {
        "vocab_size": s.vocabulary, "hidden_size": s.hidden, "num_hidden_layers": s.layers, "num_attention_heads": s.heads,
        "num_key_value_heads": s.kv_heads, "head_dim": s.head_dim, "hidden_act": "silu", "rms_norm_eps": s.eps, "rope_theta": s.theta,
        "rope_scaling": None, "max_position_embeddings": 4096, "attention_bias": False, "attention_dropout": 0.0, "tie_word_embeddings": True,
        "use_sliding_window": False, "sliding_window": None, "max_window_layers": s.layers, "initializer_range": 0.02, "use_cache": True,
        "bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"], "torch_dtype": "bfloat16"}
    if not s.experts:
        return {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", **common, "intermediate_size": s.intermediate}
    return {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", **common, "intermediate_size": s.intermediate,
            "moe_intermediate_size": s.expert_intermediate, "num_experts": s.experts, "num_experts_per_tok": s.active, "norm_topk_prob": True,
            "decoder_sparse_step": 1, "mlp_only_layers": [], "output_router_logits": False, "router_aux_loss_coef": 0.01}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    a = parser.parse_args()
    state = torch.load(a.run / "state.pt", weights_only=True)
    shape = model.Shape(**state["shape"])
    a.out.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": value.to(torch.bfloat16).contiguous() for name, value in state["model"].items()}
    save_file(tensors, a.out / "model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(a.tokenizer / name, a.out / name)
    vocabulary = json.loads((a.out / "tokenizer.json").read_text())
    ids = {t["content"]: t["id"] for t in vocabulary["added_tokens"]}
    config = config_of(shape, json.loads((a.out / "tokenizer_config.json").read_text()), ids)
    (a.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    generation = {"do_sample": False, "temperature": 0.0, "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]], "pad_token_id": ids["<|endoftext|>"]}
    (a.out / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")
    print(f"{a.out.name}: {sum(t.numel() for t in tensors.values())} parameters after {state['tokens'] / 1e6:.1f} M tokens, {state['spent'] / 60:.0f} min")


if __name__ == "__main__":
    main()
