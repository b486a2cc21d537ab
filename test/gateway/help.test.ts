/** `/help` tells the asker, in their language, every other command by the name they see. */
import { afterEach, expect, test } from "vitest";
import { commands } from "#apps/gateway/commands/registry.ts";
import { contentOf, isPrivate, Stage } from "./stage.ts";

let stage: Stage;

afterEach(async () => stage.close());

test("names every other command, in the asker's language and to the asker only", async () => {
  stage = await Stage.open();
  const ask = (locale: string) =>
    stage.discord.userRunsCommand(stage.channel, stage.ada, "help", { locale }).reply();

  const english = await ask("en-US");
  expect(isPrivate(english, stage.ada)).toBe(true);
  for (const { name } of commands.filter((command) => command.name !== "help")) {
    expect(contentOf(english)).toContain(`\`/${name}\``);
  }
  expect(contentOf(english).length).toBeLessThanOrEqual(2_000);
  expect(contentOf(await ask("de"))).toContain("`/zurücknehmen`");
  expect(contentOf(await ask("ja"))).toContain("`/取り消し`");
});
