/**
 * Looks at a Redis before anything is entrusted to it, and names each line of its configuration that
 * could lose a conversation: the server's file, the directive as it is, the directive as it must be.
 *
 * `refused` says where a finding stops the start (REDIS_UNSAFE): everywhere, or in the production
 * profile only; the demo goes on with a warning. What a server does not let us see counts as unsafe
 * in production, too. A server that imitates Redis and does not report a setting at all (the
 * JavaScript one, which warns for itself and is no choice in production) is not asked twice.
 */
import type { Redis } from "ioredis";
import { EyrieError } from "#infra/errors/error.ts";
import type { Log } from "#infra/telemetry/log.ts";
import { serversOf } from "./address.ts";
import type { RedisRole } from "./provision/server.ts";

export interface Unsafe {
  readonly role: RedisRole;
  /** Of the server; what to write it into, if the server was started without a file. */
  readonly file: string;
  /** As the file has it, `directive value`. */
  readonly found: string;
  /** As it must be. */
  readonly wanted: string;
  readonly refused: "everywhere" | "in production";
}

/** Lua's `#!lua` header and its flags came with 7.0. */
const majorMin = 7;
/**
 * Before these a Unix socket could be opened by others while the server started (CVE-2023-45145,
 * release notes of 7.0.14 and 7.2.2). Flaws that distributions mend without a new number cannot be
 * told from here.
 */
const patchMin: Readonly<Record<string, number>> = { "7.0": 14, "7.2": 2 };

const directives = {
  "maxmemory-policy": { wanted: "noeviction", roles: ["truth", "state"] },
  appendonly: { wanted: "yes", roles: ["truth", "state"] },
  appendfsync: { wanted: "always", roles: ["truth"] },
  "no-appendfsync-on-rewrite": { wanted: "no", roles: ["truth"] },
  maxmemory: { wanted: "<bytes below the machine's memory>", roles: ["truth", "state"] },
} as const;
type Directive = keyof typeof directives;

/** What the servers of `role` would have to have changed; nothing when they are fit. */
export async function findUnsafe(redis: Redis, role: RedisRole): Promise<Unsafe[]> {
  const servers = serversOf(redis).map(async (server) => findUnsafeLines(server, role));
  return (await Promise.all(servers)).flat();
}

async function findUnsafeLines(redis: Redis, role: RedisRole): Promise<Unsafe[]> {
  const server = await redis.info("server");
  const file = /^config_file:(\S.*?)\r?$/m.exec(server)?.[1] ?? "redis.conf";
  const version = /^redis_version:(\S+)/m.exec(server)?.[1];
  const unsafe: Unsafe[] = [];
  const note = (found: string, wanted: string, refused: Unsafe["refused"]): void => {
    unsafe.push({ role, file, found, wanted, refused });
  };
  if (version !== undefined) {
    const [major = 0, minor = 0, patch = 0] = version.split(".").map(Number);
    const least = patchMin[`${major}.${minor}`] ?? 0;
    if (major < majorMin) note(`redis_version ${version}`, `${majorMin}.0`, "everywhere");
    else if (patch < least)
      note(`redis_version ${version}`, `${major}.${minor}.${least}`, "in production");
  }
  const settings = await readSettings(redis);
  for (const [directive, { roles, wanted }] of Object.entries(directives)) {
    if (!(roles as readonly RedisRole[]).includes(role)) continue;
    if (settings === "forbidden") {
      note("user … -config|get", "user … +config|get +info", "in production");
      break;
    }
    const value = settings.get(directive);
    if (value === undefined || isSafe(directive as Directive, value)) continue;
    const evictsTruth = directive === "maxmemory-policy" && role === "truth";
    note(
      `${directive} ${value}`,
      `${directive} ${wanted}`,
      evictsTruth ? "everywhere" : "in production",
    );
  }
  return unsafe;
}

function isSafe(directive: Directive, value: string): boolean {
  return directive === "maxmemory" ? Number(value) > 0 : value === directives[directive].wanted;
}

/** `forbidden` to a user without the right to look. */
async function readSettings(redis: Redis): Promise<ReadonlyMap<string, string> | "forbidden"> {
  try {
    const settings = new Map<string, string>();
    for (const directive of Object.keys(directives)) {
      const [, value] = await redis.config("GET", directive);
      if (value !== undefined) settings.set(directive, value);
    }
    return settings;
  } catch (error) {
    if (error instanceof Error && /^(?:NOPERM|ERR unknown)/.test(error.message)) return "forbidden";
    throw error;
  }
}

/** Checks both roles; throws REDIS_UNSAFE with everything that is refused, warns of the rest. */
export async function assertSafe(
  redis: Readonly<Record<RedisRole, Redis>>,
  options: { readonly production: boolean; readonly log: Log },
): Promise<void> {
  const unsafe = [
    ...(await findUnsafe(redis.truth, "truth")),
    ...(await findUnsafe(redis.state, "state")),
  ];
  const refused = unsafe.filter((one) => options.production || one.refused === "everywhere");
  const [first] = refused;
  if (first !== undefined) {
    throw new EyrieError(
      "REDIS_UNSAFE",
      unsafeValues(refused.filter(({ file, role }) => role === first.role && file === first.file)),
    );
  }
  for (const one of unsafe) options.log.warn("unsafe Redis", { ...one });
}

/** For the text of REDIS_UNSAFE: findings of one server. */
export function unsafeValues(unsafe: readonly Unsafe[]): Record<string, string> {
  const [first] = unsafe;
  return {
    role: first?.role ?? "",
    file: first?.file ?? "",
    found: unsafe.map(({ found }) => found).join(", "),
    wanted: unsafe.map(({ wanted }) => wanted).join(", "),
  };
}
