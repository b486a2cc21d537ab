import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "#infra/clock/clock.ts";
import { SessionStore, type ShardSession } from "#infra/discord/session-store.ts";
import { RedisServer } from "#test/redis/server.ts";

const server = await RedisServer.start();
const truth = await server.client();

afterAll(async () => {
  truth.disconnect();
  await server.stop();
});

beforeEach(async () => {
  await truth.flushall();
});

function store(onError: (error: unknown) => void = unexpected): SessionStore {
  return new SessionStore(truth, { applicationId: "1", clock: systemClock, onError });
}

function unexpected(error: unknown): never {
  throw error;
}

function session(sequence: number, sessionId = "a"): ShardSession {
  return { sessionId, sequence, resumeURL: "wss://resume", shardId: 0, shardCount: 1 };
}

/** What the next process would RESUME from. */
async function stored(sessions: SessionStore): Promise<number | null> {
  await sessions.flush();
  return (await store().retrieve(0))?.sequence ?? null;
}

/** An event as the library reports it: first the sequence, then the event. */
function arrive(sessions: SessionStore, sequence: number, sessionId = "a"): () => void {
  sessions.update(0, session(sequence, sessionId));
  return sessions.seen(0, sequence);
}

/** A message's event; `id` grows with time. */
function message(sessions: SessionStore, sequence: number, id: string): () => void {
  sessions.update(0, session(sequence));
  return sessions.seen(0, sequence, id);
}

describe("the stored sequence", () => {
  test("stays behind the oldest unhandled event, in whatever order they are handled", async () => {
    const sessions = store();
    sessions.update(0, session(1));
    const two = arrive(sessions, 2);
    const three = arrive(sessions, 3);
    const four = arrive(sessions, 4);
    four();
    expect(await stored(sessions)).toBe(1);
    two();
    expect(await stored(sessions)).toBe(2);
    three();
    expect(await stored(sessions)).toBe(4);
  });

  test("in memory follows what arrived: this process still has the unhandled events", async () => {
    const sessions = store();
    sessions.update(0, session(1));
    arrive(sessions, 2);
    expect((await sessions.retrieve(0))?.sequence).toBe(2);
  });

  test("of a new session is not moved by events of the old one", async () => {
    const sessions = store();
    sessions.update(0, session(1));
    const old = arrive(sessions, 2);
    sessions.update(0, null);
    expect(await stored(sessions)).toBe(null);
    sessions.update(0, session(1, "b"));
    arrive(sessions, 2, "b");
    old();
    expect(await stored(sessions)).toBe(1);
  });

  test("survives the library's forgetting when the gateway closes, and still advances", async () => {
    const sessions = store();
    sessions.update(0, session(1));
    const two = arrive(sessions, 2);
    sessions.freeze();
    sessions.update(0, null);
    two();
    expect(await stored(sessions)).toBe(2);
  });

  test("is written now and then in a storm of events, and whole at the end", async () => {
    const sessions = store();
    await sessions.retrieve(0);
    sessions.update(0, session(1));
    await truth.config("RESETSTAT");
    for (let sequence = 2; sequence <= 500; sequence++) {
      arrive(sessions, sequence)();
      if (sequence % 50 === 0) await truth.ping();
    }
    expect(await stored(sessions)).toBe(500);
    const writes = /cmdstat_set:calls=(\d+)/.exec(await truth.info("commandstats"))?.[1];
    expect(Number(writes)).toBeLessThanOrEqual(3);
  });

  test("in a damaged record is refused by name: the session is none", async () => {
    const sessions = store();
    sessions.update(0, session(7));
    await sessions.flush();
    const [key = ""] = await truth.keys("*");
    await truth.set(key, ((await truth.get(key)) ?? "").replace("resume", "rezume"));
    const errors: unknown[] = [];
    expect(await store((error) => errors.push(error)).retrieve(0)).toBeNull();
    expect(errors).toMatchObject([{ code: "RECORD_CORRUPT" }]);
  });
});

describe("what a forgotten session may have missed", () => {
  test("begins after the last message before which all were handled", async () => {
    const sessions = store();
    sessions.update(0, session(1));
    const two = message(sessions, 2, "200");
    const three = message(sessions, 3, "300");
    const four = message(sessions, 4, "99");
    two();
    four();
    sessions.update(0, null);
    expect(sessions.missedSince(0)).toBe("200");
    three();
    sessions.update(0, session(1, "b"));
    expect(sessions.missedSince(0)).toBe("200");
  });

  test("is known to the next process, with a session and without", async () => {
    const sessions = store();
    sessions.update(0, session(1));
    message(sessions, 2, "200")();
    await sessions.flush();
    const next = store();
    expect((await next.retrieve(0))?.sequence).toBe(2);
    expect(next.missedSince(0)).toBe("200");
    sessions.update(0, null);
    await sessions.flush();
    const last = store();
    expect(await last.retrieve(0)).toBeNull();
    expect(last.missedSince(0)).toBe("200");
  });

  test("is not known before anything was handled", async () => {
    const sessions = store();
    sessions.update(0, session(1));
    expect(sessions.missedSince(0)).toBeNull();
    expect(store().missedSince(0)).toBeNull();
  });
});
