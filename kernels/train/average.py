"""Averages the weights of models that were trained one from the other, and exports the mean.

    python3 average.py --of work/eaglet:0.5 --of work/eaglet-fourth:0.5 \\
        --recipe eaglet.json --out ../models/eaglet

What a last part learnt and what an earlier one knew lie in one basin of the loss: their mean does better
on questions that neither has seen (Wortsman et al. 2022, "Robust fine-tuning", arXiv 2109.01903).
"""

import argparse
import sys
from pathlib import Path

import base as bases
import export
import recipe as recipes
from failures import Failure, Misuse


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--of", action="append", required=True, metavar="DIRECTORY:SHARE", help="twice or more")
    add("--recipe", required=True, help="whose name, languages and licence the mean bears")
    add("--out", required=True, help="model directory")
    arguments = parser.parse_args()
    write_mean([part(one) for one in arguments.of], recipes.read(arguments.recipe), arguments.out)


def part(text):
    directory, colon, share = text.rpartition(":")
    try:
        if colon and float(share) > 0:
            return bases.open_base(directory), float(share)
    except ValueError:
        pass
    raise Misuse(f"--of {text}: a model directory and its share, such as work/eaglet:0.5")


def write_mean(parts, recipe, out):
    first = parts[0][0]
    words = first.vocabulary.read_bytes()
    for model, _ in parts[1:]:
        if model.shape != first.shape or model.vocabulary.read_bytes() != words:
            raise Misuse("only models of one shape and vocabulary have a mean")
    whole = sum(share for _, share in parts)
    weights = {
        name: sum(model.weights[name].float() * (share / whole) for model, share in parts)
        for name in first.weights
    }
    export.place_vocabulary(first.vocabulary, Path(out))
    export.write_model(out, weights, first.shape, recipe)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        print(f"average: {failure}", file=sys.stderr)
        raise SystemExit(failure.exit_code) from None
