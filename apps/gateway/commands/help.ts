/** `/help` says, to the asker only, how to talk and what each of the other commands does. */
import { ApplicationCommandType } from "discord.js";
import type { Command } from "./command.ts";
import { describe } from "./localise.ts";

export function helpWith(others: readonly Command[]): Command {
  return {
    name: "help",

    describe: (translator) => ({
      type: ApplicationCommandType.ChatInput,
      ...describe(translator, "help"),
    }),

    async run(_interaction, { answers, locale, translator }) {
      if (!(await answers.defer({ privately: true }))) return;
      const text = (key: `commands:${string}`): string => translator.text(locale, key);
      const commands = others
        .map(({ name }) => ({
          name: text(`commands:${name}.name`),
          does: text(`commands:${name}.description`),
        }))
        .map(({ name, does }) => `- \`/${name}\` – ${does}`)
        .join("\n");
      await answers.replace({ content: translator.text(locale, "replies:help", { commands }) });
    },
  };
}
