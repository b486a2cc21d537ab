/** What crosses the border between the worker's main thread and the engine thread. */
import type {
  Backend,
  BackendLimits,
  CanonicalState,
  RowResult,
} from "#kernels/backends/contract.ts";
import type { ModelConfig } from "#kernels/model/config.ts";
import type { StateCodec } from "#kernels/state/codec.ts";
import type { PackedStep } from "./packed-step.ts";
import type { SnapshotHeader, SnapshotRefusal } from "#kernels/state/snapshot.ts";
import type { Quantise } from "#kernels/model/quantise/layout.ts";

export type BackendName = "onnx" | "reference";

export interface EngineOptions extends BackendLimits {
  readonly modelDirectory: string;
  readonly backend: BackendName;
  readonly stateCodec: StateCodec;
  /** Left out: as `openModel` chooses. */
  readonly quantise?: Quantise | undefined;
  /** A module whose `open` is an `OpenBackend`, instead of `backend`; for tests and benchmarks. */
  readonly backendModule?: string | undefined;
}

export interface EngineInfo {
  readonly name: Backend["name"];
  readonly config: ModelConfig;
  /** The backend's, and the state codec, which changes the bits too. */
  readonly numericClass: string;
  readonly stateCodec: StateCodec;
  readonly slots: number;
}

export type EngineCall =
  | { readonly call: "step"; readonly step: PackedStep }
  | { readonly call: "writeState"; readonly slot: number; readonly state: CanonicalState | null }
  | { readonly call: "readState"; readonly slot: number }
  | {
      readonly call: "pack";
      readonly slot: number;
      readonly header: SnapshotHeader;
      readonly codec: StateCodec;
    }
  | {
      readonly call: "unpack";
      readonly slot: number;
      readonly packed: Uint8Array;
      readonly fingerprint: string;
    }
  | { readonly call: "settle"; readonly slots: readonly number[] }
  | { readonly call: "close" };

/** What a slot was filled with, or why it was left as it is. */
export type Unpacked =
  | { readonly kind: "snapshot"; readonly header: SnapshotHeader }
  | { readonly kind: "refused"; readonly reason: SnapshotRefusal };

export interface StepOutcome {
  readonly results: RowResult[];
  /** Time of the forward pass inside the thread. */
  readonly computeMs: number;
}

export type EngineReply =
  | { readonly reply: "opened"; readonly info: EngineInfo }
  | {
      readonly reply: "step";
      /** As `packResults` puts them. */
      readonly tokens: Int32Array<ArrayBuffer>;
      readonly computeMs: number;
    }
  | { readonly reply: "writeState" }
  | { readonly reply: "readState"; readonly state: CanonicalState }
  | { readonly reply: "pack"; readonly packed: Uint8Array }
  | { readonly reply: "unpack"; readonly unpacked: Unpacked }
  | { readonly reply: "settle"; readonly finite: readonly boolean[] }
  | { readonly reply: "close" }
  | {
      readonly reply: "error";
      readonly message: string;
      /** Code and values of a ModelError; absent for a programmer's mistake. */
      readonly code?: string;
      readonly values?: Readonly<Record<string, string | number>>;
    };
