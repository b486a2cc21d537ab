/**
 * Opens onnxruntime on a model and runs its graph.
 *
 * Owns the session, hence the packed weights. `BACKEND_UNAVAILABLE` when onnxruntime does not load on
 * this machine, `MODEL_BROKEN` when it refuses the model. A run is synchronous inside onnxruntime-node
 * and blocks its thread; only the promise is asynchronous.
 */
import { dirname } from "node:path";
import type { InferenceSession, Tensor, TensorConstructor } from "onnxruntime-node";
import { buildGraph, wkvNames } from "#kernels/backends/onnx/graph.ts";
import type { Packing } from "#kernels/backends/onnx/packing.ts";
import { encodeModel } from "#kernels/backends/onnx/proto.ts";
import type { StateBatch } from "#kernels/backends/onnx/states.ts";
import { ModelError } from "#kernels/errors.ts";
import type { ModelConfig } from "#kernels/model/config.ts";
import type { Model } from "#kernels/model/model.ts";

type Runtime = typeof import("onnxruntime-node");

export interface RunResult {
  /** `[Q, V]` in a buffer of its own. */
  readonly logits: Float32Array;
  readonly states: StateBatch;
}

export class GraphSession {
  readonly runtimeVersion: string;
  readonly #config: ModelConfig;
  readonly #session: InferenceSession;
  readonly #Tensor: TensorConstructor;

  static async open(model: Model, threads: number): Promise<GraphSession> {
    const runtime = await loadRuntime();
    const graph = encodeModel(buildGraph(model));
    const folder = { model_external_initializers_file_folder_path: dirname(model.weightsPath) };
    try {
      const session = await runtime.InferenceSession.create(graph, {
        intraOpNumThreads: threads,
        executionMode: "sequential",
        graphOptimizationLevel: "all",
        // Threads spin between operators: without, a token of 6 × 256 takes 0.2 ms more.
        extra: { session: { ...folder, intra_op: { allow_spinning: "1" } } },
      });
      return new GraphSession(runtime, session, model.config);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new ModelError("MODEL_BROKEN", { path: model.weightsPath, reason }, { cause: error });
    }
  }

  private constructor(runtime: Runtime, session: InferenceSession, config: ModelConfig) {
    this.runtimeVersion = runtime.env.versions.node ?? runtime.env.versions.common;
    this.#Tensor = runtime.Tensor;
    this.#session = session;
    this.#config = config;
  }

  async run(tokens: BigInt64Array, indices: IndexTensors, states: StateBatch): Promise<RunResult> {
    const feeds = this.#stateFeeds(states);
    feeds["tokens"] = new this.#Tensor("int64", tokens, [tokens.length]);
    const outputs = await this.#session.run(Object.assign(feeds, indices));
    const numbers = (name: string): Float32Array => outputs[name]!.data as Float32Array;
    const wkv = Array.from(states.wkv, (_, layer) => numbers(wkvNames(layer).after));
    const next = { slots: states.slots, shift: numbers("shift.next"), wkv };
    return { logits: numbers("logits"), states: next };
  }

  /** The index inputs as tensors, which may be fed any number of times. */
  indexTensors(packing: Packing): IndexTensors {
    const { rows, tokens, positions, wantedTokens } = packing;
    const int64 = (data: BigInt64Array, dims: number[]): Tensor =>
      new this.#Tensor("int64", data, dims);
    return {
      previous: int64(packing.previous, [tokens]),
      last: int64(packing.last, [rows]),
      timeline: int64(packing.timeline, [rows, positions]),
      writes: new this.#Tensor("float32", packing.writes, [rows, positions, 1]),
      reads: int64(packing.reads, [tokens]),
      wanted: int64(packing.wanted, [wantedTokens]),
    };
  }

  close(): void {
    // Frees at once and cannot fail; only its signature is asynchronous.
    void this.#session.release();
  }

  #stateFeeds({ slots, shift, wkv }: StateBatch): Record<string, Tensor> {
    const { layers, width, heads, headSize } = this.#config;
    const rows = slots.length;
    const feeds: Record<string, Tensor> = {
      shift: new this.#Tensor("float32", shift, [1, rows, layers * 2 * width]),
    };
    wkv.forEach((numbers, layer) => {
      const dims = [rows, heads, headSize, headSize];
      feeds[wkvNames(layer).before] = new this.#Tensor("float32", numbers, dims);
    });
    return feeds;
  }
}

export type IndexTensors = Readonly<
  Record<"previous" | "last" | "timeline" | "writes" | "reads" | "wanted", Tensor>
>;

/** Imported late: a machine without a working binary must still run the other backends. */
async function loadRuntime(): Promise<Runtime> {
  try {
    return await import("onnxruntime-node");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ModelError("BACKEND_UNAVAILABLE", { backend: "onnx", reason }, { cause: error });
  }
}
