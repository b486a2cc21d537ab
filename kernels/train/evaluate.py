"""Asks a trained model the held-out questions and writes `results/<name>.heldout.json`.

    python3 kernels/train/evaluate.py [--model kernels/models/eaglet]

Decoding is greedy, in the fp32 one-token form, from the zero state. A reply counts for the intent
and the language of the hand-written answer nearest to it (Jaccard of character trigrams). Beside it
stands the baseline of a program without a model: the training question nearest to the held-out one
by TF-IDF over character 1..3-grams. A reply is degenerate when it does not end by itself or says
one run of at least 8 characters three times.
"""

import argparse
import json
import math
import re
from collections import Counter, defaultdict
from pathlib import Path

import torch

import corpus
import export
import vocabulary
from model import Rwkv5

HERE = Path(__file__).parent
REPLY_TOKENS_MAX = 120
EXAMPLE_VALUES = {"name": "Mira", "number": "17", "word": "moon", "gibberish": "qwzx"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(HERE.parent / "models" / "eaglet"))
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    speaker = Speaker(arguments.model)
    languages = corpus.read_languages(HERE / "data")
    report = {
        "model": json.loads((Path(arguments.model) / "model.json").read_text())["name"],
        "languages": {},
    }
    index = NearestQuestions(languages)
    for language in languages:
        report["languages"][language.code] = evaluate(speaker, index, language, languages)
        print(language.code, json.dumps(report["languages"][language.code], ensure_ascii=False))
    path = HERE / "results" / f"{report['model']}.heldout.json"
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def evaluate(speaker, index, language, languages):
    pairs = corpus.read_held_out(HERE / "heldout" / f"{language.code}.txt")
    replies = speaker.reply([question for _, question in pairs])
    judged = [nearest_answer(reply, languages) for reply in replies]
    baseline = [index.find(question) for _, question in pairs]
    intents = [intent for intent, _ in pairs]
    right = [
        code == language.code and name == intent for (code, name), intent in zip(judged, intents)
    ]
    wrong = Counter(
        f"{intent} -> {name}" for (_, name), intent, good in zip(judged, intents, right) if not good
    )
    return {
        "questions": len(pairs),
        "language": share(code == language.code for code, _ in judged),
        "topic": share(right),
        "baselineLanguage": share(code == language.code for code, _ in baseline),
        "baselineTopic": share(
            b == (language.code, intent) for b, intent in zip(baseline, intents)
        ),
        "trainTopic": train_topic(speaker, language, languages),
        "degenerate": sum(map(is_degenerate, replies)),
        "colourRemembered": memory_share(speaker, language),
        "confusions": dict(wrong.most_common()),
    }


def train_topic(speaker, language, languages):
    """The same judgement on the first trained question of every single-turn intent."""
    intents = [i for i in language.intents.values() if "." not in i.name and i.name != "echo"]
    intents = [i for i in intents if "{" not in i.patterns[0]]
    questions = [next(corpus.expand(intent.patterns[0], language)) for intent in intents]
    judged = [nearest_answer(reply, languages) for reply in speaker.reply(questions)]
    return share(j == (language.code, i.name) for j, i in zip(judged, intents))


def share(flags):
    flags = list(flags)
    return round(100 * sum(flags) / len(flags), 1)


class Speaker:
    """Greedy replies from a model directory."""

    def __init__(self, directory):
        directory = Path(directory)
        weights = export.read_safetensors(directory / "weights.safetensors")
        self.model = Rwkv5(weights, export.shape_of(weights))
        self.tokenizer = vocabulary.Tokenizer(vocabulary.read(directory / "vocab.txt"))

    def reply(self, questions):
        """One reply per question; rows run in lock-step, reading their prompt and then writing."""
        prompts = [self.tokenizer.encode(f"{frame(question)}Assistant:") for question in questions]
        state = self.model.zero_state(len(prompts))
        written = [[] for _ in prompts]
        done = [False] * len(prompts)
        tokens = [prompt[0] for prompt in prompts]
        for position in range(1, max(map(len, prompts)) + REPLY_TOKENS_MAX):
            with torch.no_grad():
                best = self.model.step(torch.tensor(tokens), state).argmax(-1).tolist()
            for row, prompt in enumerate(prompts):
                if position < len(prompt):
                    tokens[row] = prompt[position]
                    continue
                tokens[row] = best[row]
                if not done[row]:
                    written[row].append(best[row])
                    done[row] = (
                        b"\n\n" in self.tail(written[row]) or len(written[row]) >= REPLY_TOKENS_MAX
                    )
            if all(done):
                break
        return [self.tokenizer.decode(ids) for ids in written]

    def tail(self, ids):
        return b"".join(self.tokenizer.entries[i - 1] for i in ids[-2:] if i)


