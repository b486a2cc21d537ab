/**
 * Opens onnxruntime on a model and runs its graph.
 *
 * Owns the session, hence the packed weights. `BACKEND_UNAVAILABLE` when onnxruntime does not load on
 * this machine, `MODEL_BROKEN` when it refuses the model. A run is synchronous inside onnxruntime-node
 * and blocks its thread; only the promise is asynchronous.
 *
 * onnxruntime computes straight into the buffers that a run is given for its outputs. But afterwards
 * onnxruntime-node 1.30 copies every output into a new, zeroed buffer all the same, in one thread: at
 * 1.5B and 8 rows that is 109 MB and a sixth of a step, and garbage besides. So the graph's first
 * output is one that it cannot hand back: it stops with an error before it copies anything, when all
 * is computed and in place. A version that learns to hand it back costs speed, and nothing else.
 */
import { dirname } from "node:path";
import type { InferenceSession, Tensor, TensorConstructor } from "onnxruntime-node";
import { buildGraph, unreturnable, wkvNames } from "#kernels/backends/onnx/graph.ts";
import type { Packing } from "#kernels/backends/onnx/packing.ts";
import { encodeModel } from "#kernels/backends/onnx/proto.ts";
import type { StateBuffers, StateExchange } from "#kernels/backends/onnx/states.ts";
import { ModelError } from "#kernels/errors.ts";
import type { ModelConfig } from "#kernels/model/config.ts";
import type { Model } from "#kernels/model/model.ts";

type Runtime = typeof import("onnxruntime-node");

export interface RunInputs {
  readonly tokens: BigInt64Array;
  readonly indices: IndexTensors;
  readonly states: StateExchange;
}

/** The same memory by its names as input and as output. */
interface StateTensors {
  readonly feeds: Record<string, Tensor>;
  readonly fetches: Record<string, Tensor>;
}

/** js/node/src/tensor_helper.cc of onnxruntime, on a result that is a sequence. */
const cannotHandBack = "Non tensor type is temporarily not supported.";

export class GraphSession {
  readonly runtimeVersion: string;
  readonly #config: ModelConfig;
  readonly #session: InferenceSession;
  readonly #Tensor: TensorConstructor;
  readonly #stateTensors = new WeakMap<StateBuffers, StateTensors>();

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

  /** Fills `logits` `[Q, V]` and `states.after`. */
  async run({ tokens, indices, states }: RunInputs, logits: Float32Array): Promise<void> {
    const { vocabSize } = this.#config;
    const dims = [1, logits.length / vocabSize, vocabSize];
    const feeds = {
      ...this.#tensorsOf(states.before).feeds,
      ...indices,
      tokens: new this.#Tensor("int64", tokens, [tokens.length]),
    };
    const fetches = {
      ...this.#tensorsOf(states.after).fetches,
      logits: new this.#Tensor("float32", logits, dims),
      [unreturnable]: null,
    };
    try {
      await this.#session.run(feeds, fetches);
    } catch (error) {
      if (!(error instanceof Error) || error.message !== cannotHandBack) throw error;
    }
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

  #tensorsOf(buffers: StateBuffers): StateTensors {
    const known = this.#stateTensors.get(buffers);
    if (known !== undefined) return known;
    const { layers, width, heads, headSize } = this.#config;
    const { rows, wkv } = buffers;
    const shift = new this.#Tensor("float32", buffers.shift, [1, rows, layers * 2 * width]);
    const tensors: StateTensors = { feeds: { shift }, fetches: { "shift.next": shift } };
    wkv.forEach((numbers, layer) => {
      const tensor = new this.#Tensor("float32", numbers, [rows, heads, headSize, headSize]);
      const { before, after } = wkvNames(layer);
      tensors.feeds[before] = tensor;
      tensors.fetches[after] = tensor;
    });
    this.#stateTensors.set(buffers, tensors);
    return tensors;
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
