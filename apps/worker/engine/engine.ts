/**
 * The engine as the worker sees it: a backend on a thread of its own, called in order.
 *
 * An error of the model files comes back as EyrieError with the model's code. Anything else (a
 * crashed thread, a programmer's mistake) rejects every open call and ends the engine: the process
 * must not go on with states it cannot trust, and exits; its turns are claimed by others.
 */
import { Worker } from "node:worker_threads";
import { EyrieError } from "#infra/errors/error.ts";
import type { ErrorCode } from "#infra/errors/registry.ts";
import type { CanonicalState, Plan } from "#kernels/backends/contract.ts";
import type { StateCodec } from "#kernels/state/codec.ts";
import type { SnapshotHeader } from "#kernels/state/snapshot.ts";
import { StepPacker, unpackResults } from "./packed-step.ts";
import type {
  EngineCall,
  EngineInfo,
  EngineOptions,
  EngineReply,
  StepOutcome,
  Unpacked,
} from "./protocol.ts";

interface OpenCall {
  readonly resolve: (reply: EngineReply) => void;
  readonly reject: (error: Error) => void;
}

export class Engine {
  readonly info: EngineInfo;
  /** Rejects when the thread is lost. */
  readonly failed: Promise<never>;
  readonly #thread: Worker;
  readonly #calls: OpenCall[];
  readonly #packer = new StepPacker();

  private constructor(thread: Worker, calls: OpenCall[], info: EngineInfo) {
    const failed = Promise.withResolvers<never>();
    thread.on("error", failed.reject);
    thread.on("exit", (code) => failed.reject(new Error(`engine thread ended with code ${code}`)));
    failed.promise.catch(() => {
      // Whoever runs the engine decides; a closed engine ends its thread too.
    });
    this.failed = failed.promise;
    this.#thread = thread;
    this.#calls = calls;
    this.info = info;
  }

  static async open(options: EngineOptions): Promise<Engine> {
    const thread = new Worker(new URL("thread.ts", import.meta.url), { workerData: options });
    const calls: OpenCall[] = [];
    const opened = new Promise<EngineReply>((resolve, reject) => calls.push({ resolve, reject }));
    thread.on("message", (reply: EngineReply) => calls.shift()?.resolve(reply));
    const fail = (error: Error): void => {
      for (const call of calls.splice(0)) call.reject(error);
    };
    thread.on("error", fail);
    thread.on("exit", (code) => fail(new Error(`engine thread ended with code ${code}`)));
    const reply = await opened;
    if (reply.reply === "opened") return new Engine(thread, calls, reply.info);
    await thread.terminate();
    throw errorOf(reply);
  }

  async step(plan: Plan): Promise<StepOutcome> {
    const step = this.#packer.pack(plan);
    const reply = await this.#call({ call: "step", step }, [step.numbers.buffer]);
    if (reply.reply !== "step") throw errorOf(reply);
    return { results: unpackResults(reply.tokens, plan), computeMs: reply.computeMs };
  }

  async writeState(slot: number, state: CanonicalState | null): Promise<void> {
    const reply = await this.#call({ call: "writeState", slot, state });
    if (reply.reply !== "writeState") throw errorOf(reply);
  }

  async readState(slot: number): Promise<CanonicalState> {
    const reply = await this.#call({ call: "readState", slot });
    if (reply.reply !== "readState") throw errorOf(reply);
    return reply.state;
  }

  /** A slot's state as a snapshot's bytes; this thread has no part in it. */
  async pack(slot: number, header: SnapshotHeader, codec: StateCodec): Promise<Uint8Array> {
    const reply = await this.#call({ call: "pack", slot, header, codec });
    if (reply.reply !== "pack") throw errorOf(reply);
    return reply.packed;
  }

  /** Fills a slot from a snapshot's bytes, if they are those of a state of this model. */
  async unpack(slot: number, packed: Uint8Array, fingerprint: string): Promise<Unpacked> {
    const reply = await this.#call({ call: "unpack", slot, packed, fingerprint });
    if (reply.reply !== "unpack") throw errorOf(reply);
    return reply.unpacked;
  }

  /**
   * Makes the states of `slots` what they will be after a snapshot, where they lie. False for a state
   * that is not finite: it stays as it is, and must not be kept.
   */
  async settle(slots: readonly number[]): Promise<readonly boolean[]> {
    const reply = await this.#call({ call: "settle", slots });
    if (reply.reply !== "settle") throw errorOf(reply);
    return reply.finite;
  }

  async close(): Promise<void> {
    await this.#call({ call: "close" });
    await this.#thread.terminate();
  }

  #call(call: EngineCall, transfer: readonly ArrayBuffer[] = []): Promise<EngineReply> {
    return new Promise((resolve, reject) => {
      this.#calls.push({ resolve, reject });
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- not a window
      this.#thread.postMessage(call, transfer);
    });
  }
}

function errorOf(reply: EngineReply): Error {
  if (reply.reply !== "error") return new Error(`unexpected reply: ${reply.reply}`);
  if (reply.code === undefined) return new Error(reply.message);
  return new EyrieError(reply.code as ErrorCode, reply.values);
}
