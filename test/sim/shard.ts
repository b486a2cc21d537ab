/**
 * The event stream of one shard, as Discord and @discordjs/ws hand it over: numbered events, RESUME
 * with replay from where the session was left, and the library's order of things (the number is
 * saved before the event is told). Events may be told twice, late, or in another order.
 */
import type { GatewayDispatchPayload } from "discord.js";
import type { SessionStore } from "#infra/discord/session-store.ts";
import type { SimProcess } from "./process.ts";
import type { World } from "./world.ts";

type Payload = Omit<GatewayDispatchPayload, "s">;

export interface Listener {
  readonly process: SimProcess;
  readonly sessions: SessionStore;
  readonly handle: (event: GatewayDispatchPayload) => Promise<void>;
}

export class SimShard {
  /** Probability that an event is sent twice, and that it changes places with the next one. */
  readonly trouble = { doubled: 0, swapped: 0 };
  readonly #world: World;
  readonly #sent: GatewayDispatchPayload[] = [];
  #held: { readonly event: Payload; readonly onSent: (sequence: number) => void } | null = null;
  #connection: { readonly listener: Listener; epoch: number } | null = null;
  #epochs = 0;

  constructor(world: World) {
    this.#world = world;
  }

  /** Something happens; `onSent` is told its number in the stream. */
  emit(event: Payload, onSent: (sequence: number) => void = () => undefined): void {
    const { random } = this.#world;
    if (this.#held === null && random.chance(this.trouble.swapped)) {
      const held = { event, onSent };
      this.#held = held;
      this.#world.after(500, () => {
        if (this.#held === held) this.#letGo();
      });
      return;
    }
    this.#send(event, onSent);
    this.#letGo();
    if (random.chance(this.trouble.doubled)) {
      this.#world.after(random.between(0, 20_000), () => this.#send(event, () => undefined));
    }
  }

  /** A process connects: it resumes what its store remembers, or identifies. */
  async connect(listener: Listener): Promise<void> {
    const session = await listener.sessions.retrieve(0);
    const connection = { listener, epoch: this.#epochs++ };
    this.#connection = connection;
    const from = session?.sequence ?? this.#sent.length;
    if (session === null) {
      listener.sessions.update(0, { ...sessionAt(from), sessionId: "session" });
    }
    for (const event of this.#sent.slice(from)) this.#tell(event);
  }

  /** The connection breaks; the same process comes back and resumes. */
  disconnect(): void {
    const connection = this.#connection;
    if (connection === null) return;
    this.#connection = null;
    const { process } = connection.listener;
    this.#world.after(this.#world.random.between(100, 3_000), () =>
      process.deliver(() => {
        if (this.#connection === null) void this.connect(connection.listener);
      }),
    );
  }

  #letGo(): void {
    const held = this.#held;
    this.#held = null;
    if (held !== null) this.#send(held.event, held.onSent);
  }

  #send(payload: Payload, onSent: (sequence: number) => void): void {
    const event = { ...payload, s: this.#sent.length + 1 } as GatewayDispatchPayload;
    this.#sent.push(event);
    onSent(event.s);
    this.#tell(event);
  }

  #tell(event: GatewayDispatchPayload): void {
    const connection = this.#connection;
    if (connection === null) return;
    const { epoch, listener } = connection;
    this.#world.after(5, () =>
      listener.process.deliver(() => {
        if (this.#connection?.epoch !== epoch) return;
        const { handle, sessions } = listener;
        sessions.update(0, sessionAt(event.s));
        const handled = sessions.seen(0, event.s);
        handle(event)
          // The gateway's connection logs it and goes on.
          .catch(() => undefined)
          .finally(handled);
      }),
    );
  }
}

function sessionAt(sequence: number): {
  sessionId: string;
  sequence: number;
  resumeURL: string;
  shardId: number;
  shardCount: number;
} {
  return { sessionId: "session", sequence, resumeURL: "", shardId: 0, shardCount: 1 };
}
