import { afterEach, describe, expect, test } from "vitest";
import { Conversations } from "#infra/conversation/conversations.ts";
import { forksKey, gatewayPaceKey, openRepliesKey } from "#infra/redis/keys.ts";
import { WakeBell } from "#infra/wake/wake.ts";
import { Permission } from "#test/doubles/discord/index.ts";
import { buttonOf, Stage } from "./stage.ts";

const createMessage = "POST /channels/:channel/messages";
const editMessage = "PATCH /channels/:channel/messages/:message";

let stage: Stage;

afterEach(async () => stage.close());

describe("a gateway that restarts", () => {
  test("in mid-stream finishes in the same message", async () => {
    stage = await Stage.open();
    stage.ask("go on");
    const claim = await stage.worker.claim(stage.conversation);
    await stage.worker.say(claim, "First");
    await stage.waitForShown("First ▌");
    await stage.restart();
    await stage.worker.say(claim, "First and second");
    await stage.waitForShown("First and second ▌");
    await stage.worker.commit(claim, "First and second.");
    await stage.waitForEmptyOutbox();
    expect(stage.shown()).toEqual(["First and second."]);
  });

  test("looks for parts that were not noted only when it comes to them", async () => {
    stage = await Stage.open();
    stage.ask("go on");
    const claim = await stage.worker.claim(stage.conversation);
    await stage.worker.say(claim, "First");
    await stage.waitForShown("First ▌");
    await stage.restart();
    const looked = (): number =>
      stage.discord.log.entries().filter(({ method, path }) => {
        return method === "GET" && path.includes("/messages");
      }).length;
    await stage.worker.say(claim, "First and second");
    await stage.waitForShown("First and second ▌");
    expect(looked()).toBe(0);
    await stage.worker.commit(claim, "First and second.");
    await stage.waitForEmptyOutbox();
    expect(looked()).toBe(1);
  });

  test("keeps its predecessor's pace", async () => {
    stage = await Stage.open();
    stage.ask("go on");
    const claim = await stage.worker.claim(stage.conversation);
    await stage.worker.say(claim, "First");
    await stage.waitForShown("First ▌");
    await stage.gateway?.close();
    const key = gatewayPaceKey(stage.discord.applicationId);
    const left = JSON.parse((await stage.truth.get(key)) ?? "{}") as Record<string, number>;
    expect(Object.keys(left)).toEqual([stage.channel.id]);
    await stage.truth.set(key, "no pace");
    await stage.start();
    expect(await stage.truth.exists(key)).toBe(0);
    await stage.worker.commit(claim, "First and second.");
    await stage.waitForShown("First and second.");
  });

  test("finds a reply that was committed while it was away", async () => {
    stage = await Stage.open();
    stage.ask("while you are away");
    const claim = await stage.worker.claim(stage.conversation);
    await stage.discord.waitForReply(stage.channel);
    await stage.gateway?.close();
    await stage.worker.commit(claim, "It is done.");
    await stage.start();
    await stage.waitForEmptyOutbox();
    expect(stage.shown()).toEqual(["It is done."]);
  });

  test("passes over notes that have rotted, and goes on with the others", async () => {
    stage = await Stage.open();
    stage.ask("go on");
    await stage.waitForShown("💭 …");
    await stage.gateway?.close();
    const app = stage.discord.applicationId;
    await stage.truth.hset(openRepliesKey(app), "discord-1 1 0", "rotten");
    await stage.truth.hset(forksKey(app), "1", "rotten");
    await stage.start();
    await stage.worker.commit(await stage.worker.claim(stage.conversation), "It goes on.");
    await stage.waitForShown("It goes on.");
    const refused = ["open reply refused", "pending fork refused"];
    const logged = (): string[] =>
      refused.filter((event) => stage.lines.some((line) => line.event === event));
    await expect.poll(logged).toEqual(refused);
  });

  test("resumes its session and is told what it missed", async () => {
    stage = await Stage.open();
    await stage.gateway?.close();
    stage.ask("said in between");
    await stage.start();
    const claim = await stage.worker.claim(stage.conversation);
    expect(claim.head.text).toBe("said in between");
    expect(stage.connections()).toEqual(["identified", "resumed"]);
  });

  test("is told of a question and of its deletion at once, and answers nobody", async () => {
    stage = await Stage.open();
    await stage.gateway?.close();
    stage.discord.deleteMessage(stage.ask("never said"));
    await stage.start();
    const claim = await stage.worker.claim(stage.conversation);
    await expect.poll(() => stage.worker.stopped(claim)).toBe(true);
    await stage.worker.commit(claim, "It was said.");
    await stage.waitForEmptyOutbox();
    expect(stage.shown()).toEqual([]);
  });

  test("or loses its session for good identifies afresh and goes on", async () => {
    stage = await Stage.open();
    stage.discord.gateway.invalidateSessions({ resumable: false });
    // The library identifies once in 5 s.
    await stage.discord.waitFor(() => stage.connections().length === 2, 10_000);
    expect(stage.connections()).toEqual(["identified", "identified"]);
    stage.ask("still there?");
    expect((await stage.worker.claim(stage.conversation)).head.text).toBe("still there?");
  });

  test("adopts a placeholder whose note was lost, by what it refers to", async () => {
    stage = await Stage.open({ double: { nonceWindowMs: 0 } });
    stage.ask("lost note");
    const claim = await stage.worker.claim(stage.conversation);
    await stage.worker.say(claim, "text");
    await stage.waitForShown("text ▌");
    await stage.gateway?.close();
    const notes = await stage.truth.keys("*:delivery:*");
    expect(await stage.truth.del(notes)).toBe(1);
    await stage.start();
    await stage.worker.commit(claim, "text, all of it");
    await stage.waitForEmptyOutbox();
    expect(stage.shown()).toEqual(["text, all of it"]);
  });

  test("says that a turn is lost when truth has forgotten it", async () => {
    stage = await Stage.open();
    stage.ask("gone");
    await stage.worker.claim(stage.conversation);
    await stage.discord.waitForReply(stage.channel);
    await stage.gateway?.close();
    await stage.truth.del(await stage.truth.keys("*:mailbox"));
    await stage.start();
    await stage.discord.waitFor(() => stage.shown()[0]?.includes("`TURN_FAILED`"));
  });
});

