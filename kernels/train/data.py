"""Makes training rows: conversations composed from the hand-written intents.

A row is one conversation from the zero state: turns are drawn one after another, names, colours
and numbers told in it can be asked for later, and user lines are varied (`spelling.py`) so that the
model meets each question in many spellings. Assistant lines are never varied.
"""

import random

import corpus
import inventions
import spelling

# How often an intent is drawn; 1 where nothing is said.
WEIGHTS = {
    "unknown": 7,
    "greeting": 2,
    "who_are_you": 3,
    "talk": 2,
    "reset": 2,
    "stop": 1.5,
    "what_are_you": 1.5,
    "abilities": 1.5,
    "languages": 1.5,
    "nonsense": 1.5,
    "colour.tell": 5,
}
LANGUAGE_SWITCH = 0.12
# A told value is asked for soon; one never told is asked for now and then.
RECALL = 0.35
RECALL_UNTOLD = 0.05
KINDS = ["name", "number", "colour", "colour", "colour"]
USER_WEIGHT = 0.05
TOKEN_DROPOUT = [0.0, 0.0, 0.15, 0.3]


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
            if self.rng.random() < LANGUAGE_SWITCH:
                language = self.rng.choice(self.languages)
            question, answer, exact = self.turn(language, memory)
            dropout = 0.0 if exact else self.rng.choice(TOKEN_DROPOUT)
            prompt = self.tokenizer.encode(f"User: {question}\n\nAssistant:", self.rng, dropout)
            reply = self.tokenizer.encode(f" {answer}\n\n")
            ids += prompt + reply
            weights += [USER_WEIGHT] * len(prompt) + [1.0] * len(reply)
        return ids[: length + 1], weights[: length + 1]

    def turn(self, language, memory):
        """Question, answer, and whether the question holds a value to be copied exactly."""
        name = self.intent_name(language, memory)
        intent = language.intents[name]
        values = self.values(name, language, memory)
        question = corpus.draw(self.rng.choice(intent.patterns), language, self.rng)
        question = spelling.vary(question, language, self.rng)
        answer = self.rng.choice(intent.answers)
        for key, value in values.items():
            question = question.replace(spelling.GUARDS[key], value)
            answer = answer.replace("{" + key + "}", value)
        return question, answer, name.endswith(".tell") or name == "echo"

    def intent_name(self, language, memory):
        kind = self.rng.choice(KINDS)
        if self.rng.random() < (RECALL if kind in memory else RECALL_UNTOLD):
            return kind + (".recall" if kind in memory else ".unknown")
        names, weights = self.drawable[language.code]
        return self.rng.choices(names, weights)[0]

    def values(self, name, language, memory):
        """What the placeholders of this turn stand for; a told value goes to `memory`.

        A colour is remembered as its place in the list, which is the same in every language.
        """
        rng = self.rng
        if name == "name.tell":
            memory["name"] = inventions.name(language, rng)
        elif name == "number.tell":
            memory["number"] = inventions.number(rng)
        elif name == "colour.tell":
            memory["colour"] = rng.randrange(len(language.lists["user_colour"]))
        told = name.startswith("number")
        invented = rng.random() < 0.4
        thing = rng.choice(language.lists["thing"])
        return {
            "name": memory.get("name", ""),
            "number": memory.get("number", "") if told else inventions.number(rng),
            "user_colour": language.lists["user_colour"][memory.get("colour", 0)],
            "word": inventions.name(language, rng) if invented else thing,
            "gibberish": inventions.gibberish(language, rng),
        }
