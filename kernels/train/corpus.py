"""The hand-written dialogues: reads `<lang>.txt` and expands its question patterns.

A file holds `[intent]` blocks; inside one, lines that start with `> ` are answers and every other
line is a question pattern. `(a|b|)` is a choice, `{list}` a choice from the line
`@list = a|b`, and `{name}`, `{number}`, `{word}`, `{gibberish}` are filled by `data.py`.
A malformed file is a `Failure` with its line number, a missing one a `Misuse`.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from failures import Failure, Misuse

CHOICE = re.compile(r"\(([^()]*)\)")
PLACEHOLDER = re.compile(r"\{(\w+)\}")
# Lists that hold the same things in every language, in one order.
ALIGNED = ("user_colour", "user_wish")
# Filled with fresh values for every dialogue; lists of a file that an answer also names stay, too.
DYNAMIC = ("name", "number", "word", "gibberish", *ALIGNED)


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


def read_languages(folder, codes):
    """The named languages, by code, and nothing else that the folder may hold."""
    folder = Path(folder)
    languages = []
    for code in sorted(set(codes)):
        path = folder / f"{code}.txt"
        if not path.is_file():
            there = ", ".join(sorted(p.stem for p in folder.glob("*.txt"))) or "none"
            raise Misuse(f"no dialogues for language {code}: write {path} (there are: {there})")
        languages.append(read_language(path))
    for name in ALIGNED:
        if len({len(la.lists[name]) for la in languages if name in la.lists}) > 1:
            raise Failure(f"{folder}: @{name} must list the same things in every language")
    return languages


def leave_out(languages, intents):
    """Drops intents, and every answer that names one as a command: what does not exist yet must not
    be promised. `language_command` is the intent of /language, since `languages` is another."""
    commands = ["/" + name.removesuffix("_command") for name in intents]
    for language in languages:
        for name in intents:
            language.intents.pop(name, None)
        for intent in language.intents.values():
            honest = [a for a in intent.answers if not any(c in a for c in commands)]
            if not honest:
                raise Failure(
                    f"{language.code} [{intent.name}]: every answer names a command left out"
                )
            intent.answers = honest
    return languages


def read_language(path):
    """One data file as a Language."""
    language = Language(Path(path).stem, {}, {})
    intent = None
    places = []
    for number, line in enumerate(read_lines(path), 1):
        place = f"{path}:{number}"
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("@"):
            name, equals, values = line[1:].partition("=")
            if not equals or not re.fullmatch(r"\w+", name.strip()):
                raise Failure(f"{place}: a list is written @name = one|two")
            language.lists[name.strip()] = [value.strip() for value in values.split("|")]
        elif line.startswith("["):
            if not line.endswith("]") or len(line) < 3:
                raise Failure(f"{place}: an intent is written [name]")
            intent = language.intents.setdefault(line[1:-1], Intent(line[1:-1]))
        elif intent is None:
            raise Failure(f"{place}: text before the first [intent]")
        elif line.startswith("> "):
            intent.answers.append(line[2:])
            places.append((place, line[2:], True))
        else:
            intent.patterns.append(line)
            check_choices(place, line)
            places.append((place, line, False))
    check_placeholders(places, language)
    check_intents(path, language)
    return language


def read_lines(path):
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise Failure(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from error


def check_choices(place, pattern):
    """A bracket outside every choice, or one inside another, is nearly always a slip."""
    if re.search(r"[(|)]", CHOICE.sub("", pattern)):
        raise Failure(f"{place}: choices are written (one|two) and do not nest: {pattern}")


def check_placeholders(places, language):
    """An answer can name what was told; its question also every list of the file."""
    for place, line, is_answer in places:
        for name in PLACEHOLDER.findall(line):
            if is_answer and name not in DYNAMIC:
                raise Failure(f"{place}: an answer may name {', '.join(DYNAMIC)}, not {{{name}}}")
            if name not in language.lists and (name not in DYNAMIC or name in ALIGNED):
                raise Failure(f"{place}: unknown {{{name}}}; add a line @{name} = … or correct it")


def check_intents(path, language):
    if not language.intents:
        raise Failure(f"{path}: holds no [intent]")
    for intent in language.intents.values():
        if not intent.answers or not intent.patterns:
            missing = "a question" if intent.answers else "an answer (> …)"
            raise Failure(f"{path}: [{intent.name}] needs {missing}")


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


def lines(languages):
    """What a vocabulary is learnt from: answers, lists, and patterns with all their choices."""
    for language in languages:
        for intent in language.intents.values():
            yield from intent.answers
            for pattern in intent.patterns:
                yield from sorted({choose(pattern, place) for place in range(4)})
        for values in language.lists.values():
            yield from values
