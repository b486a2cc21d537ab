/**
 * `npm run eaglet:eval [-- --model DIR --exam final --languages en,de]`: asks the shipped demo model
 * the held-out questions, prints language, topic and the baseline for every language, and writes
 * `kernels/train/results/<name>.<exam>.json` with a picture of the topics and one of the facts.
 *
 * A reply's language is what `infra/language` names; where that is unsure, the language of the
 * hand-written answer that it resembles most. Its topic is that answer's intent.
 *
 * Facts: random triples of name, colour and number that no training line holds, told in one turn and
 * asked two turns later; and asked without having been told, as after a reset.
 */
import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { type Bar, barsSvg } from "#apps/cli/bench/plot.ts";
import { readModelCard } from "#infra/config/model-card.ts";
import { identifyLanguage } from "#infra/language/identify.ts";
import { z } from "zod";
import { openModel } from "#kernels/model/model.ts";
import { type HeldOut, leftOut, readHeldOut, readIntents } from "./corpus.ts";
import { askFacts } from "./facts.ts";
import { isDegenerate, NearestAnswer, NearestQuestion } from "./judge.ts";
import { Speaker, type SpokenReply } from "./speaker.ts";

const root = resolve(import.meta.dirname, "../..");

const { values } = parseArgs({
  options: {
    model: { type: "string", default: join(root, "kernels/models/eaglet") },
    exam: { type: "string", default: "working" },
    languages: { type: "string" },
  },
});
const exam = values.exam === "final" ? "final" : "working";
const languages = values.languages?.split(",") ?? (await languagesOf(values.model));

/** What the model says it speaks: the data may hold more languages than this model was shown. */
async function languagesOf(directory: string): Promise<string[]> {
  const model = await openModel(directory);
  model.close();
  const { languages: spoken } = z
    .object({ languages: z.array(z.string()) })
    .parse(model.description.card);
  return spoken;
}

interface Figures {
  readonly questions: number;
  readonly language: number;
  readonly topic: number;
  readonly baselineTopic: number;
  readonly degenerate: number;
  readonly confusions: Readonly<Record<string, number>>;
}

const { name: modelName } = await readModelCard(values.model);
const untaught = leftOut(modelName);
const answers = new NearestAnswer();
const questions = new NearestQuestion();
for (const language of languages) {
  for (const [intent, { answers: texts, questions: asked }] of readIntents(language)) {
    if (untaught.has(intent)) continue;
    for (const text of texts) answers.add({ language, intent }, text);
    for (const text of asked) questions.add({ language, intent }, text);
  }
}

function judge(
  language: string,
  asked: readonly HeldOut[],
  replies: readonly SpokenReply[],
): Figures {
  const confusions: Record<string, number> = {};
  let rightLanguage = 0;
  let rightTopic = 0;
  let baseline = 0;
  for (const [index, { intent, question }] of asked.entries()) {
    const reply = replies[index]?.text ?? "";
    const label = answers.find(reply);
    const topic = label.language === language && label.intent === intent;
    if ((identifyLanguage(reply).language ?? label.language) === language) rightLanguage++;
    if (topic) rightTopic++;
    else {
      const confusion = `${intent} → ${label.intent}`;
      confusions[confusion] = (confusions[confusion] ?? 0) + 1;
    }
    const guess = questions.find(question);
    if (guess.language === language && guess.intent === intent) baseline++;
  }
  const percent = (count: number): number => Number(((100 * count) / asked.length).toFixed(1));
  return {
    questions: asked.length,
    language: percent(rightLanguage),
    topic: percent(rightTopic),
    baselineTopic: percent(baseline),
    degenerate: replies.filter(isDegenerate).length,
    confusions,
  };
}

function line(
  name: string,
  { questions: count, language, topic, baselineTopic, degenerate }: Figures,
) {
  const cells = [count, `${language} %`, `${topic} %`, `${baselineTopic} %`, degenerate];
  return `${name.padEnd(8)}${cells.map((cell) => String(cell).padStart(12)).join("")}\n`;
}

const speaker = await Speaker.open(values.model);
const results: Record<string, Figures> = {};
const heads = ["questions", "language", "topic", "baseline", "degenerate"];
process.stdout.write(`${" ".repeat(8)}${heads.map((head) => head.padStart(12)).join("")}\n`);
for (const language of languages) {
  const asked = readHeldOut(language, exam).filter(({ intent }) => !untaught.has(intent));
  const replies = await speaker.answer(asked.map(({ question }) => ({ text: question })));
  results[language] = judge(language, asked, replies);
  process.stdout.write(line(language, results[language]));
}
const all = Object.values(results);
const count = all.reduce((sum, figures) => sum + figures.questions, 0);
const mean = (of: (figures: Figures) => number): number =>
  Number((all.reduce((sum, each) => sum + of(each) * each.questions, 0) / count).toFixed(1));
const overall: Figures = {
  questions: count,
  language: mean(({ language }) => language),
  topic: mean(({ topic }) => topic),
  baselineTopic: mean(({ baselineTopic }) => baselineTopic),
  degenerate: all.reduce((sum, { degenerate }) => sum + degenerate, 0),
  confusions: {},
};
process.stdout.write(line("all", overall));
const facts = await askFacts(speaker, languages);
process.stdout.write(`facts recalled two turns later: ${JSON.stringify(facts)}\n`);
speaker.close();

const path = (ending: string): string =>
  join(root, "kernels/train/results", `${modelName}.${exam}.${ending}`);
const { confusions: _, ...figures } = overall;
writeFileSync(
  path("topics.svg"),
  barsSvg({
    title: `${modelName}, ${exam} exam: held-out questions answered to the topic`,
    parts: [
      {
        title: "the model",
        marks: "nearest training question",
        limit: 100,
        bars: Object.entries(results).map(([language, { topic, baselineTopic }]) =>
          bar(language, topic, baselineTopic),
        ),
      },
    ],
  }),
);
writeFileSync(
  path("facts.svg"),
  barsSvg({
    title: `${modelName}: names, colours and numbers recalled two turns later`,
    parts: [
      {
        title: "told before",
        marks: "never told",
        limit: 100,
        bars: Object.entries(facts).map(([language, { told, untold }]) =>
          bar(language, told, untold),
        ),
      },
    ],
  }),
);
writeFileSync(
  path("json"),
  `${JSON.stringify({ model: modelName, exam, overall: figures, languages: results, facts }, null, 1)}\n`,
);

/** Percent of a language's questions. */
function bar(name: string, value: number, mark: number): Bar {
  return { name, value, mark, told: `${value} %`, colour: "#1f6fb2" };
}
