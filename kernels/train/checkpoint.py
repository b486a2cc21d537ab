"""Checkpoints: written whole or not at all, and read only by the run they belong to.

A checkpoint is a safetensors file: no pickle is read. It carries the identity of its run (hashes of
recipe, dialogues, base and vocabulary); a run of another identity refuses it and names what
differs. How long to train and on what machine may change between the parts of a run.
"""

import hashlib
import json
from pathlib import Path

import tensorfile
from failures import Failure, Misuse

# Settings that may differ when a run goes on.
FREE = ("minutes", "tokens", "threads", "rowsGpu", "licence", "about", "data", "base")


def identity(recipe, base, vocabulary):
    """What a run's numbers depend on, as hashes by name."""
    settings = {key: value for key, value in recipe.items() if key not in FREE}
    dialogues = [
        (recipe["data"] / f"{code}.txt").read_bytes() for code in sorted(recipe["languages"])
    ]
    return {
        "recipe": digest(json.dumps(settings, sort_keys=True).encode()),
        "dialogues": digest(b"\0".join(dialogues)),
        "base": base.sha256 if base else "none",
        "vocabulary": digest(Path(vocabulary).read_bytes()),
    }


def digest(data):
    return hashlib.sha256(data).hexdigest()


def save(path, tensors, facts):
    """`facts` is what JSON can hold, the identity among it."""
    tensorfile.write(path, tensors, {"facts": json.dumps(facts)})


def load(path, wanted):
    """Tensors on the CPU and facts of a checkpoint of the run with the identity `wanted`."""
    if not Path(path).is_file():
        raise Misuse(f"no checkpoint {path}; leave --resume out or correct --work")
    try:
        tensors, metadata = tensorfile.read(path)
        facts = json.loads(metadata["facts"])
        found = facts["identity"]
    except (Failure, ValueError, KeyError, TypeError) as error:
        raise Failure(f"checkpoint {path} is damaged; start anew without --resume") from error
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if differing:
        raise Misuse(
            f"checkpoint {path} belongs to another run (other {', '.join(differing)}); "
            "choose another --work, or start anew without --resume"
        )
    return tensors, facts
