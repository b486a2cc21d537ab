/** Sockets that die in every way, and what is lost: nothing, unless Discord says so. */
import { Events } from "discord.js";
import type { Client } from "discord.js";
import { describe, expect, test } from "vitest";
import type { Scene } from "./support.ts";
import { loggedIn, scene } from "./support.ts";

/** Ids of user messages as the client emits them. */
function heard(bot: Client): string[] {
  const ids: string[] = [];
  bot.on(Events.MessageCreate, (message) => {
    if (!message.author.bot) ids.push(message.id);
  });
  return ids;
}

function say({ double, channel, user }: Scene, count: number): string[] {
  const texts = Array.from({ length: count }, (_, i) => `n ${i}`);
  return texts.map((text) => double.userSays(channel, user, text, { mention: true }).id);
}

describe("a session outlives its socket", () => {
  test("the socket is cut, events go on, the client resumes and hears them all", async () => {
    const place = await scene();
    const { double } = place;
    const ids = heard(await loggedIn(double));
    const before = say(place, 2);
    await double.waitFor(() => ids.length === 2);
    double.gateway.cutSockets();
    const missed = say(place, 3);
    await double.waitFor(() => ids.length === 5);
    expect(ids).toEqual([...before, ...missed]);
    expect(double.counters()).toMatchObject({ identifies: 1, resumes: 1, resumesAtResumeUrl: 1 });
  });

  test("op 7: the client closes, resumes, hears what it missed", async () => {
    const place = await scene();
    const { double } = place;
    const ids = heard(await loggedIn(double));
    double.gateway.askReconnect();
    await double.waitFor(() => double.gateway.live.length === 0);
    const missed = say(place, 2);
    await double.waitFor(() => ids.length === 2);
    expect(ids).toEqual(missed);
    expect(double.counters()).toMatchObject({ identifies: 1, resumes: 1, closes: [4200] });
  });

  test("op 9 true: the client resumes on the same socket", async () => {
    const place = await scene();
    const { double } = place;
    const ids = heard(await loggedIn(double));
    double.gateway.invalidateSessions({ resumable: true });
    const missed = say(place, 1);
    await double.waitFor(() => ids.length === 1);
    expect(ids).toEqual(missed);
    expect(double.counters()).toMatchObject({ identifies: 1, resumes: 1, closes: [] });
  });

  test("op 9 false: a new session; what happened in between is gone", async () => {
    const place = await scene();
    const { double } = place;
    const ids = heard(await loggedIn(double));
    double.gateway.invalidateSessions({ resumable: false });
    say(place, 1);
    await double.waitFor(() => double.counters().identifies === 2, 10_000);
    const after = say(place, 1);
    await double.waitFor(() => ids.length > 0);
    expect(ids).toEqual(after);
  }, 15_000);

  test("heartbeats that stay unanswered: the client takes the line for dead and resumes", async () => {
    const place = await scene({ heartbeatIntervalMs: 150 });
    const { double } = place;
    const ids = heard(await loggedIn(double));
    double.deliveryFaults.acknowledgesHeartbeats = false;
    await double.waitFor(() => double.gateway.counters.closes.includes(4200));
    double.deliveryFaults.acknowledgesHeartbeats = true;
    const missed = say(place, 1);
    await double.waitFor(() => ids.length === 1);
    expect(ids).toEqual(missed);
  });

  test("a session a few minutes old is not resumed", async () => {
    const place = await scene();
    const { double } = place;
    await loggedIn(double);
    double.gateway.cutSockets();
    double.clock.pass(180_001);
    await double.waitFor(() => double.counters().refusedResumes === 1);
  });
});

test("duplicates, shuffling and cuts repeat and reorder events but lose none", async () => {
  const place = await scene();
  const { double } = place;
  // The Client drops messages it has seen, so its raw events are what is counted here.
  const ids: string[] = [];
  const bot = await loggedIn(double);
  bot.on(Events.Raw, (frame: { t: string; d: { id: string } }) => {
    if (frame.t === "MESSAGE_CREATE") ids.push(frame.d.id);
  });
  double.deliveryFaults.set({ duplicateChance: 0.3, reorderWindow: 5, cutEvery: 40, seed: 7 });
  const said = say(place, 100);
  await double.waitFor(() => new Set(ids).size === said.length, 8_000);
  expect(ids.length).toBeGreaterThan(said.length);
  expect([...new Set(ids)]).not.toEqual(said);
  expect([...new Set(ids)].toSorted()).toEqual(said);
  expect(double.counters().resumes).toBeGreaterThan(0);
}, 10_000);