describe("a turn that truth no longer has", () => {
  test("is taken away when its conversation is deleted elsewhere, and never comes back", async () => {
    stage = await Stage.open();
    stage.ask("forget me");
    const claim = await stage.worker.claim(stage.conversation);
    await stage.worker.say(claim, "I will");
    await stage.waitForShown("I will ▌");
    const bell = new WakeBell(stage.truth);
    const both = { truth: stage.truth, state: stage.truth };
    await new Conversations(both, bell).delete(stage.conversation);
    await bell.close();
    await stage.waitForShown();
    await expect.poll(() => stage.stored()).toEqual([]);
    await stage.truth.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    stage.ask("next");
    expect((await stage.worker.claim(stage.conversation)).head.text).toBe("next");
  });

  test("leaves the answer that it was to replace, with its button", async () => {
    stage = await Stage.open();
    const reply = await stage.exchange("a poem", "Roses.");
    const before = new Map<string, Buffer>();
    for (const key of await stage.truth.keys("*")) {
      const dump = await stage.truth.dumpBuffer(key);
      if (dump !== null) before.set(key, dump);
    }
    const again = buttonOf(reply) ?? "";
    stage.discord.userPresses(reply, again, stage.ada);
    await stage.waitForShown("💭 …");
    await stage.truth.flushall();
    for (const [key, dump] of before) await stage.truth.restore(key, 0, dump, "REPLACE");
    await stage.truth.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    await stage.waitForShown("Roses.");
    expect(buttonOf(reply)).toBe(again);
  });
});

describe("what gets lost on the way", () => {
  test("a lost answer to the first post makes no second message", async () => {
    stage = await Stage.open();
    stage.discord.restFaults.next(createMessage, { kind: "lose-answer" });
    stage.ask("once only");
    const claim = await stage.worker.claim(stage.conversation);
    await stage.worker.say(claim, "Once");
    await stage.waitForShown("Once ▌");
    await stage.worker.commit(claim, "Once.");
    await stage.waitForEmptyOutbox();
    expect(stage.shown()).toEqual(["Once."]);
  });

  test("a server error or reset on an edit is tried again", async () => {
    stage = await Stage.open();
    stage.ask("again");
    const claim = await stage.worker.claim(stage.conversation);
    await stage.discord.waitForReply(stage.channel);
    stage.discord.restFaults.next(editMessage, { kind: "lose-request" });
    stage.discord.restFaults.next(editMessage, { kind: "server-error" });
    await stage.worker.commit(claim, "At last.");
    await stage.waitForEmptyOutbox();
    expect(stage.shown()).toEqual(["At last."]);
  });

  test.each(["unauthorized", "blocked"] as const)(
    "a request refused once, though nothing is amiss (%s), is tried again",
    async (kind) => {
      stage = await Stage.open();
      stage.discord.restFaults.next(createMessage, { kind });
      stage.ask("once more");
      await stage.worker.commit(await stage.worker.claim(stage.conversation), "Here it is.");
      await stage.waitForShown("Here it is.");
    },
  );

  test("a lost done frame only costs a moment: the outbox has the reply", async () => {
    stage = await Stage.open();
    stage.ask("quiet");
    const claim = await stage.worker.claim(stage.conversation);
    await stage.discord.waitForReply(stage.channel);
    await stage.worker.commit(claim, "Quietly done.", { quietly: true });
    await stage.waitForShown("Quietly done.");
  });

  test("events told twice and out of order make each turn once", async () => {
    stage = await Stage.open();
    stage.discord.deliveryFaults.set({ duplicateChance: 1 });
    stage.ask("one");
    stage.ask("two");
    await stage.discord.waitFor(() => stage.shown().length === 2);
    stage.discord.deliveryFaults.clear();
    const waiting = await stage.worker.mailbox.waiting(stage.conversation);
    expect(waiting.map(({ text }) => text)).toEqual(["one", "two"]);
  });
});

