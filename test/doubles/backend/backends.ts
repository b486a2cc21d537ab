/** Takes the place of `apps/worker/engine/backends.ts` in the worker processes of a test. */
import type { OpenBackend } from "#kernels/backends/contract.ts";
import { openScripted } from "./backend.ts";

export async function loadBackend(): Promise<OpenBackend> {
  return openScripted;
}
