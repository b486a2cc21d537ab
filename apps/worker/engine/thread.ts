/**
 * The engine thread: a backend, and nothing else. A forward pass blocks this thread and never the
 * one that renews leases and talks to Redis. Calls are answered strictly in order.
 */
import assert from "node:assert/strict";
import { parentPort, workerData } from "node:worker_threads";
import type { Backend } from "#kernels/backends/contract.ts";
import { ModelError } from "#kernels/errors.ts";
import { stateLength } from "#kernels/model/config.ts";
import { settleState } from "#kernels/state/codec.ts";
import { packSnapshot, unpackSnapshot } from "#kernels/state/snapshot.ts";
import { loadBackend } from "./backends.ts";
import { packResults, StepUnpacker } from "./packed-step.ts";
import type { EngineCall, EngineOptions, EngineReply, Unpacked } from "./protocol.ts";

assert(parentPort !== null, "runs in a worker thread only");
const port = parentPort;
const options = workerData as EngineOptions;
const steps = new StepUnpacker();
/** What each state passes through on its way: fresh memory for each would cost more than the way. */
let scratch = new Float32Array();

function send(reply: EngineReply, transfer: ArrayBuffer[] = []): void {
  port.postMessage(reply, transfer);
}

function sendError(error: unknown): void {
  if (error instanceof ModelError) {
    send({ reply: "error", message: error.message, code: error.code, values: error.values });
  } else {
    send({ reply: "error", message: error instanceof Error ? error.message : String(error) });
  }
}

async function perform(backend: Backend, call: EngineCall): Promise<void> {
  switch (call.call) {
    case "step": {
      const plan = steps.unpack(call.step);
      const started = performance.now();
      const results = await backend.step(plan);
      const computeMs = performance.now() - started;
      const tokens = packResults(results);
      return send({ reply: "step", tokens, computeMs }, [tokens.buffer]);
    }
    case "writeState":
      backend.writeState(call.slot, call.state);
      return send({ reply: "writeState" });
    case "readState": {
      const state = backend.readState(call.slot);
      return send({ reply: "readState", state }, [state.buffer as ArrayBuffer]);
    }
    case "pack": {
      const packed = pack(backend, call);
      return send({ reply: "pack", packed }, [packed.buffer as ArrayBuffer]);
    }
    case "unpack":
      return send({ reply: "unpack", unpacked: unpack(backend, call) });
    case "settle":
      return send({ reply: "settle", finite: call.slots.map((slot) => settle(backend, slot)) });
    case "close":
      backend.close();
      send({ reply: "close" });
      port.close();
      return;
  }
}

function pack(backend: Backend, call: EngineCall & { readonly call: "pack" }): Uint8Array {
  const { codec, header, slot } = call;
  const { headSize } = backend.config;
  return packSnapshot(backend.readState(slot, scratch), header, { codec, headSize });
}

function unpack(backend: Backend, call: EngineCall & { readonly call: "unpack" }): Unpacked {
  const { config } = backend;
  const unpacked = unpackSnapshot(call.packed, {
    fingerprint: call.fingerprint,
    stateLength: stateLength(config),
    headSize: config.headSize,
    into: scratch,
  });
  if (unpacked.kind === "refused") return unpacked;
  backend.writeState(call.slot, unpacked.state);
  return { kind: "snapshot", header: unpacked.header };
}

function settle(backend: Backend, slot: number): boolean {
  const state = backend.readState(slot, scratch);
  const finite = settleState(options.stateCodec, state, backend.config.headSize);
  if (finite && options.stateCodec !== "f32") backend.writeState(slot, state);
  return finite;
}

try {
  const open = await loadBackend(options);
  const { slots, threads, quantise, stateCodec } = options;
  const backend = await open(options.modelDirectory, { slots, threads }, { quantise });
  scratch = new Float32Array(stateLength(backend.config));
  let last = Promise.resolve();
  port.on("message", (call: EngineCall) => {
    last = last.then(() => perform(backend, call)).catch(sendError);
  });
  const { name, config } = backend;
  const numericClass = `${backend.numericClass}/state-${stateCodec}`;
  send({ reply: "opened", info: { name, config, numericClass, stateCodec, slots } });
} catch (error) {
  sendError(error);
}
