"""The hand-written dialogues: reads `data/<lang>.txt` and expands its question patterns.

A file holds `[intent]` blocks; inside one, lines that start with `> ` are answers and every other
line is a question pattern. `(a|b|)` is a choice, `{list}` a choice from the line
`@list = a|b`, and `{name}`, `{number}`, `{word}`, `{gibberish}` are filled by `data.py`.
A malformed file raises ValueError with its line number.
"""

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path

CHOICE = re.compile(r"\(([^()]*)\)")
PLACEHOLDER = re.compile(r"\{(\w+)\}")
# Filled with fresh values for every dialogue; lists of a file that an answer also names stay, too.
DYNAMIC = ("name", "number", "word", "gibberish", "user_colour")


@dataclass
class Intent:
    name: str
    answers: list = field(default_factory=list)
    patterns: list = field(default_factory=list)


@dataclass
class Language:
    code: str
    lists: dict
    intents: dict


def read_language(path):
    """One data file as a Language."""
    language = Language(Path(path).stem, {}, {})
    intent = None
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("@"):
            name, values = line[1:].split("=", 1)
            language.lists[name.strip()] = [value.strip() for value in values.split("|")]
        elif line.startswith("["):
            intent = language.intents.setdefault(line[1:-1], Intent(line[1:-1]))
        elif intent is None:
            raise ValueError(f"{path}:{number}: text before the first [intent]")
        elif line.startswith("> "):
            intent.answers.append(line[2:])
        else:
            intent.patterns.append(line)
    for intent in language.intents.values():
        if not intent.answers or not intent.patterns:
            raise ValueError(f"{path}: [{intent.name}] needs answers and questions")
    return language


def read_languages(folder):
    return [read_language(path) for path in sorted(Path(folder).glob("*.txt"))]


def read_held_out(path):
    """Pairs (intent, question) of a held-out file."""
    pairs = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            intent, question = line.split(": ", 1)
            pairs.append((intent, question))
    return pairs


def tidy(text):
    """Empty choices leave double spaces behind."""
    return re.sub(r" +", " ", text).strip()


def draw(pattern, language, rng):
    """One random expansion; dynamic placeholders stay."""
    text = CHOICE.sub(lambda m: rng.choice(m.group(1).split("|")), pattern)
    text = PLACEHOLDER.sub(lambda m: fill_list(m, language, rng), text)
    return tidy(text)


def choose(pattern, place):
    """The pattern with the `place`-th alternative (counted round) of every choice."""

    def alternative(match):
        texts = match.group(1).split("|")
        return texts[place % len(texts)]

    return tidy(CHOICE.sub(alternative, pattern))


def fill_list(match, language, rng):
    name = match.group(1)
    return match.group(0) if name in DYNAMIC else rng.choice(language.lists[name])


def expand(pattern, language):
    """Every expansion of a pattern; dynamic placeholders stay."""
    parts = []
    for index, part in enumerate(CHOICE.split(pattern)):
        parts.append(part.split("|") if index % 2 else [part])
    for choice in itertools.product(*parts):
        yield from expand_lists("".join(choice), language)


def expand_lists(text, language):
    for match in PLACEHOLDER.finditer(text):
        if match.group(1) not in DYNAMIC:
            for value in language.lists[match.group(1)]:
                yield from expand_lists(text.replace(match.group(0), value, 1), language)
            return
    yield tidy(text)
