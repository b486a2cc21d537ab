/** The gateway's documented sentences, one row or test each, told to a bare socket. */
import { describe, expect, test } from "vitest";
import { call, scene, Wire } from "./support.ts";

const identified = async (wire: Wire): Promise<void> => {
  wire.identify();
  await wire.dispatched("READY");
};

describe("close codes", () => {
  test.each<[code: number, why: string, act: (wire: Wire) => unknown]>([
    [4001, "an opcode clients do not send", (wire) => wire.send({ op: 99, d: null })],
    [4002, "something that is not JSON", (wire) => wire.send("{")],
    [4002, "more than 4,096 bytes", (wire) => wire.send({ op: 3, d: "x".repeat(4_096) })],
    [4003, "anything before IDENTIFY", (wire) => wire.send({ op: 3, d: {} })],
    [4004, "a wrong token", (wire) => wire.identify({ token: "wrong" })],
    [4005, "IDENTIFY twice", (wire) => identified(wire).then(() => wire.identify())],
    [
      4008,
      "more than 120 sends in 60 s",
      (wire) => Array.from({ length: 121 }, () => wire.send({ op: 1, d: null })),
    ],
    [4010, "a shard out of range", (wire) => wire.identify({ shard: [2, 2] })],
    [4013, "an unknown intent bit", (wire) => wire.identify({ intents: 1 << 30 })],
    [4014, "a privileged intent not switched on", (wire) => wire.identify({ intents: 1 << 15 })],
  ])("%i for %s", async (code, _why, act) => {
    const { double } = await scene();
    const wire = new Wire(double);
    await wire.hello();
    await act(wire);
    expect(await wire.closed()).toBe(code);
  });

  test("4007 for a RESUME from a sequence number not reached yet", async () => {
    const { double } = await scene();
    const first = new Wire(double);
    await first.hello();
    await identified(first);
    const { d } = await first.dispatched("READY");
    const second = new Wire(double);
    await second.hello();
    second.resume(d["session_id"], 1_000);
    expect(await second.closed()).toBe(4007);
  });

  test("4012 for a version other than 10", async () => {
    const { double } = await scene();
    expect(await new Wire(double, "v=9&encoding=json").closed()).toBe(4012);
  });

  test("4011 when a shard would hold too many guilds", async () => {
    const { double } = await scene({ guildsPerShardMax: 1 });
    const wire = new Wire(double);
    await wire.hello();
    wire.identify();
    expect(await wire.closed()).toBe(4011);
  });

  test("4009 for a client that has stopped beating", async () => {
    const { double } = await scene({ heartbeatIntervalMs: 40 });
    const wire = new Wire(double);
    await wire.hello();
    wire.identify();
    expect(await wire.closed()).toBe(4009);
  });
});

