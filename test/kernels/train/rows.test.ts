/** What the trainer's rows are made of, asked in Python: draws, cuts, shares, what is left out. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { z } from "zod";

const python = "/usr/bin/python3";
const room = fileURLToPath(new URL("../../../kernels/train/", import.meta.url));
const hasTorch =
  existsSync(python) && spawnSync(python, ["-c", "import torch, numpy"]).status === 0;

const dialogues = `
[greeting]
> Good day to you.
(hello|hi) (there|)
`;

test.skipIf(!hasTorch)("a pattern that is known is drawn seldom, down to the floor", () => {
  const script = `
import random, torch, corpus
from focus import Focus
intents = {name: corpus.Intent(name, ["yes"], ["one", "two"]) for name in ("a", "b", "later")}
focus = Focus([corpus.Language("xa", {}, intents)], {"xa": {"a": 1.0, "b": 1.0}}, 0.2)
for _ in range(20):  # the first pattern of a becomes easy; a token of none teaches nothing
    focus.learn(torch.tensor([0, 0, -1]), torch.tensor([0.0, 0.0, 9.0]))
rng = random.Random(1)
drawn = [focus.draw("xa", rng) for _ in range(3200)]
print([round(drawn.count(pair) / 100) for pair in (("a", 0), ("a", 1), ("b", 0), ("b", 1))])
print(len(drawn) == sum(name in "ab" for name, _ in drawn))
print(round(sum(focus.draw_from("xa", "a", rng) for _ in range(1200)) / 100))
`;
  const { stdout, stderr } = spawnSync(python, ["-c", script], { cwd: room, encoding: "utf8" });
  const [shares = "", none, second] = stdout.trim().split("\n");
  expect({ none, stderr }).toEqual({ none: "True", stderr: "" });
  // by 0.2 : 1 : 1 : 1 of 32, and the second of the two by 5 of 6
  const drawn = z.array(z.number()).parse(JSON.parse(shares));
  for (const [place, share] of [2, 10, 10, 10].entries()) {
    expect(Math.abs((drawn[place] ?? 0) - share)).toBeLessThanOrEqual(1);
  }
  expect(Math.abs(Number(second) - 10)).toBeLessThanOrEqual(1);
});

test.skipIf(!hasTorch)("a cut answer keeps what is copied in it, a whole one its end", () => {
  const home = mkdtempSync(join(tmpdir(), "eyrie-cuts-"));
  const answer =
    "> Welcome to the long quiet house by the sea, {name}, and stay as long as you like.";
  writeFileSync(join(home, "xa.txt"), `[name.tell]\n${answer}\nmy name is {name}\n`);
  const script = `
import random, corpus, data, vocabulary
languages = corpus.read_languages("${home}", ["xa"])
tokenizer = vocabulary.Tokenizer(vocabulary.learn(list(corpus.lines(languages)), 640, ["xa"]))
recipe = {"seed": 1, "drills": 0, "cutAnswers": 0.9, "base": None, "shares": {}, "focusFloor": 1}
supply = data.Conversations(languages, tokenizer, recipe)
conversation = data.Conversation(supply, random.Random(1), cut=True)
parts = conversation.parts()
for _ in range(200):
    prompt, reply, end = (tokenizer.decode(next(parts)[0]) for _ in range(3))
    assert f"sea, {conversation.memory['name']}" in reply, (prompt, reply)
    assert not reply.endswith("like.") and end == "\\n\\n", (reply, end)
whole = data.Conversation(supply, random.Random(1), cut=False).parts()
for _ in range(200):
    prompt, head, tail = (next(whole) for _ in range(3))
    assert tokenizer.decode(head[0] + tail[0]).endswith("like.\\n\\n"), (head, tail)
    assert head[2] >= 0 and tail[2] == -1, "the head chooses the answer"
`;
  const { stdout, stderr } = spawnSync(python, ["-c", script], { cwd: room, encoding: "utf8" });
  rmSync(home, { recursive: true });
  expect({ stdout, stderr }).toEqual({ stdout: "", stderr: "" });
});

test.skipIf(!hasTorch)("a wish told in one language is named in another", () => {
  const home = mkdtempSync(join(tmpdir(), "eyrie-wishes-"));
  const wishes = { xa: ["swim", "sing"], xb: ["nadar", "cantar"] };
  for (const [code, [first, second]] of Object.entries(wishes)) {
    const lines = [
      `@user_wish = ${first}|${second}`,
      "[wish.tell]",
      "> {user_wish}, then.",
      "I want to {user_wish}",
      "[wish.recall]",
      "> You want: {user_wish}.",
      "what do I want",
    ];
    writeFileSync(join(home, `${code}.txt`), `${lines.join("\n")}\n`);
  }
  const script = `
import random, corpus, data
languages = corpus.read_languages("${home}", ["xa", "xb"])
recipe = {"seed": 1, "drills": 0, "cutAnswers": 0, "base": None, "shares": {}, "focusFloor": 1}
for seed in range(20):
    talk = data.Conversation(data.Conversations(languages, None, recipe), random.Random(seed), False)
    talk.language = languages[0]
    tell, recall = (languages[0].intents[f"wish.{form}"] for form in ("tell", "recall"))
    _, told, _ = talk.lines(tell, tell.patterns[0])
    talk.language = languages[1]
    _, named, _ = talk.lines(recall, recall.patterns[0])
    assert (told, named) in (("swim, then.", "You want: nadar."), ("sing, then.", "You want: cantar."))
`;
  const { stdout, stderr } = spawnSync(python, ["-c", script], { cwd: room, encoding: "utf8" });
  rmSync(home, { recursive: true });
  expect({ stdout, stderr }).toEqual({ stdout: "", stderr: "" });
});

test.skipIf(!existsSync(python))("a spliced question holds at least half of either", () => {
  const script = `
import random, corpus, spelling
spaced, spaceless = corpus.Language("xa", {}, {}), corpus.Language("xb", {"droppable": ["a"]}, {})
rng = random.Random(1)
for language, gap in ((spaced, " "), (spaceless, "")):
    first, second = (gap.join(word) for word in ("abcde", "vwxyz"))
    made = {spelling.splice(first, second, language, rng) for _ in range(400)}
    heads = [gap.join("abcde"[:end]) for end in (3, 4, 5)]
    tails = [gap.join("vwxyz"[start:]) for start in (0, 1, 2)]
    assert made == {head + gap + tail for head in heads for tail in tails}, made
`;
  const { stdout, stderr } = spawnSync(python, ["-c", script], { cwd: room, encoding: "utf8" });
  expect({ stdout, stderr }).toEqual({ stdout: "", stderr: "" });
});

test.skipIf(!hasTorch)("a language is drawn as often as its share says", () => {
  const home = mkdtempSync(join(tmpdir(), "eyrie-shares-"));
  for (const code of ["xa", "xb", "xc"]) writeFileSync(join(home, `${code}.txt`), dialogues);
  const script = `
import random, corpus, data
recipe = {"seed": 1, "drills": 0, "cutAnswers": 0, "base": None, "focusFloor": 1,
          "shares": {"xa": 4, "xb": 0.5}}
rows = data.Conversations(corpus.read_languages("${home}", ["xa", "xb", "xc"]), None, recipe)
rng = random.Random(1)
drawn = [rows.language(rng).code for _ in range(5500)]
print([round(drawn.count(code) / 100) for code in ("xa", "xb", "xc")])
`;
  const run = spawnSync(python, ["-c", script], { cwd: room, encoding: "utf8" });
  rmSync(home, { recursive: true });
  const [often = 0, seldom = 0, once = 0] = z.array(z.number()).parse(JSON.parse(run.stdout));
  expect(Math.abs(often - 40)).toBeLessThan(3);
  expect(Math.abs(seldom - 5)).toBeLessThan(2);
  expect(Math.abs(once - 10)).toBeLessThan(2);
});

test.skipIf(!existsSync(python))(
  "what does not exist yet is left out, and no answer names it",
  () => {
    const home = mkdtempSync(join(tmpdir(), "eyrie-without-"));
    const lines = [
      "[undo]",
      "> Type /undo.",
      "take it back",
      "[help]",
      "> Try /undo.",
      "> Ask me.",
    ];
    writeFileSync(join(home, "xa.txt"), [...lines, "help me", ""].join("\n"));
    const script = [
      "import corpus",
      `languages = corpus.leave_out(corpus.read_languages(${JSON.stringify(home)}, ["xa"]), ["undo"])`,
      "print({name: intent.answers for name, intent in languages[0].intents.items()})",
    ].join("\n");
    const run = spawnSync(python, ["-c", script], { cwd: room, encoding: "utf8" });
    rmSync(home, { recursive: true });
    expect(run.stdout.trim()).toBe("{'help': ['Ask me.']}");
  },
);
