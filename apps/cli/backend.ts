/** The chosen backend in this very process, one slot: for the verbs that need no platform. */
import { physicalCores } from "#infra/process/cores.ts";
import type { Backend, OpenBackend } from "#kernels/backends/contract.ts";
import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import type { Quantise } from "#kernels/model/quantise/layout.ts";
import { openReference } from "#kernels/backends/reference/reference.ts";

const backends: Readonly<Record<string, OpenBackend>> = {
  onnx: openOnnx,
  reference: openReference,
};

export async function openBackend(
  name: string,
  directory: string,
  quantise: Quantise | undefined,
): Promise<Backend> {
  const open = backends[name];
  if (open === undefined) throw new Error(`unknown backend ${name}`);
  return open(directory, { slots: 1, threads: physicalCores() }, { quantise });
}
