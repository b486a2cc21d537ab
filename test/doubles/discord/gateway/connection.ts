/**
 * The protocol on one socket: HELLO, heartbeats, IDENTIFY or RESUME, send limits, close codes.
 * What a session is and who may have one is the gateway's business.
 */
import { GatewayCloseCodes as Close, GatewayOpcodes as Op } from "discord-api-types/v10";
import type { RawData, WebSocket } from "ws";
import { fieldsOf, isFields } from "../rules/form.ts";
import type { Fields } from "../rules/form.ts";
import type { Outlet, Session } from "./session.ts";

export interface ConnectionRules {
  readonly heartbeatIntervalMs: number;
  readonly sendsMax: number;
  readonly sendsWindowMs: number;
  readonly payloadBytesMax: number;
}

/** What a connection asks of the gateway. */
export interface Desk {
  readonly rules: ConnectionRules;
  readonly acknowledges: () => boolean;
  identify(connection: Connection, data: Fields): void;
  resume(connection: Connection, data: Fields): void;
  requestMembers(session: Session, data: Fields): void;
  closed(connection: Connection, code: number): void;
}

/** Opcodes a client may send once it has a session. */
const clientOpcodes: readonly unknown[] = [
  Op.Heartbeat,
  Op.PresenceUpdate,
  Op.VoiceStateUpdate,
  Op.RequestGuildMembers,
  Op.RequestSoundboardSounds,
];

export class Connection implements Outlet {
  readonly #socket: WebSocket;
  readonly #desk: Desk;
  readonly #watch: NodeJS.Timeout;
  #sends: number[] = [];
  #lastBeatAtMs = performance.now();
  session: Session | null = null;

  constructor(socket: WebSocket, desk: Desk) {
    this.#socket = socket;
    this.#desk = desk;
    const { heartbeatIntervalMs } = desk.rules;
    socket.on("message", (data) => this.#receive(data));
    socket.on("close", (code) => this.#ended(code));
    socket.on("error", () => socket.terminate());
    this.#watch = setInterval(() => this.#checkAlive(), heartbeatIntervalMs);
    this.send({ op: Op.Hello, d: { heartbeat_interval: heartbeatIntervalMs, _trace: [] } });
  }

  send(payload: object): void {
    const whole = { t: null, s: null, d: null, ...payload };
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(JSON.stringify(whole));
  }

  close(code: Close, reason: string): void {
    this.#socket.close(code, reason);
  }

  cut(): void {
    // Told at once: an event dispatched before the socket's own `close` must count as missed.
    this.#desk.closed(this, 1006);
    this.#socket.terminate();
  }

  #ended(code: number): void {
    clearInterval(this.#watch);
    this.#desk.closed(this, code);
  }

  /** A client silent for two intervals is gone. */
  #checkAlive(): void {
    if (performance.now() - this.#lastBeatAtMs > 2 * this.#desk.rules.heartbeatIntervalMs) {
      this.close(Close.SessionTimedOut, "Session timed out.");
    }
  }

  #receive(raw: RawData): void {
    const bytes = Buffer.isBuffer(raw) ? raw : Buffer.concat([raw].flat() as Buffer[]);
    if (!this.#maySend()) return this.close(Close.RateLimited, "You are being rate limited.");
    const payload = bytes.length > this.#desk.rules.payloadBytesMax ? null : parse(bytes);
    if (!payload) return this.close(Close.DecodeError, "Error while decoding payload.");
    return this.#handle(payload["op"], payload["d"]);
  }

  #maySend(): boolean {
    const { sendsMax, sendsWindowMs } = this.#desk.rules;
    const now = performance.now();
    this.#sends = this.#sends.filter((at) => now - at < sendsWindowMs);
    this.#sends.push(now);
    return this.#sends.length <= sendsMax;
  }

  #handle(op: unknown, data: unknown): void {
    if (op === Op.Heartbeat) return this.#beat();
    if (op === Op.Identify || op === Op.Resume) {
      if (this.session) return this.close(Close.AlreadyAuthenticated, "Already authenticated.");
      return op === Op.Identify
        ? this.#desk.identify(this, fieldsOf(data))
        : this.#desk.resume(this, fieldsOf(data));
    }
    if (!clientOpcodes.includes(op)) return this.close(Close.UnknownOpcode, "Unknown opcode.");
    if (!this.session) return this.close(Close.NotAuthenticated, "Not authenticated.");
    if (op === Op.RequestGuildMembers) {
      this.#desk.requestMembers(this.session, fieldsOf(data));
    }
    return undefined;
  }

  #beat(): void {
    this.#lastBeatAtMs = performance.now();
    if (this.#desk.acknowledges()) this.send({ op: Op.HeartbeatAck });
  }
}

function parse(bytes: Buffer): Fields | null {
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    return isFields(value) ? value : null;
  } catch {
    return null;
  }
}
