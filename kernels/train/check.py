"""Is the chunked form of `model.py` the one-token form? Logits and every gradient are compared.

Each case has decays at the clamp and starts from a state that is not zero; the low-rank pairs of
the chunked form are compared with matrices to which they were added. fp32, so that nothing but the
order of summation differs. Exit code 1 when a difference exceeds what that order explains, or when
fresh weights of `recall.py` do not recall: a random row is read twice, and at its second reading the
token that comes next must be nearly the likeliest although nothing was trained.
"""

import torch
import torch.nn.functional as F

import finetune
from model import CHUNK, TIME_DECAY_MAX, Rwkv5, initial_weights
from recall import give_recall
from recipe import MATRICES

CASES = [(8, "state"), (32, "tuned state"), (32, "lora"), (64, "state"), (64, "lora")]
LORA_SCALE = 2.0
TOLERANCE = 1e-4
RECALL_SHAPE = {"layers": 4, "width": 256, "headSize": 64, "ffnWidth": 128, "vocabSize": 512}
RECALL_TOKENS = 24
RECALL_RANK_MAX = 3.0  # of 512; 250 without the start, 0.7 with it


def lively_weights(shape):
    """Nothing is left at zero, where a fault would not show."""
    weights = initial_weights(shape, seed=1)
    for name, tensor in weights.items():
        if name.endswith(("output.weight", "ffn.receptance.weight", "ffn.value.weight")):
            tensor.normal_(std=1 / tensor.shape[1] ** 0.5)
        if name.endswith("time_decay"):
            tensor[0] = TIME_DECAY_MAX
    return weights


def lively_state(model, batch):
    return [
        tuple(torch.randn(part.shape) * 0.5 for part in layer)
        for layer in model.initial_state(batch)
    ]


def written_out(model, weights, batch):
    """The state [H, k, v] that a file's time_state [H, v, k] stands for."""
    start = []
    for layer, (shift, _, _) in enumerate(model.initial_state(batch)):
        wkv = torch.einsum("hvk->hkv", weights[f"blocks.{layer}.att.time_state"])
        start.append((shift, wkv.expand(batch, -1, -1, -1), shift))
    return start


def compare(head_size, variant):
    """Largest difference of the logits, and of a gradient, each as a share of the largest value."""
    shape = {"layers": 2, "width": 64, "headSize": head_size, "ffnWidth": 96, "vocabSize": 70}
    weights = lively_weights(shape)
    if variant == "lora":
        weights.update(finetune.lora_tensors(weights, MATRICES, rank=3))
    if variant == "tuned state":
        weights.update(finetune.state_tensors(shape))
    for name, tensor in weights.items():
        if name.endswith((".lora_B", ".time_state")):
            tensor.normal_(std=0.3)
        tensor.requires_grad_()
    chunked = Rwkv5(weights, shape, lora_scale=LORA_SCALE)
    stepped = Rwkv5(finetune.merged(weights, LORA_SCALE), shape)
    tokens = torch.randint(1, shape["vocabSize"], (2, 3 * CHUNK + 1))
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    if variant == "tuned state":
        state, start = None, written_out(stepped, weights, len(tokens))
    else:
        state = start = lively_state(chunked, len(tokens))

    first = chunked.forward(inputs, state)
    state = list(start)
    second = torch.stack([stepped.step(column, state) for column in inputs.unbind(1)], 1)
    return share(first, second), gradient_share(weights, targets, first, second)


def share(first, second):
    return ((first - second).abs().max() / second.abs().max()).item()


def gradient_share(weights, targets, *forms):
    first, second = (
        torch.autograd.grad(
            F.cross_entropy(form.flatten(0, 1), targets.flatten()), weights.values()
        )
        for form in forms
    )
    if not all(gradient.isfinite().all() for gradient in first):
        return float("nan")
    return max(share(a, b) for a, b in zip(first, second) if b.abs().max() > 0)


def recalled_rank(layers):
    """Mean rank of the next token at the second reading; 0 is the likeliest."""
    weights = initial_weights(RECALL_SHAPE, seed=1)
    if layers:
        give_recall(weights, RECALL_SHAPE, layers)
    once = torch.randint(1, RECALL_SHAPE["vocabSize"], (8, RECALL_TOKENS))
    with torch.no_grad():
        logits = Rwkv5(weights, RECALL_SHAPE).forward(once.repeat(1, 2))
    second = logits[:, RECALL_TOKENS:-1]
    wanted = second.gather(-1, once[:, 1:].unsqueeze(-1))
    return (second > wanted).sum(-1).float().mean().item()


def main():
    worst = 0.0
    for head_size, variant in CASES:
        logits, gradients = compare(head_size, variant)
        print(
            f"head size {head_size:2}, {variant:11}: logits differ by {logits:.1e}, "
            f"gradients by {gradients:.1e} of the largest"
        )
        worst = (
            max(worst, logits, gradients) if logits == logits and gradients == gradients else 1.0
        )
    plain, recalling = recalled_rank([]), recalled_rank([1, 3])
    print(f"recall before any training: rank {recalling:.1f}, {plain:.1f} without its start")
    return 0 if worst < TOLERANCE and recalling < RECALL_RANK_MAX < plain else 1
