/**
 * Every switch of Eyrie, in one schema: name, unit, default, meaning. `eyrie doctor` prints it and
 * the README's table is made from it (a test compares them). Values come from the environment only.
 *
 * A wrong value stops the start with CONFIG_INVALID, which names the key and never prints the value.
 */
import { resolve } from "node:path";
import { z } from "zod";
import { EyrieError } from "#infra/errors/error.ts";
import { parseAddress } from "#infra/redis/address.ts";

const projectRoot = resolve(import.meta.dirname, "../..");

/** An empty value means "not set", as in `.env` files. */
const optionalText = z
  .string()
  .optional()
  .transform((text) => (text === undefined || text.trim() === "" ? undefined : text.trim()));

function emptyIsUnset<T extends z.ZodType>(schema: T) {
  return z.preprocess((value) => (value === "" ? undefined : value), schema);
}

function integer(fallback: number, min: number, max: number) {
  return emptyIsUnset(z.coerce.number().int().min(min).max(max).default(fallback));
}

function choice<const T extends readonly [string, ...string[]]>(values: T, fallback: T[number]) {
  return emptyIsUnset(z.enum(values).default(fallback as never));
}

function path(fallback: string) {
  const inProject = resolve(projectRoot, fallback);
  return emptyIsUnset(z.string().default(inProject)).transform((text) => resolve(text));
}

const redisUrl = optionalText.refine(
  (url) => url === undefined || parseAddress(url) !== null,
  "is no redis://, unix:, redis+sentinel://host,…/name or redis+cluster://host,… address",
);

function isPlain(text: string): boolean {
  const url = URL.parse(text);
  return url?.username === "" && url.password === "" && !/[?#]/.test(text);
}

/** Paths are put behind it, and lines about it print it: so no query, and nothing secret. */
function address(fallback: string) {
  const plain = z
    .url({ protocol: /^https?$/ })
    .refine(isPlain, "must have no user name, password, ? or #");
  return emptyIsUnset(plain.default(fallback));
}

export const configSchema = z.object({
  REDIS_URL: redisUrl.describe(
    "Truth: mailboxes, logs, ledger, queues. One server, sentinels or a cluster; empty: our own.",
  ),
  STATE_REDIS_URL: redisUrl.describe(
    "Redis for state: snapshots and live text; likewise. Empty: Eyrie runs its own.",
  ),
  DISCORD_TOKEN: optionalText.describe("Bot token. Empty: no gateway, talk with `eyrie chat`."),
  DISCORD_API_URL: emptyIsUnset(z.url().default("https://discord.com/api")).describe(
    "Base of Discord's REST API; point it at the double to try without Discord.",
  ),
  EYRIE_HOME: path(".eyrie").describe("Folder for everything Eyrie writes on this machine."),
  EYRIE_PROFILE: choice(["demo", "production"], "demo").describe(
    "`production` refuses an unsafe Redis and to run without `EYRIE_KEYS`; logs are JSON.",
  ),
  EYRIE_KEYS: optionalText.describe(
    "Keys that encrypt what people said, or the absolute path of a file of them (`eyrie keys`).",
  ),
  EYRIE_MODEL: path("kernels/models/eaglet").describe(
    "Model directory that the worker runs and the gateway asks for.",
  ),
  HF_ENDPOINT: address("https://huggingface.co").describe(
    "Hub that `eyrie model pull` takes models from; a mirror's address works too.",
  ),
  HF_TOKEN: optionalText
    .refine((token) => token === undefined || /^[\x21-\x7e]+$/.test(token), "is no token")
    .describe("Token for gated models; it is sent to HF_ENDPOINT and nowhere else."),
  EYRIE_BACKEND: choice(["onnx", "reference"], "onnx").describe(
    "Engine of the worker: `onnx` is fast, `reference` is plain TypeScript.",
  ),
  EYRIE_QUANTISE: choice(["auto", "none", "q8", "q4"], "auto").describe(
    "Which of the model's weights to run; `auto`: as they came if they are there, else q8, else q4.",
  ),
  EYRIE_STATE_CODEC: choice(["f32", "f16", "int8"], "int8").describe(
    "What a conversation's state is kept as between turns: `int8` takes 26 % of the bytes of `f32`.",
  ),
  EYRIE_SLOTS: integer(16, 1, 512).describe("Conversations a worker runs in one batch."),
  EYRIE_PARKED_MIB: integer(256, 0, 1_048_576).describe(
    "Memory of a worker for states of conversations at rest, MiB; 7B in `int8` takes 8.6 for each.",
  ),
  EYRIE_THREADS: integer(0, 0, 256).describe("Threads of the engine; 0 means physical cores."),
  EYRIE_REPLY_TOKENS_MAX: integer(512, 1, 8192).describe("Tokens of one reply at most."),
  EYRIE_MESSAGE_TOKENS_MAX: integer(4096, 16, 65536).describe(
    "Tokens of one message at most; a longer one is refused by the worker.",
  ),
  EYRIE_IDLE_DAYS: integer(0, 0, 3650).describe(
    "Days without a turn after which a conversation is deleted; 0: never.",
  ),
  EYRIE_DRAIN_SECONDS: integer(10, 0, 12).describe(
    "Seconds that running replies may take when a worker is asked to end; the rest go on elsewhere.",
  ),
  EYRIE_LOCALE: choice(["en-US", "de", "ja"], "en-US").describe(
    "Language of the terminal, and in Discord where nothing better is known.",
  ),
  EYRIE_HTTP_HOST: emptyIsUnset(z.string().default("127.0.0.1")).describe(
    "Address that /live, /ready and /metrics listen on.",
  ),
  EYRIE_WORKER_PORT: integer(7801, 0, 65535).describe("Port of the worker's health pages; 0: any."),
  EYRIE_GATEWAY_PORT: integer(7802, 0, 65535).describe(
    "Port of the gateway's health pages; 0: any.",
  ),
  EYRIE_LOG_LEVEL: choice(["trace", "debug", "info", "warn", "error", "silent"], "info").describe(
    "Least severe line that is logged.",
  ),
});

export type Config = z.infer<typeof configSchema>;

export function loadConfig(environment: Readonly<Record<string, string | undefined>>): Config {
  const parsed = configSchema.safeParse(environment);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new EyrieError("CONFIG_INVALID", {
    key: String(issue?.path[0] ?? "?"),
    reason: issue?.message ?? "invalid",
  });
}

/** As kernels are asked for it: nothing for `auto`. */
export function wantedVariant({ EYRIE_QUANTISE }: Config): "none" | "q8" | "q4" | undefined {
  return EYRIE_QUANTISE === "auto" ? undefined : EYRIE_QUANTISE;
}

export interface RedisUrls {
  readonly truthUrl: string;
  readonly stateUrl: string;
}

/** The addresses that were set, one server for both roles if only one was; null when none was. */
export function redisUrls(config: Config): RedisUrls | null {
  const { REDIS_URL: truthUrl, STATE_REDIS_URL: stateUrl } = config;
  return truthUrl === undefined ? null : { truthUrl, stateUrl: stateUrl ?? truthUrl };
}

/** The same for a process that cannot do without; `eyrie start` sets both for its children. */
export function requireRedisUrls(config: Config): RedisUrls {
  const urls = redisUrls(config);
  if (urls !== null) return urls;
  const reason = "is not set; `eyrie start` sets it";
  throw new EyrieError("CONFIG_INVALID", { key: "REDIS_URL", reason });
}
