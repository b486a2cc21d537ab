/** The chosen backend in this very process, one slot unless told: for the verbs that need no platform. */
import { physicalCores } from "#infra/process/cores.ts";
import type { Backend, BackendLimits, OpenBackend } from "#kernels/backends/contract.ts";
import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import { openReference } from "#kernels/backends/reference/reference.ts";
import type { OpenModelOptions } from "#kernels/model/model.ts";

const backends: Readonly<Record<string, OpenBackend>> = {
  onnx: openOnnx,
  reference: openReference,
};

export async function openBackend(
  name: string,
  directory: string,
  options: Partial<BackendLimits> & OpenModelOptions = {},
): Promise<Backend> {
  const open = backends[name];
  if (open === undefined) throw new Error(`unknown backend ${name}`);
  const { slots = 1, threads = physicalCores(), ...model } = options;
  return open(directory, { slots, threads }, model);
}
