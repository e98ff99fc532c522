"""Trains one robot model; resumable, seeded, safe to interrupt.

usage: python train.py --tokenizer TOK_DIR --out RUN_DIR [--moe] [--init DENSE_DIR] [--minutes 60] [--threads 2] [--seed N]

RUN_DIR receives state.pt every few minutes (a second start goes on from there) and loss.csv. The learning rate follows the
share of `--minutes` that was spent computing: warm-up, plateau, linear decay over the last 40 %.
"""

import argparse
import csv
import hashlib
import pathlib
import random
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer

import conversation
import model
from muon import Muon

SEED = 20261124
BRANCHES = 32
SCENES_PER_STEP, SCENES_PER_STEP_MOE = 2, 3  # orthogonalising the experts costs as much as half a scene
CONTEXT_EVERY, CONTEXT_WEIGHT = 4, 0.2  # the words of users are learnt a little in every fourth scene
WARM_UP_STEPS = 40
DECAY_SHARE = 0.4
CHECKPOINT_SECONDS = 150


def batch_of(shape: model.Shape, tokenizer: Tokenizer, seed: int, index: int) -> model.Batch:
    """The `index`-th training batch: a pure function of the seed, so that a resumed run sees what it would have seen."""
    scene = conversation.scene(random.Random(f"{seed}-{index}"), "train", BRANCHES)
    ids = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    weight = CONTEXT_WEIGHT if index % CONTEXT_EVERY == 0 else 0.0
    return model.make_batch(shape, ids(scene.prefix), [(ids(b.context), ids(b.answer)) for b in scene.branches], weight)


def loss_of(robot: model.Robot, batch: model.Batch) -> tuple[torch.Tensor, float]:
    """The weighted loss to minimise, and the mean loss of answer tokens to report."""
    each = F.cross_entropy(robot(batch), batch.targets, reduction="none")
    answers = batch.weights == 1.0
    loss = (each * batch.weights).sum() / batch.weights.sum()
    if robot.s.experts:
        loss = loss + 0.01 * robot.balance()
    return loss, float(each[answers].detach().mean())


def optimizers(robot: model.Robot) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings and norms (and the router, whose rows are labels)."""
    matrices, rest = [], []
    for name, parameter in robot.named_parameters():
        is_matrix = parameter.dim() == 2 and "embed" not in name and ".mlp.gate.weight" not in name
        (matrices if is_matrix else rest).append(parameter)
    return [Muon(matrices, lr=4e-3, momentum=0.95, weight_decay=0.05),
            torch.optim.AdamW(rest, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0)]


def learning_rate(step: int, share: float) -> float:
    return min(1.0, (step + 1) / WARM_UP_STEPS) * min(1.0, max(0.02, (1.0 - share) / DECAY_SHARE))


def dense_weights(directory: pathlib.Path) -> dict[str, torch.Tensor]:
    """The weights of a dense run or of an exported model (bf16 there, f32 here)."""
    if (directory / "state.pt").exists():
        return torch.load(directory / "state.pt", weights_only=True)["model"]
    return {name.removeprefix("model."): value.float() for name, value in load_file(directory / "model.safetensors").items()}


def init_from_dense(robot: model.Robot, directory: pathlib.Path) -> None:
    """Takes everything from a dense model; for experts its feed-forward blocks are cut into slices as wide as one, dealt out in turn.

    Two experts at about half weight stand for all slices, hence the factor of two (sparse upcycling, Komatsuzaki et al., 2022).
    """
    dense = dense_weights(directory)
    if not robot.s.experts:
        robot.load_state_dict(dense)
        return
    own = robot.state_dict()
    own.update({name: value for name, value in dense.items() if ".mlp." not in name})
    width = robot.s.expert_intermediate
    for layer in range(robot.s.layers):
        block = {name: dense[f"layers.{layer}.mlp.{name}.weight"] for name in ("gate_proj", "up_proj", "down_proj")}
        for expert in range(robot.s.experts):
            first = expert * width % block["gate_proj"].shape[0]
            for name, value in block.items():
                part = 2 * value[:, first : first + width] if name == "down_proj" else value[first : first + width]
                own[f"layers.{layer}.mlp.experts.{expert}.{name}.weight"] = part.clone()
    robot.load_state_dict(own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--moe", action="store_true", help="8 experts, 2 active, instead of one feed-forward block")
    parser.add_argument("--init", type=pathlib.Path, help="dense run or exported dense model to start from")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=SEED, help="another one than that of the model to start from, to see new data")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    tokenizer_text = (a.tokenizer / "tokenizer.json").read_text()
    tokenizer, tokenizer_id = Tokenizer.from_str(tokenizer_text), hashlib.sha256(tokenizer_text.encode()).hexdigest()
    shape = model.Shape(vocabulary=tokenizer.get_vocab_size(), experts=8 if a.moe else 0)
    robot = model.Robot(shape)
    scenes = SCENES_PER_STEP_MOE if a.moe else SCENES_PER_STEP
    opts = optimizers(robot)
    rates = [group["lr"] for opt in opts for group in opt.param_groups]
    step, spent, tokens = 0, 0.0, 0
    a.out.mkdir(parents=True, exist_ok=True)
    if (a.out / "state.pt").exists():
        state = torch.load(a.out / "state.pt", weights_only=True)
        if state.get("tokenizer") != tokenizer_id:
            raise SystemExit(f"{a.out / 'state.pt'} was trained with another tokenizer: choose another --out")
        robot.load_state_dict(state["model"])
        for opt, saved in zip(opts, state["optimizers"]):
            opt.load_state_dict(saved)
        step, spent, tokens = state["step"], state["spent"], state["tokens"]
    elif a.init:
        init_from_dense(robot, a.init)
    print(f"{sum(p.numel() for p in robot.parameters())} parameters, from step {step}", flush=True)

    def save() -> None:
        part = a.out / "state.part"
        torch.save({"model": robot.state_dict(), "optimizers": [o.state_dict() for o in opts], "step": step, "spent": spent, "tokens": tokens,
                    "shape": vars(shape), "tokenizer": tokenizer_id}, part)
        part.replace(a.out / "state.pt")

    saved_at = spent
    with open(a.out / "loss.csv", "a", newline="") as file:
        log = csv.writer(file)
        while spent < a.minutes * 60:
            start = time.process_time()
            factor = learning_rate(step, spent / (a.minutes * 60))
            for group, rate in zip((g for o in opts for g in o.param_groups), rates):
                group["lr"] = rate * factor
            total = 0.0
            for i in range(scenes):
                batch = batch_of(shape, tokenizer, a.seed, step * scenes + i)
                loss, answer_loss = loss_of(robot, batch)
                (loss / scenes).backward()
                total += answer_loss / scenes
                tokens += batch.tokens.numel()
            torch.nn.utils.clip_grad_norm_(robot.parameters(), 1.0)
            for opt in opts:
                opt.step()
                opt.zero_grad()
            step += 1
            spent += (time.process_time() - start) / a.threads  # what other programs took of the machine does not count
            log.writerow([step, tokens, round(spent, 1), round(total, 5)])
            if step % 20 == 0:
                file.flush()
                print(f"step {step}  tokens {tokens / 1e6:.2f} M  {spent / 60:.1f} min  answer loss {total:.4f}", flush=True)
            if spent - saved_at > CHECKPOINT_SECONDS:
                save()
                saved_at = spent
    save()


if __name__ == "__main__":
    main()
