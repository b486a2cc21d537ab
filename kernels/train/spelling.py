"""Varies how a user's line is written: openers, casing, punctuation, typing errors, lost words.

The lists `@opener`, `@closer`, `@ending` and, for languages without spaces, `@droppable` of a data
file say what may be added or lost. Dynamic placeholders are guarded by private-use characters
while a line is varied, so that a name stays letter for letter what the answer must repeat.
"""

import unicodedata

import corpus

GUARDS = {name: chr(0xE000 + index) for index, name in enumerate(corpus.DYNAMIC)}
# Latin letters with marks, often typed without them
ACCENTED = set("de es et eu fr ht it pt qu tr vi".split())
GERMAN = (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss"))
UNDECOMPOSED = str.maketrans({"ß": "ss", "ı": "i", "đ": "d", "Đ": "D"})


def vary(text, language, rng):
    """One spelling of a line; its placeholders are replaced by their guards."""
    for name, guard in GUARDS.items():
        text = text.replace("{" + name + "}", guard)
    if text[:1] in "/.?!…" or rng.random() < 0.15:
        return text
    text = text.rstrip("？?！!。.؟।။")
    if rng.random() < 0.2:
        text = drop_word(text, language, rng)
    text = add_filler(text, language, rng)
    if language.code in ACCENTED and rng.random() < 0.15:
        text = without_accents(text, language, rng)
    if rng.random() < 0.12:
        text = typing_error(text, rng)
    return recase(text, rng) + rng.choice(language.lists.get("ending", [""]))


def add_filler(text, language, rng):
    gap = "" if is_spaceless(language) else " "
    chance = rng.random()
    if chance < 0.12 and "opener" in language.lists:
        return rng.choice(language.lists["opener"]) + gap + text
    if 0.12 <= chance < 0.22 and "closer" in language.lists:
        return text + gap + rng.choice(language.lists["closer"])
    return text


def is_spaceless(language):
    """Written without spaces between words, so that only `@droppable` says what a word is."""
    return "droppable" in language.lists


def splice(first, second, language, rng):
    """At least half of one line, then at least half of another that means the same: what is meant is
    said in an order of words that nobody wrote, and no place in it can be relied on."""
    spaceless = is_spaceless(language)
    head, tail = (list(line) if spaceless else line.split(" ") for line in (first, second))
    head = head[: rng.randint((len(head) + 1) // 2, len(head))]
    tail = tail[rng.randint(0, len(tail) // 2) :]
    return ("" if spaceless else " ").join(head + tail)


def drop_word(text, language, rng):
    """Loses one word; placeholders are never lost."""
    if is_spaceless(language):
        words = [w for w in language.lists["droppable"] if w in text and len(text) > len(w) + 4]
        return text.replace(rng.choice(words), "", 1) if words else text
    words = text.split(" ")
    position = rng.randrange(len(words))
    if len(words) < 4 or any(guard in words[position] for guard in GUARDS.values()):
        return text
    return " ".join(words[:position] + words[position + 1 :])


def without_accents(text, language, rng):
    """As typed on a foreign keyboard: a for á; in German also ae for ä."""
    if language.code == "de" and rng.random() < 0.5:
        for letter, plain in GERMAN:
            text = text.replace(letter, plain)
        return text
    kept = (c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return "".join(kept).translate(UNDECOMPOSED)


def typing_error(text, rng):
    """Swaps, drops, doubles or replaces one letter of a longer line."""
    places = [i for i in range(1, len(text) - 1) if text[i].isalpha() and text[i + 1].isalpha()]
    if len(places) < 4:
        return text
    i = rng.choice(places)
    first, second = text[i], text[i + 1]
    nearby = "aeinrst" if first.isascii() else [text[place] for place in places]
    replaced = rng.choice(nearby) + second
    middle = rng.choice([second + first, second, first * 2 + second, replaced])
    return text[:i] + middle + text[i + 2 :]


def recase(text, rng):
    chance = rng.random()
    if chance < 0.4:
        return text.lower()
    if chance < 0.75:
        return text[:1].upper() + text[1:]
    return text.upper() if chance < 0.78 else text
