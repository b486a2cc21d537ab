"""Starting weights of layers that recall: what followed this token when it was last read?

A recurrent layer can answer that from its first step when its key is made of the previous token,
its value of this one, and its receptance is its key: r_t · k_j is then large where token j - 1 was
token t, and v_j is the token that came next. Decays start near one, value and output are each
other's inverse (an orthogonal matrix and its transpose), and the head starts as the embedding.
Training does the rest. Without this start our models learnt the form of "Your name is …" and
copied nothing; the idea is of Trockman et al. 2024, "Mimetic Initialization Helps State Space
Models Learn to Recall" (arXiv 2410.11135), who gave it to Mamba.

Channel 0 of the residual stream is kept for a constant, so that gates can start open (RWKV's
gates have no bias); the matrices that a constant would disturb do not read it.
"""

import math

import torch

CONSTANT = 8.0  # ln0's bias of channel 0; a normalised row is 1 elsewhere
OPEN_GATE = 0.3  # times about 7, what ln1 leaves of the constant: silu(2) = 1.8
OUTPUT_GAIN = 0.5
PREVIOUS = 0.05  # share of the present token in the key
DECAYS = (-7.0, -4.5)  # time_decay from slow to fast: w = exp(-exp(…)) = 0.999 … 0.989
READERS = ("receptance", "key", "value", "gate")


def give_recall(weights, shape, layers):
    """Changes fresh `weights` in place; `layers` are the places of the layers that recall."""
    width, heads = shape["width"], shape["width"] // shape["headSize"]
    weights["blocks.0.ln0.bias"][0] = CONSTANT
    weights["emb.weight"][:, 0] = 0
    for name, weight in weights.items():
        if name.split(".")[-2] in READERS:
            weight[:, 0] = 0
    for layer in layers:
        b = f"blocks.{layer}.att."
        weights[f"{b}time_mix_k"].fill_(PREVIOUS)
        for mix in "rvg":
            weights[f"{b}time_mix_{mix}"].fill_(1.0)
        weights[f"{b}time_decay"].copy_(torch.linspace(*DECAYS, width).reshape(heads, -1))
        weights[f"{b}time_faaaa"].zero_()
        weights[f"{b}key.weight"].copy_(0.5 * orthogonal(width))
        weights[f"{b}receptance.weight"].copy_(weights[f"{b}key.weight"])
        weights[f"{b}value.weight"].copy_(orthogonal(width))
        weights[f"{b}output.weight"].copy_(OUTPUT_GAIN * weights[f"{b}value.weight"].t())
        weights[f"{b}gate.weight"].mul_(0.5)[:, 0] = OPEN_GATE
    unit = weights["emb.weight"] / weights["emb.weight"].std()
    weights["head.weight"].copy_(unit * 0.5 / math.sqrt(width))


def orthogonal(width):
    """A random rotation that does not read channel 0."""
    matrix = torch.linalg.qr(torch.randn(width, width))[0]
    matrix[:, 0] = 0
    return matrix
