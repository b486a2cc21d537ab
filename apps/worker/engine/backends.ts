/** The backends this worker can be told to run, loaded only when chosen. */
import { setPriority } from "node:os";
import { platform } from "node:process";
import type { OpenBackend } from "#kernels/backends/contract.ts";
import type { EngineOptions } from "./protocol.ts";

export async function loadBackend({ backend, backendModule }: EngineOptions): Promise<OpenBackend> {
  if (backendModule !== undefined) {
    return ((await import(backendModule)) as { open: OpenBackend }).open;
  }
  computeInTheBackground();
  switch (backend) {
    case "onnx":
      return (await import("#kernels/backends/onnx/onnx.ts")).openOnnx;
    case "reference":
      return (await import("#kernels/backends/reference/reference.ts")).openReference;
  }
}

const niceness = 5;

/**
 * Of this thread and those that the backend starts; only on Linux is it not the whole process's. Where cores
 * are few, computing takes what the others leave: leases, frames, gateways and processes that start.
 */
function computeInTheBackground(): void {
  if (platform === "linux") setPriority(niceness);
}
