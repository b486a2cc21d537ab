/**
 * Fault: the truth Redis (`appendfsync always`) is killed with -9, or ended and started again, while
 *   turns come in and are answered.
 * Expected: commands wait for the connection, outcomes that nobody heard are found out by asking
 *   again ("already committed").
 * Invariant: every turn whose append was acknowledged to its client is answered once; no committed
 *   turn is lost.
 * Bound: turns are answered again within 5 s after Redis is up.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Turn } from "#infra/turn/index.ts";
import { aConversation, aTurn } from "../infra/turns.ts";
import type { SaidTurn } from "#test/invariants/turns.ts";
import { check } from "./check.ts";
import { patience, Recorder, rounds } from "./figures.ts";
import { Scene } from "./scene.ts";
import { scriptedModelName } from "#test/doubles/backend/model.ts";
import { Oracle } from "#test/doubles/backend/script.ts";

const downMs = 500;
const chats = 8;

test(
  "a truth Redis that is killed or restarted loses no acknowledged turn",
  patience(2),
  async ({ task }) => {
    const scene = await Scene.open({ channels: 3 });
    const recorder = new Recorder();
    const client = new Client(scene);
    try {
      const talking = client.talk();
      for (let round = 0; round < rounds(2); round++) {
        for (const channel of scene.channels)
          scene.say(`before ${round} [words=12] [ms=40]`, channel);
        await scene.until(() => scene.said.some((one) => scene.shown(one) !== ""), "an answer");
        await scene.platform.truthServer.end(round % 2 === 0 ? "SIGKILL" : "SIGTERM");
        for (const channel of scene.channels) scene.say(`while away ${round}`, channel);
        await sleep(downMs);
        await scene.platform.truthServer.restart();
        const upMs = performance.now();
        const answered = client.answered;
        await scene.until(() => client.answered > answered, "an answer after the restart");
        recorder.add("truth Redis restarted: turns go on", 5_000, performance.now() - upMs);
        await scene.settled();
      }
      await client.end(talking);
      await check(scene, { also: client.said() });
      expect(await client.lost()).toEqual([]);
      expect(client.answered).toBeGreaterThan(0);
    } finally {
      await client.end();
      await scene.close();
    }
    recorder.save(task);
  },
);

/** Puts turns into mailboxes by itself and keeps a list of those that were acknowledged. */
class Client {
  readonly #scene: Scene;
  readonly #acknowledged: Turn[][] = Array.from({ length: chats }, () => []);
  #ending = false;
  answered = 0;

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  async talk(): Promise<void> {
    await Promise.all(this.#acknowledged.map(async (turns, chat) => this.#chat(turns, chat)));
  }

  async end(talking?: Promise<void>): Promise<void> {
    this.#ending = true;
    await talking;
  }

  said(): SaidTurn[] {
    return this.#acknowledged.flat().map(({ conversation, id }, order) => {
      return { conversation, turn: id, acknowledged: true, order };
    });
  }

  /** Turns acknowledged and yet not answered, or answered otherwise than foretold. */
  async lost(): Promise<string[]> {
    const wrong: string[] = [];
    for (const turns of this.#acknowledged) {
      const oracle = new Oracle(this.#scene.tokenizer);
      for (const turn of turns) {
        const key = { turn: turn.id, attempt: 0 };
        const record = await this.#scene.platform.ledger.reply(turn.conversation, key);
        if (record?.text !== oracle.reply(turn.text)) wrong.push(turn.id);
      }
    }
    return wrong;
  }

  async #chat(turns: Turn[], chat: number): Promise<void> {
    const { platform } = this.#scene;
    while (!this.#ending) {
      const turn = aTurn(1000 * (chat + 1) + turns.length, {
        conversation: aConversation(`chat-${chat}`),
        model: scriptedModelName,
        text: `chat ${chat} says number ${turns.length}`,
      });
      // A client without an answer asks again: the turn's id makes it one turn.
      await platform.mailbox.append(turn);
      turns.push(turn);
      const { conversation, id, model } = turn;
      void platform.bell
        .ring({ conversation, headTurnId: id, model, traceId: id })
        .catch(() => undefined);
      await platform.reply(turn, 60_000);
      this.answered++;
    }
  }
}
