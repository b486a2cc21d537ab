/**
 * A deploy under live streams: two workers and the gateway are asked to end one after the other, each
 * as its successor is ready, while replies grow in as many channels as wanted. Afterwards every message
 * has one reply, and its text is to the letter what an undisturbed worker says to the same turn.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { editIntervalMs, requestsPerSecondMax } from "#apps/gateway/render/pacer.ts";
import { wantedFinal } from "#apps/gateway/render/wanted.ts";
import { conversationKeys } from "#infra/redis/keys.ts";
import {
  type ConversationId,
  conversationId,
  type ReplyRecord,
  type Turn,
  turnId,
} from "#infra/turn/index.ts";
import { type Channel, DiscordDouble, type Message } from "#test/doubles/discord/index.ts";
import { type Process, TestPlatform } from "#test/platform/platform.ts";
import { slowModel, writeSlowModel } from "#test/platform/slow-model.ts";
import { aConversation, aTurn } from "../infra/turns.ts";

export interface Rolling {
  readonly streams: number;
  readonly model: { readonly layers: number; readonly heads: number };
}

export interface RollingFigures {
  readonly streams: number;
  /** Replies whose text was begun by one worker and ended by another. */
  readonly handedOver: number;
  readonly lost: number;
  readonly duplicates: number;
  /** Of each stream its longest time between two changes in Discord, less the edit interval in force. */
  readonly gapMsP95: number;
  readonly slowestExitMs: number;
}

/**
 * A stream lives as long as this many workers take to start, one after the other, and as all first words
 * take to be sent this many times over.
 */
const startsPerStream = 4;
const greetingsPerStream = 6;
const probeTokens = 64;
const patience = { timeout: 300_000, interval: 20 };

interface Stream {
  readonly channel: Channel;
  readonly conversation: ConversationId;
  readonly trigger: Message;
}

export async function runRolling(rolling: Rolling): Promise<RollingFigures> {
  const platform = await TestPlatform.start();
  const double = await DiscordDouble.start();
  const directory = mkdtempSync(join(tmpdir(), "eyrie-slow-"));
  try {
    writeSlowModel(directory, rolling.model);
    return await new Deploy(rolling, { platform, double, directory }).run();
  } finally {
    await platform.stop();
    await double.close();
    rmSync(directory, { recursive: true });
  }
}

class Deploy {
  readonly #rolling: Rolling;
  readonly #platform: TestPlatform;
  readonly #double: DiscordDouble;
  readonly #environment: NodeJS.ProcessEnv;
  #replyTokensMax = 0;
  #slowestExitMs = 0;

