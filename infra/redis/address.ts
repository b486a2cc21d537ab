/**
 * What a Redis URL can say, and the client for it. One server, three that watch over a master and its
 * replicas, or a cluster:
 *
 * - `redis://[user:password@]host:port[/db]`, `rediss://…` with TLS, `unix:/path` or a plain path;
 * - `redis+sentinel://[user:password@]host[:26379],host,…/name[?sentinelPassword=…]`: the master called
 *   `name` is asked for at the sentinels, again whenever it is gone, and never addressed otherwise;
 * - `redis+cluster://[user:password@]host[:6379],host,…`: some of its nodes, the rest is found.
 *
 * `rediss+…` is either with TLS. User and password are those of the servers, percent-encoded.
 */
import {
  Cluster,
  Redis,
  type RedisOptions,
  type SentinelConnectionOptions,
  SentinelConnector,
} from "ioredis";

const sentinelPort = 26_379;
const serverPort = 6_379;
/**
 * A command follows a cluster that is changing masters for a minute (by default nodes wait 15 s before
 * they elect another). While they wait, the others still point at the one that is gone: that is not
 * asked again at once, or all redirections would be used up in a moment.
 */
const redirectionsMax = 600;
const redirectionMs = 100;
/** A server that only follows another is left once in this time: it may be all there is. */
const leftAgainMs = 1_000;

type Address =
  | { readonly kind: "server"; readonly target: string }
  | {
      readonly kind: "sentinel" | "cluster";
      readonly hosts: { readonly host: string; readonly port: number }[];
      /** Of the master; "" for a cluster. */
      readonly name: string;
      readonly login: Pick<RedisOptions, "username" | "password" | "tls">;
      readonly sentinelPassword: string | undefined;
    };

/** Replies always come as commands give them. */
type ClientOptions = Omit<RedisOptions, "replyMapping">;

/** Null when it is none of the above. */
export function parseAddress(url: string): Address | null {
  if (/^(?:rediss?:\/\/|\/)/.test(url)) return { kind: "server", target: url };
  if (url.startsWith("unix:"))
    return { kind: "server", target: url.replace(/^unix:(?:\/\/)?/, "") };
  const match =
    /^(rediss?)\+(sentinel|cluster):\/\/(?:([^:@/]*):([^@/]*)@)?([^/?@]+)(?:\/([^/?]*))?(?:\?(.*))?$/.exec(
      url,
    );
  if (match === null) return null;
  const [, scheme, word, user = "", password = "", places = "", name = "", query = ""] = match;
  const kind = word === "cluster" ? "cluster" : "sentinel";
  const portDefault = kind === "sentinel" ? sentinelPort : serverPort;
  const hosts = places.split(",").map((place) => parseHost(place, portDefault));
  if (hosts.some((host) => host === null) || (kind === "sentinel") !== (name !== "")) return null;
  return {
    kind,
    hosts: hosts.filter((host) => host !== null),
    name,
    login: {
      ...(user === "" ? {} : { username: decodeURIComponent(user) }),
      ...(password === "" ? {} : { password: decodeURIComponent(password) }),
      ...(scheme === "rediss" ? { tls: {} } : {}),
    },
    sentinelPassword: new URLSearchParams(query).get("sentinelPassword") ?? undefined,
  };
}

/**
 * Who watches for a failover is let go before the next connection is looked for: told of it late, it would
 * cut that one off, and the client would be at its end for good (ioredis 6.0.0, `FailoverDetector`).
 */
class PatientConnector extends SentinelConnector {
  constructor(options: unknown) {
    super(options as SentinelConnectionOptions);
  }

  override connect(
    ...args: Parameters<SentinelConnector["connect"]>
  ): ReturnType<SentinelConnector["connect"]> {
    this.disconnect();
    return super.connect(...args);
  }
}

function parseHost(place: string, portDefault: number): { host: string; port: number } | null {
  const match = /^(\[[\da-f:]+\]|[^:[\]]+)(?::(\d{1,5}))?$/i.exec(place);
  if (match === null) return null;
  const host = (match[1] ?? "").replace(/^\[(.*)\]$/, "$1");
  return { host, port: Number(match[2] ?? portDefault) };
}

/**
 * A client that is not connected yet. A cluster's has the methods of a server's, as long as the keys of
 * one call share a slot; what asks a server about itself asks one of {@link serversOf}.
 */
