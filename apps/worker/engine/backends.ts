/** The backends this worker can be told to run, loaded only when chosen. */
import type { OpenBackend } from "#kernels/backends/contract.ts";
import type { BackendName } from "./protocol.ts";

export async function loadBackend(name: BackendName): Promise<OpenBackend> {
  switch (name) {
    case "onnx":
      return (await import("#kernels/backends/onnx/onnx.ts")).openOnnx;
    case "reference":
      return (await import("#kernels/backends/reference/reference.ts")).openReference;
  }
}