def frame(question):
    """`question` is a line, or a list of earlier turns (question, answer) and then the line."""
    if isinstance(question, str):
        return f"User: {question}\n\n"
    *earlier, last = question
    return "".join(f"User: {q}\n\nAssistant: {a}\n\n" for q, a in earlier) + f"User: {last}\n\n"


def trigrams(text):
    text = f" {text.strip().lower()} "
    return {text[i : i + 3] for i in range(len(text) - 2)}


def nearest_answer(reply, languages):
    """(language, intent) of the most similar hand-written answer."""
    found = trigrams(reply)
    best, where = -1.0, (None, None)
    for language in languages:
        for intent in language.intents.values():
            for answer in intent.answers:
                wanted = trigrams(with_examples(answer, language))
                score = len(found & wanted) / max(1, len(found | wanted))
                if score > best:
                    best, where = score, (language.code, intent.name)
    return where


def with_examples(text, language):
    values = {**EXAMPLE_VALUES, "user_colour": language.lists["user_colour"][0]}
    return corpus.PLACEHOLDER.sub(lambda m: values[m.group(1)], text)


def is_degenerate(reply):
    return not reply.endswith("\n\n") or re.search(r"(.{8,})\1\1", reply, re.S) is not None


class NearestQuestions:
    """TF-IDF index over every training question of every language."""

    def __init__(self, languages):
        texts = {}
        for language in languages:
            for intent in language.intents.values():
                for pattern in intent.patterns:
                    for text in corpus.expand(pattern, language):
                        texts.setdefault(
                            with_examples(text, language), (language.code, intent.name)
                        )
        self.labels = list(texts.values())
        grams = [ngrams(text) for text in texts]
        seen = Counter(gram for counts in grams for gram in counts)
        self.rarity = {gram: math.log(len(grams) / count) for gram, count in seen.items()}
        self.postings = defaultdict(list)
        for index, counts in enumerate(grams):
            for gram, value in self.unit(counts).items():
                self.postings[gram].append((index, value))

    def unit(self, counts):
        vector = {gram: count * self.rarity.get(gram, 0.0) for gram, count in counts.items()}
        length = math.sqrt(sum(value * value for value in vector.values())) or 1.0
        return {gram: value / length for gram, value in vector.items()}

    def find(self, question):
        scores = Counter()
        for gram, value in self.unit(ngrams(question)).items():
            for index, other in self.postings.get(gram, ()):
                scores[index] += value * other
        return self.labels[scores.most_common(1)[0][0]]


def ngrams(text):
    text = f" {text.lower()} "
    return Counter(text[i : i + n] for n in (1, 2, 3) for i in range(len(text) - n + 1))


def memory_share(speaker, language):
    """How often a colour is said correctly when asked for, one turn after it was told."""
    names = ("colour.tell", "colour.recall", "thanks")
    tell, recall, thanks = (language.intents[name] for name in names)
    between = (thanks.patterns[0], thanks.answers[0])
    question = next(corpus.expand(recall.patterns[0], language))
    colours, asked = [], []
    for pattern in tell.patterns[:3]:
        for colour in language.lists["user_colour"]:
            told = next(corpus.expand(pattern, language)), tell.answers[0]
            filled = tuple(text.replace("{user_colour}", colour) for text in told)
            colours.append(colour)
            asked.append([filled, between, question])
    replies = speaker.reply(asked)
    return share(colour in reply for colour, reply in zip(colours, replies))


if __name__ == "__main__":
    main()