export function createClient(url: string, options: ClientOptions): Redis {
  const address = parseAddress(url) ?? { kind: "server", target: url };
  if (address.kind === "server") {
    return new Redis(address.target, { ...options, reconnectOnError: leavesFollowers() });
  }
  const { hosts, login } = address;
  const retry = options.retryStrategy;
  if (address.kind === "cluster") {
    const cluster: unknown = new Cluster(hosts, {
      lazyConnect: true,
      clusterRetryStrategy: (tries) => retry?.(tries),
      maxRedirections: redirectionsMax,
      retryDelayOnMoved: redirectionMs,
      retryDelayOnFailover: redirectionMs,
      retryDelayOnClusterDown: redirectionMs,
      redisOptions: { ...options, ...login },
      // A certificate is made out to a name: names are not resolved before they are checked.
      ...(login.tls === undefined ? {} : { dnsLookup: (name, done) => done(null, name) }),
    });
    return cluster as Redis;
  }
  const { name, sentinelPassword } = address;
  const sentinel: ClientOptions = {
    ...options,
    ...login,
    sentinels: hosts,
    name,
    ...(sentinelPassword === undefined ? {} : { sentinelPassword }),
    ...(login.tls === undefined ? {} : { enableTLSForSentinelMode: true }),
    sentinelRetryStrategy: (tries) => retry?.(tries),
    // A master that was replaced and does not know it yet is left as soon as the sentinels say so, …
    failoverDetector: true,
    Connector: PatientConnector,
    // … and one that knows it at its first refusal, and the refused command goes to the new one.
    reconnectOnError: (error) => (isFollowers(error) ? 2 : false),
  };
  return new Redis(sentinel);
}

function isFollowers(error: Error): boolean {
  return error.message.startsWith("READONLY");
}

/**
 * Behind one address another server may have become the master while we still talk to the old one: that is
 * found out by connecting anew. The refused command is not sent again, for there may be no other.
 */
function leavesFollowers(): (error: Error) => boolean {
  let leftMs = -Infinity;
  return (error) => {
    const nowMs = performance.now();
    if (!isFollowers(error) || nowMs - leftMs < leftAgainMs) return false;
    leftMs = nowMs;
    return true;
  };
}

export function isCluster(client: Redis): boolean {
  const any: unknown = client;
  return any instanceof Cluster;
}

/** Every server that holds a part of what the client sees. */
export function serversOf(client: Redis): readonly Redis[] {
  const any: unknown = client;
  return any instanceof Cluster ? any.nodes("master") : [client];
}

/** The server that holds this key now; null while a cluster does not know. */
export async function serverOf(client: Redis, key: string): Promise<Redis | null> {
  const any: unknown = client;
  if (!(any instanceof Cluster)) return client;
  const slot = await client.cluster("KEYSLOT", key);
  const place = any.slots[slot]?.[0];
  const nodes = any.nodes("master");
  return nodes.find(({ options: { host, port } }) => `${host}:${port}` === place) ?? null;
}

/** Whether the address promises replicas, that is, masters that may be replaced. */
export function hasSuccessors(url: string): boolean {
  return parseAddress(url)?.kind === "sentinel";
}

/** Calls back whenever another server may have taken over: there is one again after a lost connection. */
export function whenReplaced(client: Redis, then: () => void): void {
  // Of a cluster it is not the whole that comes back, but one node that goes.
  client.on(isCluster(client) ? "-node" : "ready", then);
}

/** Every key that matches, page by page, some perhaps twice. SCAN never blocks a server for long. */
export async function* keyPages(client: Redis, match: string): AsyncGenerator<readonly string[]> {
  for (const server of serversOf(client)) {
    for await (const page of server.scanStream({ match, count: 1_000 })) yield page as string[];
  }
}

/** Every key that matches, once, sorted. */
export async function scanKeys(client: Redis, match: string): Promise<string[]> {
  const keys = new Set<string>();
  for await (const page of keyPages(client, match)) for (const key of page) keys.add(key);
  return [...keys].sort();
}

/** How many keys there are, on all servers. */
export async function keyCount(client: Redis): Promise<number> {
  const counts = await Promise.all(serversOf(client).map(async (server) => server.dbsize()));
  return counts.reduce((sum, count) => sum + count, 0);
}
