"""One training run: weights, optimiser, rows, loss so far, and when it ends.

Row n of step s is always the same row, and a checkpoint holds everything else, so a run that was
interrupted and resumed ends with the same bits as one that was not (with `--steps` or `tokens`;
a budget of minutes counts the clock). A checkpoint is written every minute, at the end, and when
the run is interrupted.
"""

import math
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F

import checkpoint
import finetune
from data import Conversations
from failures import Failure
from model import TIME_DECAY_MAX, Rwkv5, initial_weights
from recall import give_recall

WARM_UP_STEPS = 60
CHECKPOINT_SECONDS = 60
CURVE_STEPS = 10
RESUMED = ("step", "seconds", "tokens", "curve", "smooth")
MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's, of every trained tensor


class Run:
    """`end` is {"steps": n} or {"seconds": s}; `path` is the checkpoint's."""

    def __init__(self, recipe, subject, device, *, path, end):
        self.recipe, self.device, self.path, self.end = recipe, device, path, end
        self.identity = checkpoint.identity(recipe, subject.base, subject.vocabulary)
        self.shape = subject.shape
        torch.manual_seed(recipe["seed"])
        frozen, trained = starting_weights(recipe, subject)
        place = device.name
        self.trained = {n: w.to(place).requires_grad_() for n, w in trained.items()}
        self.frozen = {n: for_products(n, w, device.dtype).to(place) for n, w in frozen.items()}
        self.optimisers = self.make_optimisers()
        self.step, self.seconds, self.tokens, self.curve, self.smooth = 0, 0.0, 0, [], None
        self.rows = Conversations(subject.languages, subject.tokenizer, recipe)
        self.model = Rwkv5(
            {**self.frozen, **self.trained},
            self.shape,
            device.dtype,
            lora_scale=recipe["alpha"] / recipe["rank"],
        )
        self.pool = ThreadPoolExecutor(device.shards)
        self.interrupted = False

    def make_optimisers(self):
        """One for each shard's thread, of every so manieth tensor. On a CPU tensor after tensor:
        most fit a core's cache, where `foreach` would fetch all from memory at each operation."""
        optimisers, count = [], self.device.shards
        for named in ([*self.trained.items()][first::count] for first in range(count)):
            matrices = [w for n, w in named if is_matrix(n, w)]
            others = [w for n, w in named if not is_matrix(n, w)]
            decays = ((matrices, self.recipe["weightDecay"]), (others, 0.0))
            groups = [{"params": ws, "weight_decay": decay} for ws, decay in decays if ws]
            if groups:
                foreach = self.device.name == "cuda"
                rate = self.recipe["learningRate"]
                optimiser = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), foreach=foreach)
                optimisers.append(optimiser)
        return optimisers

    def optimiser_of(self, name):
        return self.optimisers[[*self.trained].index(name) % len(self.optimisers)]

    def progress(self):
        if "steps" in self.end:
            return min(1.0, self.step / self.end["steps"])
        return min(1.0, self.seconds / self.end["seconds"])

    def learning_rate(self):
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress()))
        warm_up = min(WARM_UP_STEPS, 1 + self.end.get("steps", 10 * WARM_UP_STEPS) // 10)
        warmth = min(1.0, (self.step + 1) / warm_up)
        return self.recipe["learningRate"] * (0.02 + 0.98 * cosine) * warmth

    def train(self, show, pause_at=None):
        """Trains; returns "finished", "paused" (at step `pause_at`) or "interrupted"."""
        saved = time.monotonic()
        with Interruptible(self):
            while self.progress() < 1.0 and self.step != pause_at and not self.interrupted:
                started = time.monotonic()
                loss = self.one_step()
                if not math.isfinite(loss):
                    raise Failure(f"the loss is not finite at step {self.step}: lower learningRate")
                self.smooth = loss if self.smooth is None else 0.95 * self.smooth + 0.05 * loss
                self.step += 1
                self.seconds += time.monotonic() - started
                if self.step == 1 or self.step % CURVE_STEPS == 0:
                    self.curve.append(
                        {
                            "step": self.step,
                            "seconds": round(self.seconds, 1),
                            "loss": round(self.smooth, 4),
                        }
                    )
                show(self)
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = time.monotonic()
            self.save()
        if self.progress() >= 1.0:
            return "finished"
        return "interrupted" if self.interrupted else "paused"

    def one_step(self):
        """One optimiser step; returns the mean loss of the answers' tokens."""
        length, batch = self.recipe["rowTokens"], self.device.rows
        first, progress = self.step * batch, self.progress()
        rows = [self.rows.row(first + place, length, progress) for place in range(batch)]
        weight_sum = sum(weight for _, weights, _ in rows for weight in weights[1:])
        shards = [rows[i :: self.device.shards] for i in range(self.device.shards)]
        done = list(self.pool.map(lambda shard: self.gradients(shard, weight_sum), shards))
        for weight, *parts in zip(self.trained.values(), *(gradients for gradients, *_ in done)):
            weight.grad = parts[0]
            for part in parts[1:]:
                weight.grad += part
        torch.nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        rate = self.learning_rate()
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
        list(self.pool.map(lambda optimiser: optimiser.step(), self.optimisers))
        with torch.no_grad():
            for name, weight in self.trained.items():
                if name.endswith("time_decay"):
                    weight.clamp_(max=TIME_DECAY_MAX)
        self.tokens += batch * length
        patterns = torch.cat([patterns for _, patterns, _ in done])
        losses = torch.cat([losses for *_, losses in done])
        self.rows.focus.learn(patterns, losses)
        return losses.sum().item() / max(1, len(losses))

    def gradients(self, rows, weight_sum):
        """A shard's gradients, and of its answers' tokens the patterns and the losses."""
        tokens = torch.tensor([ids for ids, *_ in rows]).to(self.device.name)
        weights, patterns = (
            torch.tensor([row[part] for row in rows])[:, 1:].reshape(-1) for part in (1, 2)
        )
        scored = weights > 0
        patterns = patterns[scored]
        weights, scored = weights[scored].to(self.device.name), scored.to(self.device.name)
        logits = self.model.forward(tokens[:, :-1], scored=scored)
        targets = tokens[:, 1:].reshape(-1)[scored]
        losses = F.cross_entropy(logits, targets, reduction="none")
        gradients = torch.autograd.grad(
            (losses * weights).sum() / weight_sum, list(self.trained.values())
        )
        return gradients, patterns, losses.detach().cpu()

    def save(self):
        tensors = {}
        for name, weight in self.trained.items():
            tensors[name] = weight.detach().cpu()
            for moment in MOMENTS if self.step else ():
                tensors[f"{name}#{moment}"] = self.optimiser_of(name).state[weight][moment].cpu()
        tensors["focus#loss"] = self.rows.focus.loss
        facts = {key: getattr(self, key) for key in ("identity", *RESUMED)}
        checkpoint.save(self.path, tensors, facts)

    def load(self):
        tensors, facts = checkpoint.load(self.path, self.identity)
        for key in RESUMED:
            setattr(self, key, facts[key])
        self.rows.focus.loss.copy_(tensors["focus#loss"])
        for name, weight in self.trained.items():
            with torch.no_grad():
                weight.copy_(tensors[name])
            if self.step == 0:
                continue
            state = {moment: tensors[f"{name}#{moment}"].to(weight.device) for moment in MOMENTS}
            self.optimiser_of(name).state[weight] = {"step": torch.tensor(float(self.step)), **state}


class Interruptible:
    """While entered, the first Ctrl-C (or SIGTERM) ends the run after the step in hand; the second
    ends the program."""

    def __init__(self, run):
        self.run, self.previous = run, {}

    def __enter__(self):
        for name in (signal.SIGINT, signal.SIGTERM):
            self.previous[name] = signal.signal(name, self.mark)

    def mark(self, *_):
        self.run.interrupted = True
        self.restore()

    def restore(self):
        for name, handler in self.previous.items():
            signal.signal(name, handler)

    def __exit__(self, *_):
        self.restore()


def starting_weights(recipe, subject):
    """Frozen and trained tensors before the first step."""
    if recipe["mode"] == "state":
        return subject.base.weights, finetune.state_tensors(subject.shape)
    if recipe["mode"] == "lora":
        base = subject.base.weights
        whole = finetune.whole_parts(base, recipe["train"])
        frozen = {n: w for n, w in base.items() if n not in whole}
        return frozen, {**finetune.lora_tensors(base, recipe["targets"], recipe["rank"]), **whole}
    if subject.base is not None:
        return {}, subject.base.weights
    weights = initial_weights(subject.shape, recipe["seed"])
    if recipe["recallLayers"]:
        give_recall(weights, subject.shape, recipe["recallLayers"])
    return {}, weights


def is_matrix(name, weight):
    return weight.dim() == 2 and ".time_" not in name


def for_products(name, weight, dtype):
    """Frozen matrices are rounded for their products once and not at every step."""
    return weight.to(dtype) if is_matrix(name, weight) and name != "emb.weight" else weight
