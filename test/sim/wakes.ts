/**
 * The wake queue as BullMQ keeps it, in what matters: one wake of a conversation at a time, the next
 * one remembered while it is worked on, taken from workers that have died. And what may go wrong:
 * wakes are lost, told twice, or late.
 */
import type { ConversationId } from "#infra/turn/index.ts";
import type { Wake } from "#infra/wake/sweep.ts";
import type { SimProcess } from "./process.ts";
import type { World } from "./world.ts";

export interface WakeTaker {
  readonly process: SimProcess;
  /** It takes another one now. */
  readonly ready: () => boolean;
  readonly answer: (wake: Wake) => Promise<void>;
}

interface Active {
  readonly taker: WakeTaker;
  again: Wake | null;
}

/** A dead worker's wakes are others' after this: its lock and a look around, ms. */
const stalledMsMin = 3_000;
const stalledMsMax = 4_500;

export class SimWakes {
  readonly trouble = { lost: 0, doubled: 0, late: 0 };
  readonly #world: World;
  readonly #takers: WakeTaker[] = [];
  readonly #waiting = new Map<ConversationId, Wake>();
  readonly #active = new Map<ConversationId, Active>();

  constructor(world: World) {
    this.#world = world;
  }

  join(taker: WakeTaker): void {
    this.#takers.push(taker);
    this.#hand();
  }

  leave(process: SimProcess): void {
    const index = this.#takers.findIndex((taker) => taker.process === process);
    if (index >= 0) this.#takers.splice(index, 1);
  }

  /** What a process rings with. */
  bell(process: SimProcess): { ring(wake: Wake): Promise<void>; forget(): Promise<void> } {
    return {
      ring: (wake) =>
        new Promise((resolve) => {
          this.#world.after(this.#world.random.between(0.5, 2), () => {
            this.#rung(wake);
            this.#world.after(1, () => process.deliver(resolve));
          });
        }),
      forget: async () => undefined,
    };
  }

  /** A worker has died or stands still: somebody notices after a while. */
  missed(process: SimProcess): void {
    const ms = this.#world.random.between(stalledMsMin, stalledMsMax);
    this.#world.after(ms, () => {
      if (process.alive && !process.frozen) return;
      for (const [conversation, { again, taker }] of this.#active) {
        if (taker.process !== process) continue;
        this.#active.delete(conversation);
        this.#rung(again ?? { conversation, headTurnId: "", model: "", traceId: "" });
      }
    });
  }

  #rung(wake: Wake): void {
    const { random } = this.#world;
    if (random.chance(this.trouble.lost)) return;
    const late = random.chance(this.trouble.late) ? random.between(500, 6_000) : 0;
    this.#world.after(late, () => {
      const active = this.#active.get(wake.conversation);
      if (active !== undefined) active.again = wake;
      else {
        this.#waiting.set(wake.conversation, wake);
        this.#hand();
      }
    });
  }

  #hand(): void {
    const { random } = this.#world;
    for (const [conversation, wake] of this.#waiting) {
      const ready = this.#ready();
      if (ready.length === 0) return;
      const taker = random.pick(ready);
      this.#waiting.delete(conversation);
      const active: Active = { taker, again: null };
      this.#active.set(conversation, active);
      this.#tell(taker, wake, () => this.#done(conversation, active));
      const others = this.#ready();
      if (others.length > 0 && random.chance(this.trouble.doubled)) {
        this.#tell(random.pick(others), wake, () => this.#hand());
      }
    }
  }

  #ready(): WakeTaker[] {
    return this.#takers.filter(({ process, ready }) => process.alive && !process.frozen && ready());
  }

  #tell(taker: WakeTaker, wake: Wake, done: () => void): void {
    taker.process.deliver(() => {
      const end = (): void => this.#world.after(1, done);
      // A wake that fails is forgotten; the sweeper rings again.
      taker.answer(wake).then(end, end);
    });
  }

  #done(conversation: ConversationId, active: Active): void {
    if (this.#active.get(conversation) === active) {
      this.#active.delete(conversation);
      if (active.again !== null) this.#waiting.set(conversation, active.again);
    }
    this.#hand();
  }
}