describe("sessions", () => {
  test("sequence numbers start at 1 and grow by 1; a heartbeat is acknowledged", async () => {
    const { double, channel, user } = await scene();
    const wire = new Wire(double);
    await wire.hello();
    wire.identify();
    await wire.dispatched("GUILD_CREATE");
    double.userSays(channel, user, "x", { mention: true });
    await wire.dispatched("MESSAGE_CREATE");
    const seqs = wire.frames.filter((frame) => frame.op === 0).map((frame) => frame.s);
    expect(seqs).toEqual([1, 2, 3]);
    wire.send({ op: 1, d: 3 });
    await wire.waitFor((frame) => frame.op === 11);
  });

  test("RESUME replays what came after seq, in order, then says RESUMED", async () => {
    const { double, channel, user } = await scene();
    const first = new Wire(double);
    await first.hello();
    first.identify();
    const ready = await first.dispatched("READY");
    first.socket.close(4200);
    await double.waitFor(() => double.gateway.live.length === 0);
    double.userSays(channel, user, "a", { mention: true });
    double.userSays(channel, user, "b", { mention: true });
    const second = new Wire(double);
    await second.hello();
    second.resume(ready.d["session_id"], 1);
    await second.dispatched("RESUMED");
    const types = second.frames.filter((frame) => frame.op === 0).map((frame) => frame.t);
    expect(types).toEqual(["GUILD_CREATE", "MESSAGE_CREATE", "MESSAGE_CREATE", "RESUMED"]);
  });

  test.each([1000, 1001])("closing with %i ends the session", async (code) => {
    const { double } = await scene();
    const first = new Wire(double);
    await first.hello();
    first.identify();
    const ready = await first.dispatched("READY");
    first.socket.close(code);
    await double.waitFor(() => double.gateway.counters.closes.includes(code));
    const second = new Wire(double);
    await second.hello();
    second.resume(ready.d["session_id"], 1);
    const invalid = await second.waitFor((frame) => frame.op === 9);
    expect(invalid.d).toBe(false);
  });

  test("one IDENTIFY per 5 s and max_concurrency key: op 9", async () => {
    const { double } = await scene();
    const wires = [new Wire(double), new Wire(double)];
    for (const wire of wires) {
      await wire.hello();
      wire.identify();
    }
    const refused = await double.waitFor(() =>
      wires.flatMap((wire) => wire.frames).find((frame) => frame.op === 9),
    );
    expect(refused.d).toBe(false);
  });

  test("the day's IDENTIFYs used up: the token is reset", async () => {
    const { double } = await scene({ identifiesPerDay: 1, identifyWindowMs: 0 });
    const before = double.token;
    const first = new Wire(double);
    await first.hello();
    first.identify();
    await first.dispatched("READY");
    const info = await call(double, "GET /gateway/bot");
    expect(info.body["session_start_limit"]).toMatchObject({ total: 1, remaining: 0 });
    const second = new Wire(double);
    await second.hello();
    second.identify();
    expect(await second.closed()).toBe(4004);
    const old = await call(double, "GET /users/@me", undefined, { authorization: `Bot ${before}` });
    expect(old.status).toBe(401);
  });

  test("without an intent its events stay away; interactions need none", async () => {
    const { double, guild, channel, user } = await scene();
    const wire = new Wire(double);
    await wire.hello();
    wire.identify({ intents: 0 });
    await wire.dispatched("READY");
    const path = `/applications/${double.applicationId}/guilds/${guild.id}/commands`;
    await call(double, `PUT ${path}`, [{ name: "ping", description: "x" }]);
    double.userSays(channel, user, "x", { mention: true });
    double.userRunsCommand(channel, user, "ping");
    await wire.dispatched("INTERACTION_CREATE");
    const types = wire.frames.filter((frame) => frame.op === 0).map((frame) => frame.t);
    expect(types).toEqual(["READY", "INTERACTION_CREATE"]);
  });

  test("what a fault held back when the socket died is replayed, even below the client's seq", async () => {
    const { double, channel, user } = await scene();
    const first = new Wire(double);
    await first.hello();
    await identified(first);
    await first.dispatched("GUILD_CREATE");
    double.deliveryFaults.set({ reorderWindow: 20, cutEvery: 10, seed: 3 });
    for (let i = 0; i < 20; i += 1) double.userSays(channel, user, `${i}`, { mention: true });
    await first.closed();
    double.deliveryFaults.clear();
    const seen = first.frames.flatMap((frame) => (frame.s === null ? [] : [frame.s]));
    expect(seen).toHaveLength(12);
    const { d } = await first.dispatched("READY");
    const second = new Wire(double);
    await second.hello();
    second.resume(d["session_id"], Math.max(...seen));
    await second.dispatched("RESUMED");
    const replayed = second.frames.flatMap((frame) => (frame.s === null ? [] : [frame.s]));
    expect(new Set([...seen, ...replayed]).size).toBe(23);
  });

  test("a ping-reply to an interaction response does not open its content", async () => {
    const { double, guild, channel, user } = await scene();
    const path = `/applications/${double.applicationId}/guilds/${guild.id}/commands`;
    await call(double, `PUT ${path}`, [{ name: "ping", description: "x" }]);
    const run = double.userRunsCommand(channel, user, "ping");
    const answer = { type: 4, data: { content: "pong" } };
    await call(double, `POST /interactions/${run.id}/${run.interaction.token}/callback`, answer);
    const { id } = await run.reply();
    const wire = new Wire(double);
    await wire.hello();
    await identified(wire);
    double.userSays(channel, user, "hidden", { replyTo: id });
    const event = await wire.dispatched("MESSAGE_CREATE");
    expect(event.d).toMatchObject({ content: "", type: 19 });
  });
});
