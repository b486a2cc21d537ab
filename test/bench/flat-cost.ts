/**
 * Does turn 200 cost what turn 2 cost? One conversation of 200 turns with the worker process, real
 * Redis and Eaglet. Run: `node eyrie.mjs --run test/bench/flat-cost.ts`; writes
 * `results/flat-cost.json` and `.svg` beside this file.
 *
 * Tokens: what a turn fed to the model against what it added to the log; the difference would be
 * re-reading, and is 0. Time: ms of forward passes per token, medians of turns 181–200 and 2–21.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { TestPlatform } from "#test/platform/platform.ts";
import { aConversation, aTurn } from "#test/infra/turns.ts";
import { plotSvg } from "#apps/cli/bench/plot.ts";

const turns = 200;
const questions = ["Hello!", "Who are you?", "What can you do?", "How do I reset you?", "Thanks!"];

interface Row {
  readonly turn: number;
  readonly tokens: number;
  readonly replayed: number;
  readonly logTokens: number;
  readonly msPerToken: number;
}

async function measure(): Promise<Row[]> {
  const platform = await TestPlatform.start();
  try {
    await platform.worker({ EYRIE_THREADS: "2" });
    const conversation = aConversation("flat");
    const rows: Row[] = [];
    let before = 0;
    for (let turn = 1; turn <= turns; turn++) {
      const text = questions[turn % questions.length] ?? "";
      const record = await platform.exchange(aTurn(turn, { conversation, text }));
      const { tokens: logTokens } = await platform.ledger.logHead(conversation);
      const tokens = logTokens - before;
      before = logTokens;
      const replayed = record.replayedTokens;
      const msPerToken = record.computeMs / (tokens + replayed);
      rows.push({ turn, tokens, replayed, logTokens, msPerToken });
      process.stderr.write(`\rturn ${turn} of ${turns}, ${logTokens} tokens in the conversation `);
    }
    process.stderr.write("\n");
    return rows;
  } finally {
    await platform.stop();
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? 0;
}

const rows = await measure();
const early = median(rows.slice(1, 21).map(({ msPerToken }) => msPerToken));
const late = median(rows.slice(180, 200).map(({ msPerToken }) => msPerToken));
const result = {
  turns,
  tokensInConversation: rows.at(-1)?.logTokens,
  tokensReadAgain: rows.reduce((sum, { replayed }) => sum + replayed, 0),
  msPerTokenTurns2to21: Number(early.toFixed(4)),
  msPerTokenTurns181to200: Number(late.toFixed(4)),
  ratio: Number((late / early).toFixed(3)),
  machine: cpus()[0]?.model,
};
const directory = join(import.meta.dirname, "results");
mkdirSync(directory, { recursive: true });
writeFileSync(
  join(directory, "flat-cost.json"),
  `${JSON.stringify({ ...result, rows }, null, 1)}\n`,
);
writeFileSync(
  join(directory, "flat-cost.svg"),
  plotSvg({
    title: "A turn costs the same however long the conversation is",
    x: "turn",
    y: "ms per token",
    series: [
      {
        name: "Eyrie: forward pass per token",
        colour: "#2563eb",
        points: rows.map(({ turn, msPerToken }) => [turn, msPerToken] as const),
        dots: true,
      },
      {
        name: `median ${late.toFixed(2)} ms`,
        colour: "#16a34a",
        points: [
          [1, late],
          [turns, late],
        ],
      },
    ],
  }),
);
process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
