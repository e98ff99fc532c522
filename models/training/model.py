"""Qwen3 and Qwen3-MoE in plain torch, for one system block with many conversations behind it.

The system block is computed once and each conversation attends to it and to itself, at the positions it would have alone:
the result is the same as that of separate sequences, at a fraction of the cost.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Shape:
    """Sizes of a model; the defaults are those of the dense robot model."""

    vocabulary: int = 2560
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 128
    intermediate: int = 768
    experts: int = 0
    active: int = 2
    expert_intermediate: int = 256
    theta: float = 1_000_000.0
    eps: float = 1e-6


class RmsNorm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rotate(x, cos, sin):
    """NeoX rotation; x [tokens, heads, dim], cos and sin [tokens, dim / 2]."""
    first, second = x.chunk(2, -1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class Attention(nn.Module):
    def __init__(self, s: Shape):
        super().__init__()
        self.s = s
        self.q_proj = nn.Linear(s.hidden, s.heads * s.head_dim, bias=False)
        self.k_proj = nn.Linear(s.hidden, s.kv_heads * s.head_dim, bias=False)
        self.v_proj = nn.Linear(s.hidden, s.kv_heads * s.head_dim, bias=False)
        self.o_proj = nn.Linear(s.heads * s.head_dim, s.hidden, bias=False)
        self.q_norm, self.k_norm = RmsNorm(s.head_dim, s.eps), RmsNorm(s.head_dim, s.eps)

    def forward(self, x, batch):
        s = self.s
        q = rotate(self.q_norm(self.q_proj(x).view(-1, s.heads, s.head_dim)), batch.cos, batch.sin)
        k = rotate(self.k_norm(self.k_proj(x).view(-1, s.kv_heads, s.head_dim)), batch.cos, batch.sin)
        v = self.v_proj(x).view(-1, s.kv_heads, s.head_dim)
        p = batch.prefix
        head = F.scaled_dot_product_attention(*(t[None, :p].transpose(1, 2) for t in (q, k, v)), is_causal=True, enable_gqa=True)
        out = [head[0].transpose(0, 1).reshape(p, -1)]
        for bucket in batch.buckets:
            n, length = bucket.index.shape
            own = [t[bucket.index].transpose(1, 2) for t in (q, k, v)]
            shared = [t[None, :p].transpose(1, 2).expand(n, -1, -1, -1) for t in (k, v)]
            keys, values = torch.cat([shared[0], own[1]], 2), torch.cat([shared[1], own[2]], 2)
            y = F.scaled_dot_product_attention(own[0], keys, values, attn_mask=bucket.mask, enable_gqa=True)
            out.append(y.transpose(1, 2).reshape(n * length, -1)[bucket.kept])
        return self.o_proj(torch.cat(out))


class Mlp(nn.Module):
    def __init__(self, hidden: int, intermediate: int):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, intermediate, bias=False)
        self.up_proj = nn.Linear(hidden, intermediate, bias=False)
        self.down_proj = nn.Linear(intermediate, hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Experts(nn.Module):
    """Top-k of a softmax router, renormalised; keeps the balance loss of the last call in `balance`."""

    def __init__(self, s: Shape):
        super().__init__()
        self.s, self.balance = s, torch.zeros(())
        self.gate = nn.Linear(s.hidden, s.experts, bias=False)
        self.experts = nn.ModuleList(Mlp(s.hidden, s.expert_intermediate) for _ in range(s.experts))

    def forward(self, x):
        probability = self.gate(x).softmax(-1)
        weight, chosen = probability.topk(self.s.active, -1)
        weight = weight / weight.sum(-1, keepdim=True)
        out = torch.zeros_like(x)
        share = torch.zeros(self.s.experts)
        for e, expert in enumerate(self.experts):
            token, slot = (chosen == e).nonzero(as_tuple=True)
            share[e] = token.numel() / x.shape[0]
            if token.numel():
                out = out.index_add(0, token, expert(x[token]) * weight[token, slot, None])
        self.balance = (share * probability.mean(0)).sum() * self.s.experts / self.s.active
        return out


class Layer(nn.Module):
    def __init__(self, s: Shape):
        super().__init__()
        self.self_attn = Attention(s)
        self.mlp = Experts(s) if s.experts else Mlp(s.hidden, s.intermediate)
        self.input_layernorm, self.post_attention_layernorm = RmsNorm(s.hidden, s.eps), RmsNorm(s.hidden, s.eps)

    def forward(self, x, batch):
        x = x + self.self_attn(self.input_layernorm(x), batch)
        return x + self.mlp(self.post_attention_layernorm(x))


class Robot(nn.Module):
    """A causal language model with tied embeddings."""

    def __init__(self, s: Shape):
        super().__init__()
        self.s = s
        self.embed_tokens = nn.Embedding(s.vocabulary, s.hidden)
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.layers))
        self.norm = RmsNorm(s.hidden, s.eps)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                std = 0.02 if "embed" in name else parameter.shape[1] ** -0.5
                nn.init.normal_(parameter, std=std * (0.5 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0))

    def hidden(self, batch):
        x = self.embed_tokens(batch.tokens)
        for layer in self.layers:
            x = layer(x, batch)
        return self.norm(x)

    def logits(self, hidden):
        return hidden @ self.embed_tokens.weight.T

    def balance(self):
        return sum(layer.mlp.balance for layer in self.layers) / len(self.layers)


@dataclass
class Bucket:
    """Conversations of similar length, padded to a rectangle."""

    index: torch.Tensor  # [n, length] into the flat tokens
    mask: torch.Tensor  # [n, 1, length, prefix + length], true where attention is allowed
    kept: torch.Tensor  # positions of the rectangle that are real, in flat order


@dataclass
class Batch:
    tokens: torch.Tensor
    prefix: int
    cos: torch.Tensor
    sin: torch.Tensor
    buckets: list[Bucket]
    targets: torch.Tensor  # next token, or -100 where nothing is learnt
    weights: torch.Tensor


def make_batch(s: Shape, prefix: list[int], branches: list[tuple[list[int], list[int]]], context_weight: float = 0.1, width: int = 8) -> Batch:
    """`branches` are (context ids, answer ids); answers count 1, contexts `context_weight`."""
    branches = sorted(branches, key=lambda b: len(b[0]) + len(b[1]))
    tokens, positions = list(prefix), list(range(len(prefix)))
    targets = prefix[1:] + [-100]
    weights = [context_weight * 0.2] * len(prefix)
    buckets, p = [], len(prefix)
    for start in range(0, len(branches), width):
        group = branches[start : start + width]
        lengths = torch.tensor([len(c) + len(a) for c, a in group])
        longest = int(lengths.max())
        index = torch.zeros(len(group), longest, dtype=torch.long)
        for i, (context, answer) in enumerate(group):
            ids = context + answer
            index[i, : len(ids)] = torch.arange(len(tokens), len(tokens) + len(ids))
            tokens += ids
            positions += range(p, p + len(ids))
            targets += ids[1:] + [-100]
            weights += [context_weight] * (len(context) - 1) + [1.0] * (len(answer) + 1)
        column = torch.arange(longest)
        own = (column[None, :] <= column[:, None])[None] & (column[None, None, :] < lengths[:, None, None])
        own = own | torch.eye(longest, dtype=torch.bool)[None]  # a padded row attends to itself: no NaN
        mask = torch.cat([torch.ones(len(group), longest, p, dtype=torch.bool), own], -1)[:, None]
        kept = (column[None, :] < lengths[:, None]).flatten().nonzero()[:, 0]
        buckets.append(Bucket(index, mask, kept))
    position = torch.tensor(positions, dtype=torch.float32)
    frequency = s.theta ** (-torch.arange(0, s.head_dim, 2, dtype=torch.float32) / s.head_dim)
    angle = position[:, None] * frequency[None]
    return Batch(torch.tensor(tokens), p, angle.cos(), angle.sin(), buckets, torch.tensor(targets), torch.tensor(weights))
