/** The backends this worker can be told to run, loaded only when chosen. */
import type { OpenBackend } from "#kernels/backends/contract.ts";
import type { EngineOptions } from "./protocol.ts";

export async function loadBackend({ backend, backendModule }: EngineOptions): Promise<OpenBackend> {
  if (backendModule !== undefined) {
    return ((await import(backendModule)) as { open: OpenBackend }).open;
  }
  switch (backend) {
    case "onnx":
      return (await import("#kernels/backends/onnx/onnx.ts")).openOnnx;
    case "reference":
      return (await import("#kernels/backends/reference/reference.ts")).openReference;
  }
}
