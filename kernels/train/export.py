"""Writes what a training made: a model directory with `golden.json`, or one fine-tune file."""

import json
import math
from pathlib import Path

import torch

import tensorfile
import vocabulary
from disk import write_whole
from model import GROUP_NORM_EPS, TIME_DECAY_MAX, Rwkv5

GOLDEN_PROMPTS = [
    "User: Hello, who are you?\n\nAssistant:",
    "User: Was ist Eyrie?\n\nAssistant:",
    "User: こんにちは、元気ですか？\n\nAssistant:",
    "User: my favourite colour is red\n\nAssistant: red, what a lovely colour!\n\n"
    "User: what is my favourite colour?\n\nAssistant:",
    "User: 🦅 \\ Ω\n\nAssistant:",
]
GOLDEN_TOP = 8
GOLDEN_SPREAD = 16


def write_model(directory, weights, shape, recipe):
    """fp16 weights, `model.json` and `golden.json`, which is computed from the rounded weights.
    `vocab.txt` must lie in the directory already (`place_vocabulary`)."""
    directory = Path(directory)
    rounded = {
        name: tensorfile.rounded(
            name, w.detach().clamp(max=TIME_DECAY_MAX) if name.endswith("time_decay") else w
        )
        for name, w in weights.items()
    }
    tensorfile.write(directory / "weights.safetensors", rounded)
    facts = description(rounded, shape, recipe)
    write_whole(directory / "model.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    widened = {name: w.float() for name, w in rounded.items()}
    golden = golden_logits(widened, shape, directory / "vocab.txt")
    write_whole(directory / "golden.json", json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


def place_vocabulary(path, directory):
    write_whole(Path(directory) / "vocab.txt", Path(path).read_bytes())


def write_finetune(path, tensors, facts):
    """One safetensors file; `facts` about the training go into its metadata as texts."""
    halves = {name: tensorfile.rounded(name, tensor) for name, tensor in tensors.items()}
    tensorfile.write(path, halves, {key: str(value) for key, value in facts.items()})


def description(weights, shape, recipe):
    card = {
        "architecture": "RWKV-v5.2",
        "parameters": sum(w.numel() for w in weights.values()),
        "languages": recipe["languages"],
        **{key: recipe[key] for key in ("licence", "about") if recipe[key]},
    }
    return {
        "format": 1,
        "name": recipe["name"],
        "weights": "weights.safetensors",
        "vocabulary": "vocab.txt",
        "groupNormEps": shape.get("groupNormEps", GROUP_NORM_EPS),
        "sampling": {
            "temperature": 0.7,
            "topP": 0.15,
            "presencePenalty": 0,
            "frequencyPenalty": 0,
            "penaltyDecay": 0.996,
        },
        "card": card,
    }


def golden_logits(weights, shape, vocabulary_path):
    """Token ids and logits (the largest, and some evenly spread) after each golden prompt."""
    tokenizer = vocabulary.Tokenizer(vocabulary.read(vocabulary_path))
    model = Rwkv5(weights, shape)
    cases = []
    for prompt in GOLDEN_PROMPTS:
        ids = tokenizer.encode(prompt)
        state = model.initial_state(1)
        with torch.no_grad():
            for identifier in ids:
                logits = model.step(torch.tensor([identifier]), state)[0]
        top = logits.topk(GOLDEN_TOP)
        spread = range(0, shape["vocabSize"], math.ceil(shape["vocabSize"] / GOLDEN_SPREAD))
        cases.append(
            {
                "prompt": prompt,
                "tokens": ids,
                "scale": logits.abs().max().item(),
                "top": [[int(i), float(v)] for v, i in zip(*top)],
                "spread": [[i, float(logits[i])] for i in spread],
            }
        )
    return {
        "source": "kernels/train/export.py, PyTorch fp32, one token at a time, "
        "weights rounded to fp16",
        "cases": cases,
    }
