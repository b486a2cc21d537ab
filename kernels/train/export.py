"""Writes a model directory: fp16 safetensors, vocabulary, model.json and golden.json."""

import json
import shutil
import struct
from pathlib import Path

import torch

import vocabulary
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


def write_model(weights, shape, recipe, vocabulary_path, directory):
    """Rounds the weights to fp16 and writes the directory; `golden.json` uses the rounded ones."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    rounded = {}
    for name, weight in weights.items():
        weight = weight.detach()
        if name.endswith("time_decay"):
            weight = weight.clamp(max=TIME_DECAY_MAX)
        rounded[name] = weight.to(torch.float16)
    write_safetensors(directory / "weights.safetensors", rounded)
    if Path(vocabulary_path).resolve() != (directory / "vocab.txt").resolve():
        shutil.copyfile(vocabulary_path, directory / "vocab.txt")
    (directory / "model.json").write_text(
        json.dumps(description(rounded, shape, recipe), indent=2, ensure_ascii=False) + "\n"
    )
    golden = golden_logits(
        {name: w.float() for name, w in rounded.items()}, shape, directory / "vocab.txt"
    )
    (directory / "golden.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n")


def description(weights, shape, recipe):
    return {
        "format": 1,
        "name": recipe["name"],
        "weights": "weights.safetensors",
        "vocabulary": "vocab.txt",
        "groupNormEps": GROUP_NORM_EPS,
        "sampling": {
            "temperature": 0.7,
            "topP": 0.3,
            "presencePenalty": 0,
            "frequencyPenalty": 0,
            "penaltyDecay": 0.996,
        },
        "card": {
            "architecture": "RWKV-v5.2",
            "parameters": sum(w.numel() for w in weights.values()),
            "languages": recipe["languages"],
            "licence": "Apache-2.0",
            "about": "Eyrie's guide: a demo model that knows little and can be wrong. See MODEL_CARD.md.",
        },
    }


def write_safetensors(path, tensors):
    """The safetensors layout: u64 header length, JSON header padded with spaces to 8, raw data."""
    header, offset, blobs = {"__metadata__": {"format": "pt"}}, 0, []
    for name, tensor in tensors.items():
        data = tensor.contiguous().numpy().tobytes()
        header[name] = {
            "dtype": "F16",
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        offset += len(data)
        blobs.append(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def read_safetensors(path):
    """fp32 tensors by name; only what `write_safetensors` writes."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = (
            torch.frombuffer(bytearray(data[start:end]), dtype=torch.float16)
            .reshape(entry["shape"])
            .float()
        )
    return tensors


def shape_of(tensors):
    """The shape dictionary that the weights themselves imply."""
    vocabulary_size, width = tensors["emb.weight"].shape
    return {
        "layers": 1
        + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks.")),
        "width": width,
        "headSize": tensors["blocks.0.att.time_decay"].shape[1],
        "ffnWidth": tensors["blocks.0.ffn.key.weight"].shape[0],
        "vocabSize": vocabulary_size,
    }


def golden_logits(weights, shape, vocabulary_path):
    """Token ids and logits (the largest, and some evenly spread) after each golden prompt."""
    tokenizer = vocabulary.Tokenizer(vocabulary.read(vocabulary_path))
    model = Rwkv5(weights, shape)
    cases = []
    for prompt in GOLDEN_PROMPTS:
        ids = tokenizer.encode(prompt)
        state = model.zero_state(1)
        with torch.no_grad():
            for identifier in ids:
                logits = model.step(torch.tensor([identifier]), state)[0]
        top = logits.topk(GOLDEN_TOP)
        spread = range(0, shape["vocabSize"], shape["vocabSize"] // 16)
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
        "source": "kernels/train/export.py, PyTorch fp32, one token at a time, weights rounded to fp16",
        "cases": cases,
    }
