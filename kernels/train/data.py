"""Makes training rows: conversations composed from the hand-written intents.

A row is one conversation from the zero state: turns are drawn one after another, names, colours
and numbers told in it can be asked for later, and user lines are varied (fillers, casing,
punctuation, typing errors, missing accents, dropped words) so that the model meets each question
in many spellings. `Assistant` lines are never varied.
"""

import random
import unicodedata

import corpus

# Private-use characters stand for the dynamic placeholders while a line is varied.
GUARDS = {name: chr(0xE000 + index) for index, name in enumerate(corpus.DYNAMIC)}

FILLERS = {
    "en": (
        ["so", "hey,", "hi,", "hello,", "um,", "well,", "please,", "eaglet,", "okay,", "and", "now", "tell me,", "ah,"],
        ["please", "eaglet", "then", "now", "by the way", "my friend", "today", "thanks", "really", "actually", ":)"],
    ),
    "de": (
        ["also", "hey,", "hi,", "hallo,", "äh,", "na,", "bitte,", "eaglet,", "okay,", "und", "sag mal,", "du,", "ach,"],
        ["bitte", "eaglet", "denn", "jetzt", "übrigens", "mein Freund", "heute", "danke", "eigentlich", "mal", ":)"],
    ),
    "ja": (
        ["ねえ、", "あの、", "えっと、", "すみません、", "イーグレット、", "ところで、", "じゃあ、", "こんにちは、", "で、", "ちょっと"],
        ["お願いします", "ね", "よ", "かな", "教えて", "？", "、イーグレット", "(笑)", "〜"],
    ),
}
ENDINGS = {"en": ["", "", "?", "!", ".", "??", "..."], "de": ["", "", "?", "!", ".", "??", "..."], "ja": ["", "", "？", "。", "！", "?"]}
DROPPABLE = {"ja": ["は", "を", "が", "の", "ですか", "です", "ください", "何", "私"]}
WEIGHTS = {"unknown": 7, "greeting": 2, "who_are_you": 3, "talk": 2, "reset": 2, "stop": 1.5, "what_are_you": 1.5, "abilities": 1.5, "languages": 1.5,
           "name.tell": 3, "colour.tell": 1, "number.tell": 1, "echo": 3, "nonsense": 1.5}  # fmt: skip
NAMES = {
    "en": "Anna Ben Chloe David Emma Frank Grace Henry Isla Jack Kate Liam Mia Noah Olivia Peter Rose Sam Tom Zoe Alex Maria".split(),
    "de": "Anna Jonas Lena Felix Greta Heike Jürgen Karin Lukas Mila Nils Paula Stefan Uwe Werner Sabine Max Jörg Käthe Tim".split(),
    "ja": "田中 佐藤 鈴木 高橋 伊藤 渡辺 山本 中村 小林 加藤 さくら ひろし ゆき はると あおい けんじ めぐみ 花子 太郎 健太".split(),
}
KATAKANA = "アイウエオカキクケコサシスセソタチツテトナニノハヒフホマミムメモヤユヨラリルレロワン"
HIRAGANA = "あいうえおかきくけこさしすせそたちつてとなにのはひふほまみむめもやゆよらりるれろわん"