describe("a place that cannot be written to", () => {
  test("ends the turn, empties the outbox and names Discord's code in the log", async () => {
    stage = await Stage.open();
    stage.discord.denyBot(stage.channel, Permission.SendMessages);
    stage.ask("can you hear me");
    const claim = await stage.worker.claim(stage.conversation);
    await expect.poll(() => stage.worker.stopped(claim)).toBe(true);
    await stage.worker.commit(claim, "nobody reads this");
    await stage.waitForEmptyOutbox();
    const line = stage.lines.find(({ event }) => event === "reply cannot be shown");
    expect(line?.fields["code"]).toBe(50013);
  });

  test("from the second message on ends the first one with the code", async () => {
    stage = await Stage.open();
    const trigger = stage.ask("a long story");
    const claim = await stage.worker.claim(stage.conversation);
    await stage.worker.say(claim, "Once");
    await stage.waitForShown("Once ▌");
    stage.discord.denyBot(stage.channel, Permission.SendMessages);
    await stage.worker.commit(claim, "Once upon a time. ".repeat(200));
    await stage.waitForEmptyOutbox();
    expect(stage.shown()).toHaveLength(1);
    expect(stage.shown()[0]).toMatch(/^(Once upon a time\. ){90,}\n⚠️ .*\(`TURN_FAILED`\)$/);
    expect(buttonOf(stage.replyTo(trigger))).toMatch(/^v2:again:/);
  });
});

describe("a start that cannot succeed", () => {
  test("with a wrong token: DISCORD_TOKEN_INVALID", async () => {
    stage = await Stage.open({ empty: true });
    const start = stage.start({ DISCORD_TOKEN: "wrong" });
    await expect(start).rejects.toMatchObject({ code: "DISCORD_TOKEN_INVALID" });
  });

  test("without a token: CONFIG_INVALID names the key", async () => {
    stage = await Stage.open({ empty: true });
    const start = stage.start({ DISCORD_TOKEN: "" });
    await expect(start).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      values: { key: "DISCORD_TOKEN" },
    });
  });

  test("where the API says no: DISCORD_UNREACHABLE names the address", async () => {
    stage = await Stage.open({ empty: true });
    const url = stage.discord.restUrl.replace("/api", "/nowhere");
    const start = stage.start({ DISCORD_API_URL: url });
    await expect(start).rejects.toMatchObject({ code: "DISCORD_UNREACHABLE", values: { url } });
  });

  test("with a port that is taken: PORT_IN_USE", async () => {
    stage = await Stage.open();
    const first = stage.gateway;
    const start = stage.start({ EYRIE_GATEWAY_PORT: String(first?.port) });
    await expect(start).rejects.toMatchObject({ code: "PORT_IN_USE" });
  });

  test("intents refused while it runs: DISCORD_INTENT_MISSING", async () => {
    stage = await Stage.open();
    const { gateway } = stage;
    stage.discord.gateway.closeSockets(4014, "Disallowed intent(s).");
    await expect(gateway?.failed).rejects.toMatchObject({ code: "DISCORD_INTENT_MISSING" });
  });

  test("a token that only requests are refused with ends it by name, too", async () => {
    stage = await Stage.open();
    const { gateway } = stage;
    stage.discord.resetToken();
    stage.ask("is anybody there");
    await expect(gateway?.failed).rejects.toMatchObject({ code: "DISCORD_TOKEN_INVALID" });
  });

  test("a token reset while it runs ends it by name", async () => {
    stage = await Stage.open();
    const { gateway } = stage;
    stage.discord.resetToken();
    stage.discord.gateway.cutSockets();
    await expect(gateway?.failed).rejects.toMatchObject({ code: "DISCORD_TOKEN_INVALID" });
  });
});

test("health pages tell live from ready, and count", async () => {
  stage = await Stage.open();
  const page = (path: string): Promise<Response> =>
    fetch(`http://127.0.0.1:${stage.gateway?.port}${path}`);
  expect((await page("/live")).status).toBe(200);
  expect((await page("/ready")).status).toBe(200);
  stage.ask("count me");
  await stage.worker.claim(stage.conversation);
  await stage.discord.waitForReply(stage.channel);
  const metrics = await (await page("/metrics")).text();
  expect(metrics).toMatch(/eyrie_gateway_turns_total 1/);
  expect(metrics).toMatch(/eyrie_gateway_open_replies 1/);
});

test("no log line holds what people or the model said, nor the token", async () => {
  stage = await Stage.open();
  stage.ask("sesame-question");
  const claim = await stage.worker.claim(stage.conversation);
  await stage.worker.commit(claim, "sesame-answer");
  await stage.waitForEmptyOutbox();
  await stage.restart();
  const log = JSON.stringify(stage.lines);
  expect(log).not.toMatch(/sesame/);
  expect(log).not.toContain(stage.discord.token);
});
