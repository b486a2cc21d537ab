/** Buckets, surprises and bans, as discord.js' queues and a bare client meet them. */
import { REST } from "discord.js";
import { describe, expect, test } from "vitest";
import type { DiscordDouble } from "../index.ts";
import { call, scene } from "./support.ts";

const createRoute = "POST /channels/:channel/messages";
const editRoute = "PATCH /channels/:channel/messages/:message";

const restFor = (double: DiscordDouble): REST =>
  new REST({ api: double.restUrl }).setToken(double.token);

describe("discord.js' queues", () => {
  test("12 queued edits with right headers meet no 429", async () => {
    const { double, channel } = await scene();
    double.rateLimits.setRule(editRoute, { limit: 5, windowMs: 600 });
    const rest = restFor(double);
    const path = `/channels/${channel.id}/messages` as const;
    const first = (await rest.post(path, { body: { content: "0" } })) as { id: string };
    const edits = Array.from({ length: 12 }, (_, i) =>
      rest.patch(`${path}/${first.id}`, { body: { content: `${i + 1}` } }),
    );
    await Promise.all(edits);
    expect(double.counters().rateLimited).toBe(0);
    const [message] = double.botMessages(channel);
    expect(message?.history.map((version) => version.content)).toEqual(
      Array.from({ length: 13 }, (_, i) => `${i}`),
    );
  });

  test.each([
    { scope: "user", invalid: 1 },
    { scope: "shared", invalid: 0 },
    { scope: "global", invalid: 1 },
  ] as const)("a surprise 429 of scope $scope is waited out", async ({ scope, invalid }) => {
    const { double, channel } = await scene();
    double.restFaults.next(createRoute, { kind: "rate-limit", scope, retryAfterMs: 1_000 });
    await restFor(double).post(`/channels/${channel.id}/messages`, { body: { content: "x" } });
    const [refused, done] = double.log.entries(createRoute);
    expect([refused?.status, done?.status]).toEqual([429, 200]);
    expect((done?.atMs ?? 0) - (refused?.atMs ?? 0)).toBeGreaterThanOrEqual(1_000);
    expect(double.counters().invalidRequests).toBe(invalid);
  });

  test("a 429 without headers, a 500 and a 502 page are retried", async () => {
    const { double, channel } = await scene();
    double.restFaults.next(createRoute, { kind: "rate-limit", headers: false });
    double.restFaults.next(createRoute, { kind: "server-error" });
    double.restFaults.next(createRoute, { kind: "bad-gateway" });
    await restFor(double).post(`/channels/${channel.id}/messages`, { body: { content: "x" } });
    const statuses = double.log.entries(createRoute).map((entry) => entry.status);
    expect(statuses).toEqual([429, 500, 502, 200]);
  });

  test("a lost answer is repeated; the nonce keeps it one message", async () => {
    const { double, channel } = await scene();
    const body = { content: "once", nonce: "1234-0", enforce_nonce: true };
    const path = `/channels/${channel.id}/messages` as const;
    double.restFaults.next(createRoute, { kind: "lose-answer" });
    const answer = (await restFor(double).post(path, { body })) as { id: string };
    expect(double.log.entries(createRoute).map((entry) => entry.status)).toEqual([0, 200]);
    expect(double.botMessages(channel).map((message) => message.id)).toEqual([answer.id]);
    // Beyond the window the nonce is forgotten, and without enforce_nonce it never counted.
    double.clock.pass(180_001);
    await restFor(double).post(path, { body });
    await restFor(double).post(path, { body: { ...body, enforce_nonce: false } });
    expect(double.botMessages(channel)).toHaveLength(3);
  });
});

