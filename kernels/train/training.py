"""From a recipe to its export: languages, vocabulary and base in, model directory or file out."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

import base as bases
import corpus
import device as devices
import export
import grow
import results
import vocabulary
from disk import write_whole
from failures import Failure, Misuse
from model import CHUNK
from run import Run

HERE = Path(__file__).parent


@dataclass
class Subject:
    """What is trained, and on what."""

    languages: list
    base: object
    shape: dict
    vocabulary: Path
    tokenizer: object


def train(recipe, arguments, show):
    """Runs a recipe and, when it is finished, exports; returns how `Run.train` ended."""
    work = Path(arguments.work or HERE / "work" / f"{recipe['name']}-{recipe['mode']}")
    out = output(recipe, arguments)
    subject = open_subject(recipe, work, arguments.resume)
    device = devices.choose(arguments.device, recipe)
    end = budget(recipe, arguments, device)
    run = Run(recipe, subject, device, path=work / "checkpoint.safetensors", end=end)
    if arguments.resume:
        run.load()
    try:
        ending = run.train(show, arguments.pause_at)
    except torch.cuda.OutOfMemoryError as error:
        raise Failure("the GPU has too little memory: lower rowsGpu in the recipe") from error
    if ending != "finished":
        return ending
    into_house = recipe["mode"] == "pretrain" and not arguments.out
    folder = Path(arguments.results or (HERE / "results" if into_house else work))
    results.write(folder / f"{recipe['name']}.loss.json", facts(run), run.curve)
    write_output(run, subject, out)
    return ending


def output(recipe, arguments):
    if arguments.out:
        return Path(arguments.out)
    if recipe["mode"] == "pretrain":
        return HERE.parent / "models" / recipe["name"]
    raise Misuse(f"mode {recipe['mode']} writes one file: name it with --out FILE.safetensors")


def open_subject(recipe, work, resumed):
    if recipe["rowTokens"] % CHUNK:
        raise Misuse(f"rowTokens must be a multiple of {CHUNK}, not {recipe['rowTokens']}")
    languages = corpus.read_languages(recipe["data"], recipe["languages"])
    languages = corpus.leave_out(languages, recipe["without"])
    base = bases.open_base(recipe["base"]) if recipe["base"] else None
    if base and not grows(recipe, base):
        path, shape = base.vocabulary, base.shape
        entries = vocabulary.read(path)
    else:
        path = work / "vocab.txt"
        if not resumed:
            codes = recipe["languages"]
            learnt = vocabulary.learn(
                list(corpus.lines(languages)), recipe["vocabularySize"], codes
            )
            write_whole(path, vocabulary.as_text(learnt))
        entries = vocabulary.read(path)
        rows = math.ceil((len(entries) + 1) / 64) * 64
        shape = {**(base.shape if base else recipe["shape"]), "vocabSize": rows}
        if base:
            grow.grow(base.weights, vocabulary.read(base.vocabulary), entries, rows)
    return Subject(languages, base, shape, path, vocabulary.Tokenizer(entries))


def grows(recipe, base):
    """A whole model can go on with a larger vocabulary than its base's."""
    size = recipe["vocabularySize"] or 0
    return recipe["mode"] == "pretrain" and size > base.shape["vocabSize"]


def budget(recipe, arguments, device):
    if arguments.steps:
        return {"steps": arguments.steps}
    if recipe["tokens"] and not arguments.minutes:
        return {"steps": math.ceil(recipe["tokens"] / (device.rows * recipe["rowTokens"]))}
    minutes = arguments.minutes or recipe["minutes"]
    if not minutes:
        raise Misuse("how long? name minutes or tokens in the recipe, or use --minutes or --steps")
    return {"seconds": 60 * minutes}


def facts(run):
    return {
        "recipe": {k: v for k, v in run.recipe.items() if k not in ("data", "base")},
        "steps": run.step,
        "tokens": run.tokens,
        "seconds": round(run.seconds),
        "matmul": str(run.device.dtype),
        "machine": devices.machine(run.device),
        "parameters": sum(w.numel() for w in run.trained.values()),
    }


def write_output(run, subject, out):
    recipe = run.recipe
    if recipe["mode"] == "pretrain":
        export.place_vocabulary(subject.vocabulary, out)
        export.write_model(out, run.trained, subject.shape, recipe)
        return
    described = {
        "mode": recipe["mode"],
        "name": recipe["name"],
        "languages": ",".join(recipe["languages"]),
        "base_sha256": subject.base.sha256,
    }
    if recipe["mode"] == "lora":
        described |= {"rank": recipe["rank"], "alpha": recipe["alpha"]}
    else:
        described["time_state"] = "[head][value][key]"
    export.write_finetune(out, run.trained, described)
