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
from focus import Focus

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
}
LANGUAGE_SWITCH = 0.12
# Turns that tell a value or ask for one; a value told is mostly asked for next. Most of them stand in
# whole conversations, where as much is said in between as people hear.
MEMORY = 0.12
MEMORY_WHOLE = 0.4
RECALL = 0.8
ASK_UNTOLD = 0.15
KINDS = ["name", "number", "colour", "wish"]
ASKED_LATER = {f"{kind}.{form}" for kind in KINDS for form in ("recall", "unknown")}
# At the start of a run without a base every second row is a drill, over the first tenth ever fewer.
DRILLS_AT_FIRST = 0.5
DRILLS_FALL = 0.1
DRILL_TOKENS = (3, 40)
# A conversation is whole, or all its answers are cut, once they are known by heart (a base knows them),
# after a few tokens, in which they are chosen, or after what is copied in them.
CUTS_BEGIN = 0.15
CUT_TOKENS = (2, 5)
# Questions that are spliced from two of their intent.
SPLICED = 0.25
TOKEN_DROPOUT = [0.0, 0.0, 0.15, 0.3]


class Conversations:
    """An endless supply of rows."""

    def __init__(self, languages, tokenizer, recipe):
        self.languages = languages
        self.tokenizer = tokenizer
        self.seed, self.drills, self.cuts = (recipe[k] for k in ("seed", "drills", "cutAnswers"))
        self.begun = recipe["base"] is not None
        self.shares = [recipe["shares"].get(language.code, 1.0) for language in languages]
        weights = {}
        for language in languages:
            names = [n for n in language.intents if n not in ASKED_LATER] or [*language.intents]
            weights[language.code] = {n: WEIGHTS.get(n, 1) for n in names}
        self.focus = Focus(languages, weights, recipe["focusFloor"])

    def row(self, index, length, progress=1.0):
        """`length` + 1 token ids, the weight of predicting each of them and the pattern that it
        answers (-1: none), at that share of a run: a conversation or, as often as the recipe
        says, a drill."""
        rng = random.Random(f"{self.seed}:{index}")
        if self.drills and rng.random() < self.drill_share(progress):
            parts = self.drill(rng)
        else:
            cut = (self.begun or progress >= CUTS_BEGIN) and rng.random() < self.cuts
            parts = Conversation(self, rng, cut).parts()
        ids, weights, patterns = [], [], []
        while len(ids) <= length:
            part, weight, pattern = next(parts)
            ids += part
            weights += [weight] * len(part)
            patterns += [pattern] * len(part)
        return ids[: length + 1], weights[: length + 1], patterns[: length + 1]

    def language(self, rng):
        return rng.choices(self.languages, self.shares)[0]

    def drill_share(self, progress):
        fall = 1.0 if self.begun else min(1.0, progress / DRILLS_FALL)
        return DRILLS_AT_FIRST + (self.drills - DRILLS_AT_FIRST) * fall

    def drill(self, rng):
        """Random tokens, said twice: nothing but copying helps to predict the second time."""
        while True:
            count = rng.randint(*DRILL_TOKENS)
            once = [rng.randint(1, len(self.tokenizer.entries)) for _ in range(count)]
            yield once + once[:1], 0.0, -1
            yield once[1:], 1.0, -1


class Conversation:
    """One conversation: its language so far, and what the user has told in it."""

    def __init__(self, supply, rng, cut):
        self.supply, self.rng, self.cut = supply, rng, cut
        self.language = supply.language(rng)
        self.memory = {}

    def parts(self):
        """Token ids, the weight of predicting them and their pattern, without end.

        The pattern is that of the tokens which choose the answer. Nothing is to be learnt from what
        follows a cut: the turn's end weighs nothing there.
        """
        end = self.supply.tokenizer.encode("\n\n")
        while True:
            prompt, reply, copied, pattern = self.turn()
            yield prompt, 0.0, -1
            needed = self.supply.tokenizer.count(reply, copied)
            kept = needed + self.rng.randint(*CUT_TOKENS)
            yield reply[:kept], 1.0, pattern
            if self.cut:
                yield end, 0.0, -1
            else:
                yield reply[kept:], 1.0, -1

    def turn(self):
        """Token ids of a question in its frame and of the answer, the bytes of the answer up to the
        end of what is copied in it (0: nothing), and the question's pattern."""
        rng, tokenizer = self.rng, self.supply.tokenizer
        if rng.random() < LANGUAGE_SWITCH:
            self.language = self.supply.language(rng)
        name, place = self.draw()
        intent = self.language.intents[name]
        question, answer, copied = self.lines(intent, intent.patterns[place])
        # a value that is to be copied exactly is not spelt in fragments
        told = name.endswith(".tell") or name == "echo"
        dropout = 0.0 if told else rng.choice(TOKEN_DROPOUT)
        prompt = tokenizer.encode(f"User: {question}\n\nAssistant:", rng, dropout)
        pattern = self.supply.focus.pattern(self.language.code, name, place)
        return prompt, tokenizer.encode(f" {answer}\n\n"), copied and copied + 1, pattern

    def lines(self, intent, pattern):
        """Question and answer with the same values in their placeholders, and the bytes of the
        answer up to the end of the last of them."""
        rng = self.rng
        question = corpus.draw(pattern, self.language, rng)
        if rng.random() < SPLICED:
            other = corpus.draw(rng.choice(intent.patterns), self.language, rng)
            if "{" not in question + other:
                question = spelling.splice(question, other, self.language, rng)
        question = spelling.vary(question, self.language, rng)
        answer = rng.choice(intent.answers)
        tail = len(answer.rpartition("}")[2].encode())
        for key, guard in spelling.GUARDS.items():
            placeholder = "{" + key + "}"
            if guard in question or placeholder in answer:
                value = self.value(key, intent.name)
                question = question.replace(guard, value)
                answer = answer.replace(placeholder, value)
        return question, answer, len(answer.encode()) - tail

    def draw(self):
        """An intent's name and the place of a pattern in it."""
        focus = self.supply.focus
        if self.rng.random() < (MEMORY if self.cut else MEMORY_WHOLE):
            name = self.memory_intent()
            if name in self.language.intents:
                return name, focus.draw_from(self.language.code, name, self.rng)
        return focus.draw(self.language.code, self.rng)

    def memory_intent(self):
        kind = self.rng.choice([k for k in KINDS if f"{k}.tell" in self.language.intents] or KINDS)
        if kind in self.memory:
            return f"{kind}.recall" if self.rng.random() < RECALL else f"{kind}.tell"
        return f"{kind}.unknown" if self.rng.random() < ASK_UNTOLD else f"{kind}.tell"

    def value(self, key, intent_name):
        """What a placeholder stands for; what `.tell` intents say is remembered.

        A colour or wish is remembered as its place in the list, which is the same in every language.
        """
        kind, _, form = intent_name.partition(".")
        slot = key.removeprefix("user_")
        aligned = key in corpus.ALIGNED
        if not (aligned or key == "name" or kind == key == "number"):
            return self.fresh(key)
        if form == "tell" or slot not in self.memory:
            self.memory[slot] = self.fresh(key)
        value = self.memory[slot]
        return self.language.lists[key][value] if aligned else value

    def fresh(self, key):
        rng, language = self.rng, self.language
        if key in corpus.ALIGNED:
            return rng.randrange(len(language.lists[key]))
        if key == "number":
            return inventions.number(rng)
        if key == "gibberish":
            return inventions.gibberish(language, rng)
        things = language.lists.get("thing")
        if key == "word" and things and rng.random() >= 0.4:
            return rng.choice(things)
        return inventions.name(language, rng)
