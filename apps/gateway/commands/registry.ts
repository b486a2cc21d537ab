/**
 * All commands, and telling Discord about them: only when the list differs from what this
 * application was last told, for Discord counts such calls.
 */
import { createHash } from "node:crypto";
import {
  ApplicationIntegrationType,
  InteractionContextType,
  type REST,
  type RESTPutAPIApplicationCommandsJSONBody,
  Routes,
} from "discord.js";
import type { Redis } from "ioredis";
import type { Translator } from "#infra/i18n/i18n.ts";
import { commandsHashKey } from "#infra/redis/keys.ts";
import { chat } from "./chat.ts";
import type { Command } from "./command.ts";
import { fork } from "./fork.ts";
import { helpWith } from "./help.ts";
import { privacy } from "./privacy.ts";
import { reset } from "./reset.ts";
import { undo } from "./undo.ts";

const explained: readonly Command[] = [chat, undo, fork, reset, privacy];

export const commands: readonly Command[] = [...explained, helpWith(explained)];

export function commandPayload(translator: Translator): RESTPutAPIApplicationCommandsJSONBody {
  return commands.map((command) => ({
    ...command.describe(translator),
    contexts: [InteractionContextType.Guild, InteractionContextType.BotDM],
    integration_types: [ApplicationIntegrationType.GuildInstall],
  }));
}

/** True when Discord had to be told. */
export async function announceCommands(
  parts: { readonly rest: REST; readonly truth: Redis; readonly translator: Translator },
  applicationId: string,
): Promise<boolean> {
  const body = commandPayload(parts.translator);
  const hash = createHash("sha256").update(JSON.stringify(body)).digest("hex");
  const key = commandsHashKey(applicationId);
  if ((await parts.truth.get(key)) === hash) return false;
  await parts.rest.put(Routes.applicationCommands(applicationId), { body });
  await parts.truth.set(key, hash);
  return true;
}
