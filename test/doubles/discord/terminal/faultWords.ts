/** `/fault …`: the double's fault switches in words a person types. */
import type { DiscordDouble } from "../double.ts";

interface Word {
  readonly usage: string;
  readonly says: string;
  readonly act: (double: DiscordDouble, value: number) => void;
}

const anyRoute = "*";
const createRoute = "POST /channels/:channel/messages";

const words: Readonly<Record<string, Word>> = {
  cut: {
    usage: "cut",
    says: "drops the gateway sockets",
    act: (double) => double.gateway.cutSockets(),
  },
  reconnect: {
    usage: "reconnect",
    says: "op 7: asks the bot to reconnect",
    act: (double) => double.gateway.askReconnect(),
  },
  invalid: {
    usage: "invalid",
    says: "op 9: the session is gone",
    act: (double) => double.gateway.invalidateSessions({ resumable: false }),
  },
  zombie: {
    usage: "zombie",
    says: "stops answering heartbeats",
    act: (double) => {
      double.deliveryFaults.acknowledgesHeartbeats = false;
    },
  },
  429: {
    usage: "429 [SECONDS]",
    says: "the next request is told to wait",
    act: (double, seconds) =>
      double.restFaults.next(anyRoute, {
        kind: "rate-limit",
        retryAfterMs: (seconds || 2) * 1000,
      }),
  },
  500: {
    usage: "500 [TIMES]",
    says: "the next requests fail with 500",
    act: (double, times) =>
      double.restFaults.next(anyRoute, { kind: "server-error" }, { times: times || 1 }),
  },
  502: {
    usage: "502 [TIMES]",
    says: "the next requests meet a proxy's error page",
    act: (double, times) =>
      double.restFaults.next(anyRoute, { kind: "bad-gateway" }, { times: times || 1 }),
  },
  lose: {
    usage: "lose",
    says: "the next message is posted, its answer lost",
    act: (double) => double.restFaults.next(createRoute, { kind: "lose-answer" }),
  },
  slow: {
    usage: "slow [MS]",
    says: "the next 20 requests take longer",
    act: (double, ms) =>
      double.restFaults.next(anyRoute, { kind: "delay", ms: ms || 1_000 }, { times: 20 }),
  },
  duplicate: {
    usage: "duplicate [PERCENT]",
    says: "events arrive twice",
    act: (double, percent) => double.deliveryFaults.set({ duplicateChance: (percent || 50) / 100 }),
  },
  reorder: {
    usage: "reorder [WINDOW]",
    says: "events arrive shuffled",
    act: (double, window) => double.deliveryFaults.set({ reorderWindow: window || 5 }),
  },
  off: {
    usage: "off",
    says: "everything works again",
    act: (double) => {
      double.restFaults.clear();
      double.deliveryFaults.clear();
    },
  },
};

export const faultHelp = (): string[] =>
  Object.values(words).map(({ usage, says }) => `/fault ${usage.padEnd(18)} ${says}`);

/** Does it and says so; throws on a word that is none. */
export function throwFault(double: DiscordDouble, text: string): string {
  const [name = "", value] = text.split(/\s+/);
  const word = words[name];
  if (!word) throw new Error(`no such fault: ${name || "(none given)"}; see /help`);
  word.act(double, Number(value) || 0);
  return `fault: ${word.says}`;
}
