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
        """Attention of x [tokens, hidden]: causal in the prefix; a branch sees the prefix and, causally, itself.

        Scores against the prefix are one product for all branches, since they share its keys; heads are laid out
        [kv head, token and query head of its group, ...], so that no key or value is ever repeated.
        """
        s, p = self.s, batch.prefix
        q = rotate(self.q_norm(self.q_proj(x).view(-1, s.heads, s.head_dim)), batch.cos, batch.sin)
        k = rotate(self.k_norm(self.k_proj(x).view(-1, s.kv_heads, s.head_dim)), batch.cos, batch.sin).transpose(0, 1)
        v = self.v_proj(x).view(-1, s.kv_heads, s.head_dim).transpose(0, 1)
        group = s.heads // s.kv_heads
        q = (q * s.head_dim ** -0.5).view(-1, s.kv_heads, group, s.head_dim).permute(1, 0, 2, 3).reshape(s.kv_heads, -1, s.head_dim)
        parts = []
        if p:
            scores = (q[:, : p * group] @ k[:, :p].mT).masked_fill_(~batch.prefix_mask.repeat_interleave(group, 0), -torch.inf)
            parts.append(scores.softmax(-1) @ v[:, :p])
        shared = q[:, p * group :] @ k[:, :p].mT
        for bucket in batch.buckets:
            n, length, at = bucket.rows, bucket.length, bucket.start
            rows = (s.kv_heads, n, length * group)
            tokens = slice(at, at + n * length)
            own_k, own_v = (t[:, tokens].reshape(s.kv_heads, n, length, s.head_dim) for t in (k, v))
            own = q[:, at * group : (at + n * length) * group].view(*rows, s.head_dim) @ own_k.mT
            own = own.masked_fill(~bucket.mask.repeat_interleave(group, 0), -torch.inf)
            first = (at - p) * group
            weights = torch.cat([shared[:, first : first + n * length * group].view(*rows, p), own], -1).softmax(-1)
            parts.append((weights[..., :p].flatten(1, 2) @ v[:, :p]) + (weights[..., p:] @ own_v).flatten(1, 2))
        y = torch.cat(parts, 1).view(s.kv_heads, -1, group, s.head_dim).permute(1, 0, 2, 3).reshape(x.shape[0], -1)
        return self.o_proj(y)


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
        s = self.s
        probability = self.gate(x).softmax(-1)
        weight, chosen = probability.topk(s.active, -1)
        weight = weight / weight.sum(-1, keepdim=True)
        order = chosen.flatten().argsort(stable=True)  # slots by expert: one gather, one scatter
        token, counts = order // s.active, chosen.flatten().bincount(minlength=s.experts)
        made = torch.cat([expert(rows) for expert, rows in zip(self.experts, x.index_select(0, token).split(counts.tolist()))])
        out = torch.zeros_like(x).index_add(0, token, made * weight.flatten().index_select(0, order)[:, None])
        self.balance = (counts / x.shape[0] * probability.mean(0)).sum() * s.experts / s.active
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

    def forward(self, batch):
        """Logits [learnt positions, vocabulary]: only where something is to be learnt or judged."""
        x = self.embed_tokens(batch.tokens)
        for layer in self.layers:
            x = layer(x, batch)
        return self.norm(x.index_select(0, batch.learnt)) @ self.embed_tokens.weight.T

    def balance(self):
        return sum(layer.mlp.balance for layer in self.layers) / len(self.layers)


@dataclass
class Bucket:
    """Conversations of similar length as a rectangle of the flat tokens, padded at the ends of its rows.

    Padding needs no mask of its own: it stands after all that is real, and nothing is learnt from it.
    """

    start: int  # in the flat tokens
    rows: int
    length: int
    mask: torch.Tensor  # [length, length], true where attention is allowed


@dataclass
class Batch:
    """A prefix and its branches, flat: the prefix, then bucket after bucket."""

    tokens: torch.Tensor
    prefix: int
    prefix_mask: torch.Tensor  # [prefix, prefix]
    cos: torch.Tensor
    sin: torch.Tensor
    buckets: list[Bucket]
    learnt: torch.Tensor  # positions whose next token counts
    targets: torch.Tensor  # the next tokens there
    weights: torch.Tensor
    owner: torch.Tensor  # the branch to which each learnt position belongs, by its place in the list given


def make_batch(s: Shape, prefix: list[int], branches: list[tuple[list[int], list[int]]], context_weight: float = 0.0, width: int = 4) -> Batch:
    """`branches` are (context ids, answer ids); answers count 1, contexts `context_weight`, the prefix nothing."""
    by_length = sorted(range(len(branches)), key=lambda i: len(branches[i][0]) + len(branches[i][1]))
    p = len(prefix)
    tokens, positions = list(prefix), list(range(p))
    learnt, targets, weights, owner, buckets = [], [], [], [], []
    for first in range(0, len(by_length), width):
        group = by_length[first : first + width]
        length = max(len(branches[i][0]) + len(branches[i][1]) for i in group)
        buckets.append(Bucket(len(tokens), len(group), length, torch.ones(length, length, dtype=torch.bool).tril()))
        for i in group:
            context, answer = branches[i]
            ids = context + answer
            begin = 0 if context_weight else len(context) - 1
            at = len(tokens)
            learnt += range(at + begin, at + len(ids) - 1)
            targets += ids[begin + 1 :]
            weights += [context_weight] * (len(context) - 1 - begin) + [1.0] * len(answer)
            owner += [i] * (len(ids) - 1 - begin)
            tokens += ids + [0] * (length - len(ids))
            positions += range(p, p + length)
    frequency = s.theta ** (-torch.arange(0, s.head_dim, 2, dtype=torch.float32) / s.head_dim)
    angle = torch.tensor(positions, dtype=torch.float32)[:, None] * frequency[None]
    return Batch(torch.tensor(tokens), p, torch.ones(p, p, dtype=torch.bool).tril(), angle.cos(), angle.sin(), buckets,
                 torch.tensor(learnt), torch.tensor(targets), torch.tensor(weights), torch.tensor(owner))
