/** A gateway with keys: what it keeps of people, and what it shows them, is theirs alone. */
import { afterEach, expect, test } from "vitest";
import { newKey } from "#infra/redis/keyring.ts";
import { everything } from "../infra/conversation/workshop.ts";
import { contentOf, Stage } from "./stage.ts";

let stage: Stage;

afterEach(async () => stage.close());

test("a conversation, a command and a fork leave neither words nor tokens in Redis", async () => {
  stage = await Stage.open({ keys: newKey() });
  await stage.exchange("the secret question", "The secret answer.");
  const frames: string[] = [];
  const listener = stage.truth.duplicate();
  await listener.psubscribe("*");
  listener.on("pmessage", (_, __, frame: string) => frames.push(frame));

  const run = stage.discord.userRunsCommand(stage.channel, stage.ada, "chat", {
    options: { text: "a secret command" },
  });
  const claim = await stage.worker.claim(stage.conversation);
  expect(claim.head.text).toBe("a secret command");
  await stage.worker.say(claim, "A secret that");
  await stage.discord.waitFor(() => stage.shown().some((text) => text.startsWith("A secret that")));
  const { origin } = claim.head;
  const token = origin.kind === "discord-interaction" ? origin.interactionToken : "";
  expect(token.length).toBeGreaterThan(20);
  const lines = await everything(stage.truth);
  for (const word of ["secret", token]) {
    expect(lines.filter((line) => line.includes(word))).toEqual([]);
  }
  expect(frames.length).toBeGreaterThan(0);
  expect(frames.filter((frame) => frame.includes("secret"))).toEqual([]);
  listener.disconnect();

  // The next gateway reads what this one kept, and ends the reply in the same message.
  await stage.restart();
  await stage.worker.commit(claim, "A secret that ends.");
  await stage.waitForEmptyOutbox();
  expect(contentOf(await run.reply())).toBe("A secret that ends.");
  await stage.discord
    .userRunsCommand(stage.channel, stage.ada, "fork", { options: { title: "secret thread" } })
    .reply();
  const left = (await everything(stage.truth)).filter((line) => /secret/.test(line));
  expect(left).toEqual([]);
});
