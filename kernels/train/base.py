"""Opens a model directory (`model.json`, safetensors, vocabulary) as the base of a training."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import tensorfile
import vocabulary
from failures import Failure, Misuse
from model import GROUP_NORM_EPS

# Rows of the embedding beyond the vocabulary: makers round up to 64 and seldom further.
UNUSED_ROWS_MAX = 256


@dataclass
class Base:
    weights: dict
    shape: dict
    vocabulary: Path
    sha256: str


def open_base(directory):
    """The model, its [1, 1, D] as [D]; `Misuse` when there is none, `Failure` when it is broken."""
    directory = Path(directory)
    try:
        description = json.loads((directory / "model.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise Misuse(f"no model in {directory}: model.json cannot be read; see --base") from error
    except ValueError as error:
        raise Failure(f"{directory / 'model.json'} is not JSON") from error
    path = directory / description.get("weights", "weights.safetensors")
    tensors, _ = tensorfile.read(path)
    weights = {n: w.reshape([e for e in w.shape if e != 1]) for n, w in tensors.items()}
    shape = shape_of(weights, path)
    shape["groupNormEps"] = description.get("groupNormEps", GROUP_NORM_EPS)
    words = description.get("vocabulary")
    if words is None or not (directory / words).is_file():
        raise Failure(f"model {directory} has no vocabulary file; put its vocab.txt there")
    unused = shape["vocabSize"] - 1 - len(vocabulary.read(directory / words))
    if not 0 <= unused <= UNUSED_ROWS_MAX:
        raise Failure(
            f"vocabulary {directory / words} is not this model's: {shape['vocabSize'] - unused} "
            f"ids for {shape['vocabSize']} rows; put the model's own there"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Base(weights, shape, directory / words, digest)


def shape_of(weights, path):
    """The shape that the weights themselves imply."""
    try:
        vocabulary_size, width = weights["emb.weight"].shape
        blocks = {int(name.split(".")[1]) for name in weights if name.startswith("blocks.")}
        if "blocks.0.att.gate.weight" not in weights or "blocks.0.att.time_maa_x" in weights:
            raise KeyError("blocks.0.att.gate.weight")
        return {
            "layers": max(blocks) + 1,
            "width": width,
            "headSize": weights["blocks.0.att.time_decay"].shape[1],
            "ffnWidth": weights["blocks.0.ffn.key.weight"].shape[0],
            "vocabSize": vocabulary_size,
        }
    except (KeyError, ValueError, IndexError) as error:
        raise Failure(
            f"{path} holds no RWKV-v5.2 weights: {error} is missing or misshapen"
        ) from error
