/**
 * The gateway: sockets come in, sessions are opened, resumed and fed. Owns who is connected;
 * the world calls `publish` for every event.
 */
import type { IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";
import {
  GatewayCloseCodes as Close,
  GatewayIntentBits as Intent,
  GatewayOpcodes as Op,
} from "discord-api-types/v10";
import { WebSocketServer } from "ws";
import type { DoubleClock } from "../clock.ts";
import type { DeliveryFaults } from "../faults.ts";
import type { Fields } from "../rules/form.ts";
import { guildWire, memberWire, userWire } from "../wire.ts";
import type { World, WorldEvent } from "../world.ts";
import { Connection } from "./connection.ts";
import type { ConnectionRules, Desk } from "./connection.ts";
import type { IdentifyBudget } from "./identify.ts";
import { Session } from "./session.ts";
import type { Identity } from "./session.ts";
import { admits, knownIntents, privilegedIntents, shardOf, visibleData } from "./visibility.ts";

export interface GatewayOptions {
  readonly clock: DoubleClock;
  readonly world: World;
  readonly faults: DeliveryFaults;
  readonly budget: IdentifyBudget;
  readonly rules: ConnectionRules;
  /** A session without a socket is kept so long ("a few minutes"). */
  readonly sessionMs: number;
  readonly guildsPerShardMax: number;
  readonly isToken: (token: unknown) => boolean;
  /** Called when the day's IDENTIFYs are used up. */
  readonly resetToken: () => void;
  /** Privileged intents switched on for the application. */
  readonly enabledIntents: () => number;
  readonly applicationFlags: () => number;
  readonly resumeUrl: () => string;
}

export interface GatewayCounters {
  identifies: number;
  resumes: number;
  /** Resumes that came in at `resume_gateway_url`. */
  resumesAtResumeUrl: number;
  refusedResumes: number;
  events: number;
  /** Close codes clients and the double ended connections with. */
  readonly closes: number[];
}

export const gatewayPath = "/gateway";
export const resumePath = "/gateway-resume";

export class Gateway implements Desk {
  readonly #options: GatewayOptions;
  #refuseNext: Close | null = null;
  readonly #sockets = new WebSocketServer({ noServer: true });
  readonly #connections = new Map<Connection, { path: string }>();
  readonly #sessions = new Map<string, Session>();
  readonly counters: GatewayCounters = {
    identifies: 0,
    resumes: 0,
    resumesAtResumeUrl: 0,
    refusedResumes: 0,
    events: 0,
    closes: [],
  };

  constructor(options: GatewayOptions) {
    this.#options = options;
  }

  get rules(): ConnectionRules {
    return this.#options.rules;
  }

  /** Sessions that hold a socket now. */
  get live(): readonly Session[] {
    return [...this.#sessions.values()].filter((session) => session.outlet !== null);
  }

  attachTo(server: Server): void {
    server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      const url = new URL(request.url ?? "/", "http://double");
      if (url.pathname !== gatewayPath && url.pathname !== resumePath) return socket.destroy();
      return this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
        if (url.searchParams.get("v") !== "10" || url.searchParams.get("encoding") !== "json") {
          webSocket.close(Close.InvalidAPIVersion, "Invalid API version.");
          return;
        }
        this.#connections.set(new Connection(webSocket, this), { path: url.pathname });
      });
    });
  }

  publish(event: WorldEvent): void {
    const { clock, world, sessionMs } = this.#options;
    for (const session of this.#sessions.values()) {
      const { detachedAtMs, identity } = session;
      if (detachedAtMs !== null && clock.now() - detachedAtMs > sessionMs) {
        this.#sessions.delete(session.id);
        continue;
      }
      const { shardId, shardCount, intents } = identity;
      if (shardOf(event.guildId, shardCount) !== shardId || !admits(intents, event)) continue;
      this.counters.events += 1;
      const steady = event.type.startsWith("GUILD_");
      session.dispatch(event.type, visibleData(world, event, intents), { steady });
    }
  }

  acknowledges = (): boolean => this.#options.faults.acknowledgesHeartbeats;

  /** Sockets vanish without a close frame. */
  cutSockets(): void {
    for (const connection of this.#connections.keys()) connection.cut();
  }

  closeSockets(code: number, reason = ""): void {
    for (const connection of this.#connections.keys()) connection.close(code, reason);
  }

  /** The next IDENTIFY is answered with this close code, whatever it asks for. */
  refuseIdentify(code: Close): void {
    this.#refuseNext = code;
  }

  askReconnect(): void {
    for (const connection of this.#connections.keys()) connection.send({ op: Op.Reconnect });
  }

  /** Op 9. Resumable: the client may RESUME on the same socket; otherwise the session is gone. */
  invalidateSessions(options: { resumable: boolean }): void {
    for (const connection of this.#connections.keys()) {
      const { session } = connection;
      if (!session) continue;
      session.detach(connection, this.#options.clock.now());
      connection.session = null;
      if (!options.resumable) this.#sessions.delete(session.id);
      connection.send({ op: Op.InvalidSession, d: options.resumable });
    }
  }

  close(): void {
    for (const connection of this.#connections.keys()) connection.cut();
    this.#sockets.close();
  }

  identify(connection: Connection, data: Fields): void {
    const { budget, isToken, resetToken } = this.#options;
    if (!isToken(data["token"])) {
      return connection.close(Close.AuthenticationFailed, "Authentication failed.");
    }
    const identity = readIdentity(data);
    const refusal = this.#refusal(identity);
    if (refusal) return connection.close(refusal.code, refusal.reason);
    const granted = budget.spend(identity.shardId);
    if (granted === "exhausted") {
      resetToken();
      return connection.close(Close.AuthenticationFailed, "Authentication failed.");
    }
    if (granted === "too-soon") return connection.send({ op: Op.InvalidSession, d: false });
    this.counters.identifies += 1;
    return this.#open(connection, identity);
  }

  resume(connection: Connection, data: Fields): void {
    const { clock, sessionMs, isToken } = this.#options;
    if (!isToken(data["token"])) {
      return connection.close(Close.AuthenticationFailed, "Authentication failed.");
    }
    const seq = data["seq"];
    const session = this.#sessions.get(String(data["session_id"]));
    const goneMs = session?.detachedAtMs ? clock.now() - session.detachedAtMs : 0;
    if (!session || goneMs > sessionMs || typeof seq !== "number" || !session.canReplay(seq)) {
      this.counters.refusedResumes += 1;
      return connection.send({ op: Op.InvalidSession, d: false });
    }
    if (seq > session.seq) return connection.close(Close.InvalidSeq, "Invalid seq.");
    session.outlet?.cut();
    this.counters.resumes += 1;
    const path = this.#connections.get(connection)?.path;
    if (path === resumePath) this.counters.resumesAtResumeUrl += 1;
    connection.session = session;
    session.attach(connection);
    return session.replay(seq);
  }

  /** GUILD_MEMBERS_CHUNK for the ids or the name prefix asked for. */
  requestMembers(session: Session, data: Fields): void {
    const { world } = this.#options;
    const guild = world.guilds.get(String(data["guild_id"]));
    if (!guild) return;
    const wanted = [data["user_ids"]].flat().map(String);
    const prefix = typeof data["query"] === "string" ? data["query"] : null;
    const members = [...guild.members].flatMap(([id, member]) => {
      const user = world.user(id);
      const hit = prefix === null ? wanted.includes(id) : user.name.startsWith(prefix);
      return hit ? [{ ...memberWire(member), user: userWire(user) }] : [];
    });
    const chunk = { guild_id: guild.id, members, chunk_index: 0, chunk_count: 1 };
    const nonce = data["nonce"] === undefined ? {} : { nonce: data["nonce"] };
    session.dispatch("GUILD_MEMBERS_CHUNK", { ...chunk, ...nonce }, { steady: true });
  }

  /** 1000 and 1001 end the session; any other way to go leaves it to be resumed. */
  closed(connection: Connection, code: number): void {
    if (!this.#connections.delete(connection)) return;
    this.counters.closes.push(code);
    const { session } = connection;
    session?.detach(connection, this.#options.clock.now());
    if (session && (code === 1000 || code === 1001)) this.#sessions.delete(session.id);
  }

  #refusal(identity: Identity): { code: Close; reason: string } | null {
    const asked = this.#refuseNext;
    this.#refuseNext = null;
    if (asked !== null) return { code: asked, reason: "Refused." };
    const { shardId, shardCount, intents } = identity;
    const { world, guildsPerShardMax, enabledIntents } = this.#options;
    const isShard = Number.isInteger(shardId) && Number.isInteger(shardCount);
    if (!isShard || shardId < 0 || shardId >= shardCount) {
      return { code: Close.InvalidShard, reason: "Invalid shard." };
    }
    const guilds = world.liveGuilds().filter(({ id }) => shardOf(id, shardCount) === shardId);
    if (guilds.length >= guildsPerShardMax) {
      return { code: Close.ShardingRequired, reason: "Sharding required." };
    }
    if (!Number.isInteger(intents) || intents < 0 || (intents & ~knownIntents) !== 0) {
      return { code: Close.InvalidIntents, reason: "Invalid intent(s)." };
    }
    if ((intents & privilegedIntents & ~enabledIntents()) !== 0) {
      return { code: Close.DisallowedIntents, reason: "Disallowed intent(s)." };
    }
    return null;
  }

  #open(connection: Connection, identity: Identity): void {
    const { world, faults, resumeUrl, applicationFlags } = this.#options;
    const session = new Session(identity, faults);
    this.#sessions.set(session.id, session);
    connection.session = session;
    session.attach(connection);
    const { shardId, shardCount, intents } = identity;
    const guilds = world.liveGuilds().filter(({ id }) => shardOf(id, shardCount) === shardId);
    const ready = {
      v: 10,
      user: { ...userWire(world.bot), verified: true, mfa_enabled: false, email: null, flags: 0 },
      guilds: guilds.map(({ id }) => ({ id, unavailable: true })),
      session_id: session.id,
      resume_gateway_url: resumeUrl(),
      shard: [shardId, shardCount],
      application: { id: world.applicationId, flags: applicationFlags() },
    };
    session.dispatch("READY", ready, { steady: true });
    if ((intents & Intent.Guilds) === 0) return;
    for (const guild of guilds) {
      session.dispatch("GUILD_CREATE", guildWire(world, guild), { steady: true });
    }
  }
}

function readIdentity(data: Fields): Identity {
  const shard = Array.isArray(data["shard"]) ? (data["shard"] as unknown[]) : [0, 1];
  return {
    shardId: Number(shard[0]),
    shardCount: Number(shard[1]),
    intents: typeof data["intents"] === "number" ? data["intents"] : Number.NaN,
  };
}
