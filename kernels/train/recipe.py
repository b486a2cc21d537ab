"""Reads a recipe: what is trained, on which languages, how long.

Promises a dictionary with every setting of `SETTINGS`, each of the right kind, or `Misuse` naming
the one that is wrong. `--mode` and `--base` of the command line win over the recipe's.
"""

import json
import re
from pathlib import Path

from failures import Misuse

HERE = Path(__file__).parent
MODES = ("pretrain", "lora", "state")
MATRICES = (
    "att.receptance att.key att.value att.gate att.output ffn.key ffn.receptance ffn.value".split()
)
PARTS = ("time", "ln")
REQUIRED = object()


def whole(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def share(value):
    return number(value) and value < 1


def places(value):
    return isinstance(value, list) and all(isinstance(v, int) and v >= 0 for v in value)


def text(value):
    return isinstance(value, str)


def file_name(value):
    return text(value) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", value) is not None


def codes(value):
    return isinstance(value, list) and len(value) > 0 and all(map(file_name, value))


def some_of(names):
    return lambda value: isinstance(value, list) and set(map(str, value)) <= set(names)


def shares(value):
    return isinstance(value, dict) and all(number(v) and v > 0 for v in value.values())


def is_shape(value):
    keys = ("layers", "width", "headSize", "ffnWidth")
    return (
        isinstance(value, dict)
        and set(value) == set(keys)
        and all(whole(value[key]) for key in keys)
        and 8 <= value["headSize"] <= 128
        and value["width"] % value["headSize"] == 0
    )


# setting: what it must be, the check, the default
SETTINGS = {
    "name": ("a plain file name", file_name, REQUIRED),
    "languages": ("a list of codes such as en", codes, REQUIRED),
    "shares": ("how often each language is drawn, 1 where nothing is said", shares, {}),
    "without": ("a list of intents", lambda value: isinstance(value, list), []),
    "mode": ("pretrain, lora or state", lambda value: value in MODES, "pretrain"),
    "data": ("a folder, seen from the recipe's", text, None),
    "base": ("a model directory, seen from the recipe's", text, None),
    "shape": ("layers, width = heads x headSize (8..128), ffnWidth", is_shape, None),
    "vocabularySize": ("a whole number", whole, None),
    "rows": ("a whole number", whole, 12),
    "rowsGpu": ("a whole number", whole, 64),
    "rowTokens": ("a whole number", whole, 128),
    "learningRate": ("a number", number, 0.002),
    "weightDecay": ("a number", number, 0.0),
    "recallLayers": ("a list of layers' places", places, []),
    "drills": ("a share below 1", share, 0.0),
    "focusFloor": ("a share up to 1", lambda value: number(value) and 0 < value <= 1, 1.0),
    "cutAnswers": ("a share below 1", share, 0.0),
    "minutes": ("a number", number, None),
    "tokens": ("a whole number", whole, None),
    "threads": ("a whole number", whole, 2),
    "seed": ("a whole number", whole, 1),
    "rank": ("a whole number", whole, 8),
    "alpha": ("a number", number, 16),
    "targets": (f"some of {', '.join(MATRICES)}", some_of(MATRICES), list(MATRICES)),
    "train": ("some of time, ln", some_of(PARTS), []),
    "licence": ("a text", text, None),
    "about": ("a text", text, None),
}


def read(path, mode=None, base=None):
    """The settings at `path`, folders resolved to paths."""
    path = Path(path)
    given = {**parse(path), **({"mode": mode} if mode else {})}
    settings = {}
    for key, (meaning, check, default) in SETTINGS.items():
        if key in given and not check(given[key]):
            raise Misuse(f"{path}: {key} must be {meaning}, not {json.dumps(given[key])}")
        if key not in given and default is REQUIRED:
            raise Misuse(f"{path}: {key} is missing; it must be {meaning}")
        settings[key] = given.get(key, default)
    unknown = sorted(set(given) - set(SETTINGS))
    if unknown:
        raise Misuse(f"{path}: unknown setting {unknown[0]}; known are {', '.join(SETTINGS)}")
    settings["data"] = path.parent / settings["data"] if settings["data"] else HERE / "data"
    if base or settings["base"]:
        settings["base"] = Path(base) if base else path.parent / settings["base"]
    complete(path, settings)
    return settings


def parse(path):
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misuse(f"recipe {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Misuse(f"recipe {path} is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise Misuse(f"recipe {path} must be a JSON object")
    return given


def complete(path, settings):
    """Settings that depend on one another."""
    mode, base = settings["mode"], settings["base"]
    if mode != "pretrain" and base is None:
        raise Misuse(f"mode {mode} tunes a model: name its directory with --base")
    if base is None and not (settings["shape"] and settings["vocabularySize"]):
        raise Misuse(f"{path}: without a base, shape and vocabularySize are needed")
    if any(place >= (settings["shape"] or {}).get("layers", 0) for place in settings["recallLayers"]):
        raise Misuse(f"{path}: recallLayers are places below the shape's number of layers")
    if settings["minutes"] and settings["tokens"]:
        raise Misuse(f"{path}: minutes or tokens, not both")
    if mode == "lora" and not settings["targets"] and not settings["train"]:
        raise Misuse(f"{path}: nothing to train: targets and train are both empty")
