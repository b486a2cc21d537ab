/**
 * The engine thread: a backend, and nothing else. A forward pass blocks this thread and never the
 * one that renews leases and talks to Redis. Calls are answered strictly in order.
 */
import assert from "node:assert/strict";
import { parentPort, workerData } from "node:worker_threads";
import type { Backend } from "#kernels/backends/contract.ts";
import { ModelError } from "#kernels/errors.ts";
import { settleState } from "#kernels/state/codec.ts";
import { loadBackend } from "./backends.ts";
import type { EngineCall, EngineOptions, EngineReply } from "./protocol.ts";

assert(parentPort !== null, "runs in a worker thread only");
const port = parentPort;
const options = workerData as EngineOptions;

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
      const started = performance.now();
      const results = await backend.step(call.plan);
      send({ reply: "step", outcome: { results, computeMs: performance.now() - started } });
      return;
    }
    case "writeState":
      backend.writeState(call.slot, call.state);
      return send({ reply: "writeState" });
    case "readState": {
      const state = backend.readState(call.slot);
      return send({ reply: "readState", state }, [state.buffer as ArrayBuffer]);
    }
    case "settle":
      return send({ reply: "settle", finite: call.slots.map((slot) => settle(backend, slot)) });
    case "close":
      backend.close();
      send({ reply: "close" });
      port.close();
      return;
  }
}

function settle(backend: Backend, slot: number): boolean {
  const state = backend.readState(slot);
  const finite = settleState(options.stateCodec, state, backend.config.headSize);
  if (finite && options.stateCodec !== "f32") backend.writeState(slot, state);
  return finite;
}

try {
  const open = await loadBackend(options.backend);
  const { slots, threads, quantise, stateCodec } = options;
  const backend = await open(options.modelDirectory, { slots, threads }, { quantise });
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
