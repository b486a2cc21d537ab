/** How the gateway shows a record, for {@link shownOnce}. */
import { Buttons } from "#apps/gateway/commands/buttons.ts";
import { replyTexts } from "#apps/gateway/render/texts.ts";
import { wantedFinal } from "#apps/gateway/render/wanted.ts";
import type { Translator } from "#infra/i18n/i18n.ts";
import type { ReplyRecord } from "#infra/turn/index.ts";
import type { Expected } from "./discord.ts";

export function expectedParts(translator: Translator): Expected {
  const buttons = new Buttons("of no matter here");
  return (record: ReplyRecord) => {
    const { attempt, turn } = record;
    const texts = replyTexts({ ...record, key: { turn, attempt } }, { translator, buttons });
    const failed = record.status === "failed";
    const text = failed ? texts.failure(record.code ?? "") : record.text;
    const instead = record.end === "stopped" ? texts.stopped : texts.empty;
    // Discord trims what it is given.
    return wantedFinal(text, instead, null).map(({ content }) => content.trim());
  };
}
