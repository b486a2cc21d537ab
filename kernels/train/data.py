"""Makes training rows: conversations composed from the hand-written intents.

A row is one conversation from the zero state: turns are drawn one after another, names, colours
and numbers told in it can be asked for later, and user lines are varied (`spelling.py`) so that the
model meets each question in many spellings. Assistant lines are never varied.
Row `index` of a seed is always the same, so a resumed run goes on with the rows it would have seen.
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
ASKED_LATER = {f"{kind}.{form}" for kind in KINDS for form in ("recall", "unknown")}
USER_WEIGHT = 0.05
TOKEN_DROPOUT = [0.0, 0.0, 0.15, 0.3]


class Conversations:
    """An endless supply of rows."""

    def __init__(self, languages, tokenizer, seed):
        self.languages = languages
        self.tokenizer = tokenizer
        self.seed = seed
        self.drawable = {}
        for language in languages:
            names = [n for n in language.intents if n not in ASKED_LATER] or [*language.intents]
            self.drawable[language.code] = (names, [WEIGHTS.get(n, 1) for n in names])

    def row(self, index, length):
        """`length` + 1 token ids and the weight of predicting each of them."""
        conversation = Conversation(self, random.Random(f"{self.seed}:{index}"))
        ids, weights = [], []
        while len(ids) <= length:
            prompt, reply = conversation.turn()
            ids += prompt + reply
            weights += [USER_WEIGHT] * len(prompt) + [1.0] * len(reply)
        return ids[: length + 1], weights[: length + 1]


class Conversation:
    """One conversation: its language so far, and what the user has told in it."""

    def __init__(self, supply, rng):
        self.supply, self.rng = supply, rng
        self.language = rng.choice(supply.languages)
        self.memory = {}

    def turn(self):
        """Token ids of a question in its frame, and of the answer."""
        rng, tokenizer = self.rng, self.supply.tokenizer
        if rng.random() < LANGUAGE_SWITCH:
            self.language = rng.choice(self.supply.languages)
        name = self.intent_name()
        question, answer = self.lines(self.language.intents[name])
        # a value that is to be copied exactly is not spelt in fragments
        exact = name.endswith(".tell") or name == "echo"
        dropout = 0.0 if exact else rng.choice(TOKEN_DROPOUT)
        prompt = tokenizer.encode(f"User: {question}\n\nAssistant:", rng, dropout)
        return prompt, tokenizer.encode(f" {answer}\n\n")

    def lines(self, intent):
        """Question and answer with the same values in their placeholders."""
        rng = self.rng
        question = corpus.draw(rng.choice(intent.patterns), self.language, rng)
        question = spelling.vary(question, self.language, rng)
        answer = rng.choice(intent.answers)
        for key, guard in spelling.GUARDS.items():
            placeholder = "{" + key + "}"
            if guard in question or placeholder in answer:
                value = self.value(key, intent.name)
                question = question.replace(guard, value)
                answer = answer.replace(placeholder, value)
        return question, answer

    def intent_name(self):
        kind = self.rng.choice(KINDS)
        told = kind in self.memory
        follow = kind + (".recall" if told else ".unknown")
        chance = RECALL if told else RECALL_UNTOLD
        if self.rng.random() < chance and follow in self.language.intents:
            return follow
        names, weights = self.supply.drawable[self.language.code]
        return self.rng.choices(names, weights)[0]

    def value(self, key, intent_name):
        """What a placeholder stands for; what `.tell` intents say is remembered.

        A colour is remembered as its place in the list, which is the same in every language.
        """
        kind, _, form = intent_name.partition(".")
        remembered = key in ("name", "user_colour") or (key == "number" and kind == "number")
        slot = "colour" if key == "user_colour" else key
        if not remembered:
            return self.fresh(key)
        if form == "tell" or slot not in self.memory:
            self.memory[slot] = self.fresh(key)
        value = self.memory[slot]
        return self.language.lists["user_colour"][value] if slot == "colour" else value

    def fresh(self, key):
        rng, language = self.rng, self.language
        if key == "user_colour":
            return rng.randrange(len(language.lists["user_colour"]))
        if key == "number":
            return inventions.number(rng)
        if key == "gibberish":
            return inventions.gibberish(language, rng)
        things = language.lists.get("thing")
        if key == "word" and things and rng.random() >= 0.4:
            return rng.choice(things)
        return inventions.name(language, rng)