class Conversations:
    """An endless supply of rows; the same seed gives the same rows."""

    def __init__(self, languages, tokenizer, seed):
        self.languages = languages
        self.tokenizer = tokenizer
        self.rng = random.Random(seed)
        self.drawable = {}
        for language in languages:
            names = [n for n in language.intents if not n.endswith((".recall", ".unknown"))]
            self.drawable[language.code] = (names, [WEIGHTS.get(n, 1) for n in names])

    def row(self, length):
        """`length` + 1 token ids and the weight of predicting each of them."""
        ids, weights, memory = [], [], {}
        language = self.rng.choice(self.languages)
        while len(ids) <= length:
            if self.rng.random() < 0.12:
                language = self.rng.choice(self.languages)
            question, answer, exact = self.turn(language, memory)
            dropout = 0.0 if exact else self.rng.choice([0.0, 0.0, 0.15, 0.3])
            prompt = self.tokenizer.encode(f"User: {question}\n\nAssistant:", self.rng, dropout)
            reply = self.tokenizer.encode(f" {answer}\n\n")
            ids += prompt + reply
            weights += [0.05] * len(prompt) + [1.0] * len(reply)
        return ids[: length + 1], weights[: length + 1]

    def turn(self, language, memory):
        """Question, answer, and whether the question holds a value to be copied letter by letter."""
        name = self.intent_name(language, memory)
        intent = language.intents[name]
        values = self.values(name, language, memory)
        question = corpus.draw(self.rng.choice(intent.patterns), language, self.rng)
        question = self.vary(question, language.code)
        answer = self.rng.choice(intent.answers)
        for key, value in values.items():
            question = question.replace(GUARDS[key], value)
            answer = answer.replace("{" + key + "}", value)
        return question, answer, name.endswith(".tell") or name == "echo"

    def intent_name(self, language, memory):
        """A told value is asked for soon; one never told is asked for now and then."""
        kind = self.rng.choice(["name", "name", "colour", "number"])
        if self.rng.random() < (0.35 if kind in memory else 0.05):
            return kind + (".recall" if kind in memory else ".unknown")
        names, weights = self.drawable[language.code]
        return self.rng.choices(names, weights)[0]

    def values(self, name, language, memory):
        """Fresh values for the placeholders of this turn; told ones go to `memory`."""
        rng = self.rng
        if name.endswith(".tell"):
            kind = name.split(".")[0]
            drawn = {"name": self.name, "number": self.number, "colour": lambda code: rng.randrange(len(language.lists["user_colour"]))}
            memory[kind] = drawn[kind](language.code)
        values = {
            "name": memory.get("name", ""),
            "number": memory.get("number", "") if name.startswith("number") else self.number(language.code),
            "user_colour": language.lists["user_colour"][memory.get("colour", 0)],
            "word": self.name(language.code) if rng.random() < 0.4 else rng.choice(language.lists["thing"]),
            "gibberish": self.gibberish(language.code),
        }
        return values

    def name(self, code):
        rng = self.rng
        if rng.random() < 0.15:
            return rng.choice(NAMES[code])
        if code == "ja" and rng.random() < 0.7:
            letters = KATAKANA if rng.random() < 0.7 else HIRAGANA
            return "".join(rng.choice(letters[:-1] if i == 0 else letters) for i in range(rng.randint(2, 4)))
        text = "".join(
            rng.choice(["b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "ch", "sh", "br", "tr", ""]) + rng.choice("aaeeiioouy")
            for _ in range(rng.randint(2, 3))
        )
        return (text + rng.choice(["", "", "n", "r", "s", "l", "k"])).capitalize()

    def number(self, _code):
        return str(self.rng.randrange(10 ** self.rng.randint(1, 3)))

    def gibberish(self, code):
        if code == "ja" and self.rng.random() < 0.6:
            return "".join(self.rng.choice(HIRAGANA + "、ー" + KATAKANA[:10]) for _ in range(self.rng.randint(3, 9)))
        return "".join(self.rng.choice("asdfghjklqwertyuiopzxcvbnm") for _ in range(self.rng.randint(3, 9)))

    def vary(self, text, code):
        """One spelling of a user's line; placeholders come back as their guards."""
        rng = self.rng
        for name, guard in GUARDS.items():
            text = text.replace("{" + name + "}", guard)
        if text[:1] in "/.?!…" or rng.random() < 0.15:
            return text
        text = text.rstrip("？?！!。.")
        if rng.random() < 0.10:
            text = drop_word(text, code, rng)
        text = add_filler(text, code, rng)
        if code == "de" and rng.random() < 0.15:
            text = without_accents(text, rng)
        if rng.random() < 0.12:
            text = typing_error(text, rng)
        text = recase(text, rng)
        return text + rng.choice(ENDINGS[code])


def add_filler(text, code, rng):
    before, after = FILLERS[code]
    gap = "" if code == "ja" else " "
    chance = rng.random()
    if chance < 0.12:
        return rng.choice(before) + gap + text
    return text + gap + rng.choice(after) if chance < 0.22 else text


def drop_word(text, code, rng):
    if code in DROPPABLE:
        present = [word for word in DROPPABLE[code] if word in text and len(text) > len(word) + 4]
        return text.replace(rng.choice(present), "", 1) if present else text
    words = text.split(" ")
    if len(words) < 4:
        return text
    position = rng.randrange(len(words))
    if any(guard in words[position] for guard in GUARDS.values()):
        return text
    return " ".join(words[:position] + words[position + 1 :])


def without_accents(text, rng):
    if rng.random() < 0.5:
        for letter, plain in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss")):
            text = text.replace(letter, plain)
        return text
    kept = (c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    return "".join(kept).replace("ß", "ss")


def typing_error(text, rng):
    """Swaps, drops, doubles or replaces one letter of a longer line."""
    places = [i for i in range(1, len(text) - 1) if text[i].isalpha() and text[i + 1].isalpha()]
    if len(places) < 4:
        return text
    i = rng.choice(places)
    middle = rng.choice([text[i + 1] + text[i], text[i + 1], text[i] * 2 + text[i + 1], rng.choice("aeinrst") + text[i + 1]])
    return text[:i] + middle + text[i + 2 :]


def recase(text, rng):
    chance = rng.random()
    if chance < 0.4:
        return text.lower()
    if chance < 0.75:
        return text[:1].upper() + text[1:]
    return text.upper() if chance < 0.78 else text
