"""Trains a small RWKV-v5.2 chat model on the CPU and exports it.

    python3 kernels/train/train.py --recipe kernels/train/eaglet.json

Writes a checkpoint every minute (`--resume` goes on from it; the learning-rate schedule counts the
time already spent) and the loss curve to `results/<name>.loss.json`. Needs Debian's python3-torch
and libopenblas0-pthread.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F

import corpus
import export
import vocabulary
from data import Conversations
from model import TIME_DECAY_MAX, Rwkv5, initial_weights

HERE = Path(__file__).parent
WARM_UP_STEPS = 60
CHECKPOINT_SECONDS = 60


def main():
    arguments = parse_arguments()
    recipe = json.loads(Path(arguments.recipe).read_text())
    torch.set_num_threads(1)  # the shards of a batch run in threads of their own
    work = Path(arguments.work)
    work.mkdir(parents=True, exist_ok=True)
    run = Run(recipe, work, arguments)
    run.train()
    run.write_results()
    export.write_model(
        run.weights, run.shape, recipe, work / "vocab.txt", HERE.parent / "models" / recipe["name"]
    )


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--minutes", type=float, help="instead of the recipe's")
    parser.add_argument("--steps", type=int, help="stop after so many steps instead of minutes")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--work", default=str(HERE / "work"), help="checkpoints go here")
    return parser.parse_args()


def corpus_lines(languages):
    """What the vocabulary is learnt from: answers, lists, and patterns with all their choices."""
    for language in languages:
        for intent in language.intents.values():
            yield from intent.answers
            for pattern in intent.patterns:
                yield from {corpus.choose(pattern, place) for place in range(4)}
        for values in language.lists.values():
            yield from values


def matmul_dtype():
    """bf16 where the processor multiplies it natively, else fp32."""
    flags = subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout
    return torch.bfloat16 if "avx512_bf16" in flags or "amx_bf16" in flags else torch.float32


class Run:
    """One training run: weights, optimiser, data and the loss so far."""

    def __init__(self, recipe, work, arguments):
        self.recipe, self.work = recipe, work
        self.steps_max = arguments.steps
        self.seconds_max = 60 * (arguments.minutes or recipe["minutes"])
        self.languages = corpus.read_languages(HERE / "data")
        if not arguments.resume:
            vocabulary.write(
                work / "vocab.txt",
                vocabulary.learn(list(corpus_lines(self.languages)), recipe["vocabularySize"]),
            )
        entries = vocabulary.read(work / "vocab.txt")
        self.tokenizer = vocabulary.Tokenizer(entries)
        rows = math.ceil((len(entries) + 1) / 64) * 64
        self.shape = {**recipe["shape"], "vocabSize": rows}
        self.weights = {
            name: w.requires_grad_()
            for name, w in initial_weights(self.shape, recipe["seed"]).items()
        }
        self.optimiser = self.make_optimiser()
        self.step, self.seconds, self.tokens, self.curve = 0, 0.0, 0, []
        if arguments.resume:
            self.load()
        self.data = Conversations(self.languages, self.tokenizer, recipe["seed"] + self.step)
        self.dtype = matmul_dtype()
        self.model = Rwkv5(self.weights, self.shape, self.dtype)
        self.pool = ThreadPoolExecutor(recipe["threads"])

    def make_optimiser(self):
        matrices = [w for w in self.weights.values() if w.dim() == 2 and w.shape[0] > 64]
        others = [w for w in self.weights.values() if w.dim() != 2 or w.shape[0] <= 64]
        groups = [
            {"params": matrices, "weight_decay": self.recipe["weightDecay"]},
            {"params": others, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(
            groups, lr=self.recipe["learningRate"], betas=(0.9, 0.99), foreach=True
        )

    def progress(self):
        return min(
            1.0, self.step / self.steps_max if self.steps_max else self.seconds / self.seconds_max
        )

    def learning_rate(self):
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress()))
        return (
            self.recipe["learningRate"]
            * (0.02 + 0.98 * cosine)
            * min(1.0, (self.step + 1) / WARM_UP_STEPS)
        )

    def train(self):
        smooth, saved = None, time.monotonic()
        while self.progress() < 1.0:
            started = time.monotonic()
            loss = self.one_step()
            smooth = loss if smooth is None else 0.95 * smooth + 0.05 * loss
            self.step += 1
            self.seconds += time.monotonic() - started
            if self.step % 10 == 0:
                self.curve.append(
                    {"step": self.step, "seconds": round(self.seconds, 1), "loss": round(smooth, 4)}
                )
                self.show(smooth)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = time.monotonic()
        self.save()
        print()

    def one_step(self):
        """One optimiser step; returns the mean loss of the answers' tokens."""
        length, batch = self.recipe["rowTokens"], self.recipe["rows"]
        rows = [self.data.row(length) for _ in range(batch)]
        weight_sum = sum(weight for _, weights in rows for weight in weights[1:])
        threads = self.recipe["threads"]
        shards = list(
            self.pool.map(
                lambda part: self.gradients(part, weight_sum),
                (rows[i::threads] for i in range(threads)),
            )
        )
        for weight, *parts in zip(
            self.weights.values(), *(gradients for gradients, _, _ in shards)
        ):
            weight.grad = sum(parts[1:], parts[0])
        torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        self.optimiser.step()
        with torch.no_grad():
            for name, weight in self.weights.items():
                if name.endswith("time_decay"):
                    weight.clamp_(max=TIME_DECAY_MAX)
        self.tokens += batch * length
        return sum(loss for _, loss, _ in shards) / sum(count for _, _, count in shards)

    def gradients(self, rows, weight_sum):
        """A shard's gradients, and the summed loss and number of its answers' tokens."""
        tokens = torch.tensor([ids for ids, _ in rows])
        weights = torch.tensor([w for _, w in rows])[:, 1:].reshape(-1)
        logits = self.model.forward(tokens[:, :-1])
        losses = F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1), reduction="none"
        )
        gradients = torch.autograd.grad(
            (losses * weights).sum() / weight_sum, list(self.weights.values())
        )
        answered = weights == 1.0
        return gradients, losses.detach()[answered].sum().item(), int(answered.sum())

    def show(self, loss):
        done = self.progress()
        bar = "#" * int(30 * done)
        left = self.seconds / max(done, 1e-6) * (1 - done)
        speed = self.tokens / max(self.seconds, 1e-6)
        print(
            f"\r[{bar:<30}] step {self.step} loss {loss:.4f} "
            f"{speed:.0f} tokens/s, {left:.0f} s left ",
            end="",
            flush=True,
        )

    def save(self):
        state = {
            "weights": {n: w.detach() for n, w in self.weights.items()},
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "curve": self.curve,
        }
        partial = self.work / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self.work / "checkpoint.pt")

    def load(self):
        state = torch.load(self.work / "checkpoint.pt")
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(state["weights"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.tokens, self.curve = (
            state[k] for k in ("step", "seconds", "tokens", "curve")
        )

    def write_results(self):
        path = HERE / "results" / f"{self.recipe['name']}.loss.json"
        path.parent.mkdir(exist_ok=True)
        facts = {
            "recipe": self.recipe,
            "steps": self.step,
            "tokens": self.tokens,
            "seconds": round(self.seconds),
            "matmul": str(self.dtype),
            "machine": machine(),
            "parameters": sum(w.numel() for w in self.weights.values()),
        }
        body = ",\n    ".join(json.dumps(point) for point in self.curve)
        path.write_text(
            json.dumps(facts, indent=2)[:-2] + ',\n  "curve": [\n    ' + body + "\n  ]\n}\n"
        )


def machine():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.split(':', 1)[1].strip()}, torch {torch.__version__}"
    return platform.machine()


def keep_freed_memory():
    """Starts this program again with an allocator that keeps freed pages: large tensors come and
    go in every step, and fetching fresh pages from the kernel took 15 % of it."""
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        limits = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "16000000000"}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **limits})


if __name__ == "__main__":
    keep_freed_memory()
    main()
