/** Greedy replies of a model directory, many conversations in one batch, through the onnx backend. */
import { physicalCores } from "#infra/process/cores.ts";
import { promptFor, replyEnd } from "#infra/turn/index.ts";
import type { Backend, PlanRow } from "#kernels/backends/contract.ts";
import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import { openModel } from "#kernels/model/model.ts";
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";

const slots = 16;
const replyTokensMax = 160;
const endOfText = 0;
const greedy = {
  seed: "",
  temperature: 0,
  topP: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  penaltyDecay: 1,
};

export interface SpokenReply {
  readonly text: string;
  readonly ended: boolean;
}

/** Turns so far, oldest first, and the line to answer. */
export interface Prompt {
  readonly earlier?: readonly string[];
  readonly text: string;
}

interface Row {
  readonly prompt: Prompt;
  /** Index of the turn being answered; the last one's reply is the result. */
  turn: number;
  tokens: number[];
  drawn: number[];
  text: string;
}

export class Speaker {
  readonly #backend: Backend;
  readonly #tokenizer: Tokenizer;

  private constructor(backend: Backend, tokenizer: Tokenizer) {
    this.#backend = backend;
    this.#tokenizer = tokenizer;
  }

  static async open(directory: string): Promise<Speaker> {
    const model = await openModel(directory);
    model.close();
    if (model.vocabularyPath === null) throw new Error(`${directory} has no vocabulary`);
    const backend = await openOnnx(directory, { slots, threads: physicalCores() });
    return new Speaker(backend, Tokenizer.open(model.vocabularyPath));
  }

  close(): void {
    this.#backend.close();
  }

  /** Answers every prompt from the empty state; earlier turns are answered by the model, too. */
  async answer(
    prompts: readonly Prompt[],
    progress: (done: number) => void = () => {},
  ): Promise<SpokenReply[]> {
    const replies: SpokenReply[] = [];
    for (let start = 0; start < prompts.length; start += slots) {
      replies.push(...(await this.#answerTogether(prompts.slice(start, start + slots))));
      progress(replies.length);
    }
    return replies;
  }

  async #answerTogether(prompts: readonly Prompt[]): Promise<SpokenReply[]> {
    const rows = prompts.map((prompt, slot) => {
      this.#backend.writeState(slot, null);
      const row: Row = { prompt, turn: 0, tokens: [], drawn: [], text: "" };
      this.#ask(row, "");
      return row;
    });
    const replies = new Map<Row, SpokenReply>();
    while (replies.size < rows.length) {
      const running = rows.filter((row) => !replies.has(row));
      const plan = running.map((row): PlanRow => {
        const sample = { ...greedy, draw: row.drawn.length };
        return { slot: rows.indexOf(row), tokens: row.tokens, want: "none", sample };
      });
      const results = await this.#backend.step({ rows: plan });
      for (const [index, row] of running.entries()) {
        const reply = this.#hear(row, results[index]?.token ?? endOfText);
        if (reply !== null) replies.set(row, reply);
      }
    }
    return rows.map((row) => replies.get(row) ?? { text: "", ended: false });
  }

  /** Takes a drawn token; returns the reply once the last turn's is complete. */
  #hear(row: Row, token: number): SpokenReply | null {
    row.drawn.push(token);
    row.tokens = [token];
    row.text = Buffer.from(this.#tokenizer.decode(row.drawn)).toString("utf8");
    const end = row.text.indexOf(replyEnd);
    const ended = end >= 0 || token === endOfText;
    if (!ended && row.drawn.length < replyTokensMax) return null;
    const text = (end >= 0 ? row.text.slice(0, end) : row.text).trim();
    if (row.turn === (row.prompt.earlier?.length ?? 0)) return { text, ended };
    row.turn++;
    // What was drawn last is not fed yet, and may hold more than the end.
    const said = Buffer.from(this.#tokenizer.decode(row.drawn.slice(0, -1))).toString("utf8");
    const whole = `${end >= 0 ? row.text.slice(0, end) : row.text}${replyEnd}`;
    this.#ask(row, whole.slice(said.length));
    return null;
  }

  /** Queues the next turn's prompt behind `rest`, what is missing of the reply before it. */
  #ask(row: Row, rest: string): void {
    const texts = [...(row.prompt.earlier ?? []), row.prompt.text];
    row.tokens = [
      ...this.#tokenizer.encode(rest),
      ...this.#tokenizer.encode(promptFor(texts[row.turn] ?? "")),
    ];
    row.drawn = [];
    row.text = "";
  }
}
