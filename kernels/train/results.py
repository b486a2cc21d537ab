"""The loss curve of a run, as JSON with the run's facts and as an SVG picture.

    python3 kernels/train/results.py results/eaglet.loss.json    # draws the picture again
"""

import json
import math
import sys
from pathlib import Path

from disk import write_whole

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 40, 48
TICKS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)


def write(path, facts, curve):
    """`<path>` (.json) and the picture beside it (.svg)."""
    body = ",\n    ".join(json.dumps(point) for point in curve)
    head = json.dumps(facts, indent=2, ensure_ascii=False)[:-2]
    write_whole(path, head + ',\n  "curve": [\n    ' + body + "\n  ]\n}\n")
    if len(curve) > 1:
        write_whole(Path(path).with_suffix(".svg"), drawing(facts, curve))


def drawing(facts, curve):
    """Loss on a logarithmic scale over optimiser steps."""
    losses = [max(point["loss"], TICKS[0]) for point in curve]
    first, last = curve[0]["step"], curve[-1]["step"]
    low, high = math.log(min(losses) * 0.8), math.log(max(losses) * 1.2)

    def across(step):
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - first) / max(1, last - first)

    def down(loss):
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - math.log(loss)) / (high - low)

    marks = []
    for loss in (tick for tick in TICKS if low <= math.log(tick) <= high):
        y = f"{down(loss):.1f}"
        marks.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        marks.append(label(LEFT - 8, y, f"{loss:g}", "end"))
    for quarter in range(5):
        step = round(first + (last - first) * quarter / 4)
        marks.append(label(f"{across(step):.1f}", HEIGHT - BOTTOM + 18, f"{step:,}", "middle"))
    line = " ".join(f"{across(p['step']):.1f},{down(v):.1f}" for p, v in zip(curve, losses))
    title = f"{facts['recipe']['name']}: loss of the answers' tokens, {facts['tokens']:,} tokens"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12" role="img">',
            f"<title>{title}</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            label(LEFT, 24, title, "start"),
            *marks,
            label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, "optimiser steps", "middle"),
            f'<polyline points="{line}" fill="none" stroke="#1f6fb2" stroke-width="1.5"/>',
            "</svg>\n",
        ]
    )


def label(x, y, text, anchor):
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="#333">{text}</text>'


if __name__ == "__main__":
    for source in map(Path, sys.argv[1:]):
        recorded = json.loads(source.read_text(encoding="utf-8"))
        write_whole(source.with_suffix(".svg"), drawing(recorded, recorded["curve"]))