describe("a bare client", () => {
  test("a bucket's headers count down, its 429 says when to come back", async () => {
    const { double, channel } = await scene();
    const create = () => call(double, `POST /channels/${channel.id}/messages`, { content: "x" });
    for (const remaining of ["4", "3", "2", "1", "0"]) {
      const { status, headers } = await create();
      expect(status).toBe(200);
      expect(headers.get("x-ratelimit-limit")).toBe("5");
      expect(headers.get("x-ratelimit-remaining")).toBe(remaining);
      expect(Number(headers.get("x-ratelimit-reset-after"))).toBeLessThanOrEqual(5);
      expect(Number(headers.get("x-ratelimit-reset"))).toBeGreaterThan(double.clock.now() / 1000);
      expect(headers.get("x-ratelimit-bucket")).toMatch(/^[0-9a-f]{32}$/);
    }
    const refused = await create();
    expect(refused.status).toBe(429);
    expect(refused.headers.get("x-ratelimit-scope")).toBe("user");
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(refused.body).toMatchObject({ global: false, retry_after: expect.any(Number) });
    double.clock.pass(5_000);
    expect((await create()).status).toBe(200);
  });

  test("buckets are apart by channel and by route", async () => {
    const { double, guild, channel } = await scene();
    const other = double.addChannel(guild, { name: "other" });
    double.rateLimits.setRule(createRoute, { limit: 1, windowMs: 60_000 });
    const statusOf = async (id: string) =>
      (await call(double, `POST /channels/${id}/messages`, { content: "x" })).status;
    expect(await statusOf(channel.id)).toBe(200);
    expect(await statusOf(channel.id)).toBe(429);
    expect(await statusOf(other.id)).toBe(200);
    expect((await call(double, `POST /channels/${channel.id}/typing`)).status).toBe(204);
  });

  test("50 a second in all, interaction endpoints exempt", async () => {
    const { double } = await scene({
      rateLimits: {
        fallback: { limit: Infinity, windowMs: 1 },
        global: { limit: 3, windowMs: 60_000 },
      },
    });
    const statuses: number[] = [];
    for (let i = 0; i < 4; i += 1) statuses.push((await call(double, "GET /users/@me")).status);
    expect(statuses).toEqual([200, 200, 200, 429]);
    const refused = await call(double, "GET /users/@me");
    expect(refused.headers.get("x-ratelimit-global")).toBe("true");
    expect(refused.body).toMatchObject({ global: true });
    const exempt = await call(double, "POST /interactions/1/token/callback", { type: 5 });
    expect(exempt.body.code).toBe(10062);
    double.rateLimits.lift();
    expect((await call(double, "GET /users/@me")).status).toBe(200);
  });

  test("10,000 invalid requests in 10 minutes are a ban", async () => {
    const { double } = await scene({
      rateLimits: { invalid: { limit: 3, windowMs: 600_000 } },
    });
    for (let i = 0; i < 3; i += 1) {
      expect((await call(double, "GET /users/@me", undefined, {})).status).toBe(401);
    }
    const banned = await call(double, "GET /users/@me");
    expect([banned.status, banned.body["text"]]).toEqual([429, "error code: 1015"]);
    double.clock.pass(600_000);
    expect((await call(double, "GET /users/@me")).status).toBe(200);
  });

  test("messages older than an hour have a tighter edit limit: 30046", async () => {
    const { double, channel } = await scene({ oldEdits: { limit: 1, windowMs: 20_000 } });
    const sent = await call(double, `POST /channels/${channel.id}/messages`, { content: "x" });
    const edit = () =>
      call(double, `PATCH /channels/${channel.id}/messages/${String(sent.body["id"])}`, {
        content: "y",
      });
    double.clock.pass(3_600_001);
    expect((await edit()).status).toBe(200);
    const refused = await edit();
    expect([refused.status, refused.body.code]).toEqual([429, 30046]);
    expect(refused.headers.get("x-ratelimit-remaining")).not.toBe("0");
    double.clock.pass(20_000);
    expect((await edit()).status).toBe(200);
  });

  test("a fault on a route that does not exist throws", async () => {
    const { double } = await scene();
    expect(() => double.restFaults.next("POST /nowhere", { kind: "server-error" })).toThrow(
      "no route",
    );
  });
});