  constructor(
    rolling: Rolling,
    parts: {
      readonly platform: TestPlatform;
      readonly double: DiscordDouble;
      readonly directory: string;
    },
  ) {
    this.#rolling = rolling;
    this.#platform = parts.platform;
    this.#double = parts.double;
    this.#environment = {
      EYRIE_MODEL: parts.directory,
      EYRIE_DRAIN_SECONDS: "0",
      EYRIE_SLOTS: String(rolling.streams),
      EYRIE_LOG_LEVEL: "warn",
      DISCORD_TOKEN: parts.double.token,
      DISCORD_API_URL: parts.double.restUrl,
    };
  }

  async run(): Promise<RollingFigures> {
    const platform = this.#platform;
    const startedMs = performance.now();
    const workers = await Promise.all([this.#worker(), this.#worker()]);
    const startsMs = startsPerStream * (performance.now() - startedMs);
    const greetingsMs = (greetingsPerStream * this.#rolling.streams * 1_000) / requestsPerSecondMax;
    this.#replyTokensMax = await this.#tokensIn(startsMs + greetingsMs);
    const gateway = await this.#gateway();
    const streams = this.#ask();
    await expect.poll(async () => this.#alive(streams), patience).toBe(streams.length);
    const fences = await this.#fences(streams);
    for (const worker of workers) {
      const successor = await this.#worker();
      await this.#end(worker);
      expect(successor.running).toBe(true);
    }
    await this.#end(gateway);
    await this.#gateway();
    const over = async (): Promise<number> => (await this.#records(streams)).length;
    await expect.poll(over, patience).toBe(streams.length);
    const undelivered = async (): Promise<number> => (await platform.ledger.outbox()).length;
    await expect.poll(undelivered, patience).toBe(0);

    const records = await this.#records(streams);
    const handedOver = records.filter(({ fence }, index) => fence > (fences[index] ?? 0)).length;
    await this.#compare(streams, records);
    return { ...this.#count(streams, records), handedOver, slowestExitMs: this.#slowestExitMs };
  }

  #worker(): Promise<Process> {
    return this.#platform.worker(this.#environment);
  }

  #gateway(): Promise<Process> {
    return this.#platform.run("apps/gateway/main.ts", {
      ...this.#environment,
      EYRIE_REPLY_TOKENS_MAX: String(this.#replyTokensMax),
    });
  }

  /** How many tokens each of the streams gets in that time, on this machine and with its other work. */
  async #tokensIn(ms: number): Promise<number> {
    await this.#probe("warm");
    const startedMs = performance.now();
    await this.#probe("probe");
    const msPerToken = (performance.now() - startedMs) / probeTokens;
    return Math.min(8_000, Math.max(2 * probeTokens, Math.round(ms / msPerToken)));
  }

  async #probe(name: string): Promise<void> {
    const turns = Array.from({ length: this.#rolling.streams }, (_, index) =>
      this.#undisturbed(`${name}-${index}`, { text: name, maxTokens: probeTokens }),
    );
    for (const turn of turns) await this.#platform.say(turn);
    for (const turn of turns) await this.#platform.reply(turn, patience.timeout);
  }

  async #end(process: Process): Promise<void> {
    const startedMs = performance.now();
    expect(await process.end()).toBe(0);
    this.#slowestExitMs = Math.max(this.#slowestExitMs, Math.round(performance.now() - startedMs));
  }

  #ask(): Stream[] {
    const guild = this.#double.addGuild({ name: "Rolling" });
    return Array.from({ length: this.#rolling.streams }, (_, index) => {
      const channel = this.#double.addChannel(guild, { name: `channel-${index}` });
      const user = this.#double.addUser({ name: `user-${index}` });
      const trigger = this.#double.userSays(channel, user, `question ${index}`, { mention: true });
      return { channel, conversation: conversationId(`discord-${channel.id}`), trigger };
    });
  }

  /** Streams that are being answered and show text that grows. */
  async #alive(streams: readonly Stream[]): Promise<number> {
    const held = await Promise.all(
      streams.map(async ({ conversation }) =>
        this.#platform.truth.exists(conversationKeys(conversation).lease),
      ),
    );
    const grows = (channel: Channel): boolean =>
      this.#double.botMessages(channel).some(({ wire }) => wire.content.endsWith("▌"));
    return streams.filter(({ channel }, index) => held[index] === 1 && grows(channel)).length;
  }

  async #fences(streams: readonly Stream[]): Promise<number[]> {
    const summaries = streams.map(({ conversation }) =>
      this.#platform.ledger.summary(conversation),
    );
    return (await Promise.all(summaries)).map(({ fence }) => fence);
  }

  async #records(streams: readonly Stream[]): Promise<ReplyRecord[]> {
    const records = streams.map(({ conversation, trigger }) =>
      this.#platform.ledger.reply(conversation, { turn: turnId(trigger.id), attempt: 0 }),
    );
    return (await Promise.all(records)).filter((record) => record !== null);
  }

  #undisturbed(conversation: string, turn: Partial<Turn>): Turn {
    return aTurn(1, {
      conversation: aConversation(conversation),
      model: slowModel,
      sampling: { ...flat, presencePenalty: 0.3, frequencyPenalty: 0.3 },
      ...turn,
    });
  }

  /** The same turns, to a worker that nobody disturbs. */
  async #compare(streams: readonly Stream[], records: readonly ReplyRecord[]): Promise<void> {
    const platform = this.#platform;
    const twins = records.map((record, index) => {
      const text = streams[index]?.trigger.wire.content.replace(/^<@!?\d+>\s*/, "") ?? "";
      return this.#undisturbed(`twin-${index}`, {
        id: record.turn,
        text,
        maxTokens: this.#replyTokensMax,
      });
    });
    for (const twin of twins) await platform.say(twin);
    for (const [index, twin] of twins.entries()) {
      const undisturbed = await platform.reply(twin, patience.timeout);
      const { end, replyTokens, text } = records[index] ?? {};
      expect({ end, replyTokens, text }).toEqual({
        end: undisturbed.end,
        replyTokens: undisturbed.replyTokens,
        text: undisturbed.text,
      });
    }
  }

  #count(
    streams: readonly Stream[],
    records: readonly ReplyRecord[],
  ): Pick<RollingFigures, "streams" | "lost" | "duplicates" | "gapMsP95"> {
    let lost = 0;
    let duplicates = 0;
    const gaps: number[] = [];
    const intervalMs = editIntervalMs(streams.length);
    for (const [index, { channel }] of streams.entries()) {
      const shown = this.#double.botMessages(channel).map(({ wire }) => wire.content.trim());
      const wanted = wantedFinal(records[index]?.text ?? "", "", null);
      if (wanted.some(({ content }) => !shown.includes(content.trim()))) lost++;
      if (shown.length > wanted.length) duplicates++;
      gaps.push(Math.max(0, this.#longestGapMs(channel) - intervalMs));
    }
    gaps.sort((a, b) => a - b);
    const gapMsP95 = Math.round(gaps[Math.ceil(0.95 * gaps.length) - 1] ?? 0);
    return { streams: streams.length, lost, duplicates, gapMsP95 };
  }

  #longestGapMs(channel: Channel): number {
    const times = this.#double.log
      .entries()
      .filter(
        ({ method, path, status }) =>
          ["POST", "PATCH"].includes(method) && path.includes(channel.id) && status === 200,
      )
      .map(({ atMs }) => atMs);
    return Math.max(0, ...times.slice(1).map((atMs, index) => atMs - (times[index] ?? atMs)));
  }
}

const flat = { temperature: 1, topP: 1, penaltyDecay: 0.996 };
