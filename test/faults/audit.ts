/**
 * The checks of check.ts for a scene that never rests: each answer is looked at as soon as it stands,
 * then forgotten, so that a soak's own memory stays small. What is wrong is counted and told.
 */
import { Oracle } from "#test/doubles/backend/script.ts";
import type { Channel } from "#test/doubles/discord/index.ts";
import type { Said, Scene } from "./scene.ts";

export type Fault = "lost" | "duplicated" | "reordered" | "crossed";

interface Desk {
  readonly oracle: Oracle;
  readonly unread: Said[];
  seq: number;
}

export class Audit {
  readonly counts: Record<Fault, number> = { lost: 0, duplicated: 0, reordered: 0, crossed: 0 };
  /** What is wrong, in words; the first hundred. */
  readonly findings: string[] = [];
  /** Answered as foretold. */
  turns = 0;
  /** Answered with an error by name: turns whose workers died three times. */
  failed = 0;
  readonly #scene: Scene;
  readonly #desks = new Map<Channel, Desk>();

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  say(text: string, channel: Channel): void {
    this.#desk(channel).unread.push(this.#scene.say(text, channel));
    // The scene need not remember what is remembered here.
    this.#scene.said.length = 0;
  }

  waiting(channel?: Channel): number {
    if (channel !== undefined) return this.#desk(channel).unread.length;
    return [...this.#desks.values()].reduce((sum, { unread }) => sum + unread.length, 0);
  }

  /** Looks at everything that has come to its end since the last time. */
  async look(): Promise<void> {
    await Promise.all([...this.#desks.values()].map(async (desk) => this.#lookAt(desk)));
  }

  /** After the last answers: what has none, and what has two. */
  async close(): Promise<void> {
    await this.look();
    for (const [channel, { unread }] of this.#desks) {
      for (const said of unread)
        this.#find("lost", `no answer to ${said.text} (${said.trigger.id})`);
      const answered = new Map<string, number>();
      for (const { replyTo } of this.#scene.double.botMessages(channel)) {
        const id = replyTo?.id ?? "nothing";
        answered.set(id, (answered.get(id) ?? 0) + 1);
      }
      for (const [id, times] of answered) {
        if (times > 1) this.#find("duplicated", `${id} has ${times} answers`);
      }
    }
  }

  async #lookAt(desk: Desk): Promise<void> {
    for (let [said] = desk.unread; said !== undefined; [said] = desk.unread) {
      const record = await this.#scene.record(said);
      const shown = this.#scene.shown(said);
      if (record === null) return;
      if (record.status === "failed") {
        if (!shown.includes(record.code ?? "?")) return;
        this.failed++;
      } else {
        if (shown !== record.text) return;
        const foretold = desk.oracle.reply(said.text);
        if (record.text !== foretold) {
          this.#find("crossed", `${said.text}: ${record.text} instead of ${foretold}`);
        }
        this.turns++;
      }
      if (record.seq !== desk.seq + 1) {
        this.#find("reordered", `${said.text} is number ${record.seq} after ${desk.seq}`);
      }
      desk.seq = record.seq;
      desk.unread.shift();
    }
  }

  #find(fault: Fault, what: string): void {
    this.counts[fault]++;
    if (this.findings.length < 100) this.findings.push(`${fault}: ${what}`);
  }

  #desk(channel: Channel): Desk {
    const known = this.#desks.get(channel);
    if (known !== undefined) return known;
    const desk = { oracle: new Oracle(this.#scene.tokenizer), unread: [], seq: 0 };
    this.#desks.set(channel, desk);
    return desk;
  }
}
