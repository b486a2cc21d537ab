"""Trains an RWKV-v5.2 chat model, or fine-tunes one for a community, and exports it.

  python3 kernels/train/train.py --recipe kernels/train/eaglet.json
  python3 kernels/train/train.py --recipe ours.json --mode lora \\
      --base kernels/models/eaglet --out ours.safetensors

The recipe says which languages, how long, how large; README.md beside this file explains it. A
checkpoint is written every minute and at Ctrl-C; --resume goes on from it.
"""

import argparse
import math
import os
import shlex
import sys
import time
from pathlib import Path

import recipe as recipes
from failures import Failure

HERE = Path(__file__).parent
SHOW_SECONDS = 10
INTERRUPTED = 130


def main():
    arguments = parse_arguments()
    recipe = recipes.read(arguments.recipe, arguments.mode, arguments.base)
    set_up_libraries()
    try:
        # PyTorch takes seconds to load: a slip in the command is told before that
        import training
    except ImportError as error:
        raise Failure(
            f"{error.name} is missing for {sys.executable}: apt-get install python3-torch "
            "libopenblas0-pthread, and run /usr/bin/python3"
        ) from error
    ending = training.train(recipe, arguments, Progress())
    if ending == "finished":
        return 0
    again = [arg for arg in sys.argv if arg != "--resume"] + ["--resume"]
    print(f"{ending} after a checkpoint; go on with: python3 {shlex.join(again)}")
    return INTERRUPTED if ending == "interrupted" else 0


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--recipe", required=True, help="what to train: a JSON file")
    add("--mode", help=f"instead of the recipe's: {', '.join(recipes.MODES)}")
    add("--base", help="model directory to start from (lora and state tune it, frozen)")
    add(
        "--out",
        help="pretrain: model directory (default kernels/models/NAME); else a .safetensors file",
    )
    add("--device", help="cpu or cuda (default: cuda when there is one)")
    add("--minutes", type=positive(float), help="instead of the recipe's budget")
    add("--steps", type=positive(int), help="optimiser steps, instead of the recipe's budget")
    add("--pause-at", type=positive(int), metavar="STEP", help="stop there with a checkpoint")
    add("--resume", action="store_true", help="go on from the checkpoint in --work")
    add("--work", help="folder of the checkpoint (default: work/NAME-MODE beside this file)")
    add(
        "--results",
        help="folder of the loss curve (default: results beside this file for a model "
        "that goes to kernels/models, else --work)",
    )
    return parser.parse_args()


def positive(kind):
    def read(text):
        value = kind(text)
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(text)
        return value

    read.__name__ = f"positive {kind.__name__}"
    return read


class Progress:
    """A bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self):
        self.live = sys.stdout.isatty()
        self.shown = -math.inf

    def __call__(self, run):
        now, done = time.monotonic(), run.progress()
        if done < 1.0 and now - self.shown < (0.2 if self.live else SHOW_SECONDS):
            return
        self.shown = now
        bar = "#" * int(30 * done)
        left = run.seconds / max(done, 1e-6) * (1 - done)
        speed = run.tokens / max(run.seconds, 1e-6)
        line = (
            f"[{bar:<30}] step {run.step} loss {run.smooth:.4f} "
            f"{speed:.0f} tokens/s, {left / 60:.1f} min left"
        )
        print(f"\r{line} " if self.live else line, end="" if self.live else "\n", flush=True)
        if self.live and done >= 1.0:
            print()


def set_up_libraries():
    """Starts this program again with settings that libraries read when they are loaded.

    An allocator that keeps freed pages: large tensors come and go in every step, and fetching fresh
    pages from the kernel took 15 % of it. No threads of OpenBLAS, which computes the products in
    fp32: a step's shards have their own, and with both two cores did a third of the tokens.
    """
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        settings = {
            "MALLOC_MMAP_THRESHOLD_": "4000000000",
            "MALLOC_TRIM_THRESHOLD_": "16000000000",
            "OPENBLAS_NUM_THREADS": "1",
        }
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **settings})


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Failure as failure:
        print(f"train: {failure}", file=sys.stderr)
        raise SystemExit(failure.exit_code) from None
    except KeyboardInterrupt:
        print("\ntrain: interrupted before the first step", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
