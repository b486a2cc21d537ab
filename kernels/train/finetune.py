"""The tensors of a fine-tune, under the names and shapes that communities' files use.

lora: `blocks.N.att.key.lora_A` [r, in] and `.lora_B` [out, r], W + alpha/r · B·A, and whole
replacements of the `time` or `ln` parts (JL-er/RWKV-PEFT). The tensors hold no alpha; the file's
metadata does. state: `blocks.N.att.time_state` [H, v, k] as in BlinkDL's .pth; an engine whose
state is [H, k, v] transposes the last two.
"""

import math

import torch


def lora_tensors(base, targets, rank):
    """Fresh pairs; B is zero, so that training starts from the base."""
    tensors = {}
    for name, weight in base.items():
        prefix, _, last = name.rpartition(".")
        if last == "weight" and prefix.split(".", 2)[-1] in targets:
            outputs, inputs = weight.shape
            bound = 1 / math.sqrt(inputs)
            tensors[f"{prefix}.lora_A"] = torch.empty(rank, inputs).uniform_(-bound, bound)
            tensors[f"{prefix}.lora_B"] = torch.zeros(outputs, rank)
    return tensors


def whole_parts(base, parts):
    """Copies of what is trained whole: `time` mixes, decays and bonuses; `ln` of the blocks."""
    marks = tuple(f".{part}_" if part == "time" else f".{part}" for part in parts)
    return {n: w.clone() for n, w in base.items() if any(mark in n for mark in marks)}


def state_tensors(shape):
    heads = shape["width"] // shape["headSize"]
    return {
        f"blocks.{layer}.att.time_state": torch.zeros(heads, shape["headSize"], shape["headSize"])
        for layer in range(shape["layers"])
    }


def merged(weights, scale):
    """Weights without pairs: each pair is added to its matrix."""
    whole = {name: weight for name, weight in weights.items() if ".lora_" not in name}
    for name, b in weights.items():
        if name.endswith(".lora_B"):
            prefix = name.removesuffix(".lora_B")
            pair = scale * (b @ weights[f"{prefix}.lora_A"])
            whole[f"{prefix}.weight"] = whole[f"{prefix}.weight"] + pair
    return whole
