/**
 * The RWKV-v5.2 network as one ONNX graph that serves decode, prefill and any mixture of the two.
 *
 * Formulas: BlinkDL/RWKV-LM, RWKV-v5/src/model.py. Activations are `[1, P, D]`, P being the tokens of
 * all rows one after another, so matrix products see real tokens only. Only WKV needs the rows apart:
 * it runs on the padded timelines `[B, S, D]` that `packing.ts` lays out.
 *
 * A token of a row gives the same bits whatever its mates and wherever the row was cut, because every
 * operator here treats it alike in all cases:
 * - onnxruntime's product of a row does not depend on the number of rows, in fp32 and with 8- or 4-bit
 *   blocks of 32 (measured, 1 … 330);
 * - a timeline gives each token two positions, one that only reads the state and one that only
 *   writes it. `LinearAttention` reads after its update and, where it has fused kernels, as
 *   (q·exp g)·S + (q·k)·v, so a read that shares its position with a write is rounded differently
 *   from one that does not, as a row's first must. One position for both would save 10 % of a prefill
 *   (256 tokens of a 6 × 256 model: 19.7 against 21.6 ms), nothing of a decode step.
 * Measured on x64 with AVX-512; the tests prove it again wherever they run.
 *
 * An unsound graph is refused by onnxruntime when the session opens.
 */
import { GraphBuilder, type Value } from "#kernels/backends/onnx/builder.ts";
import { GraphWeights } from "#kernels/backends/onnx/weights.ts";
import type { OnnxGraph } from "#kernels/backends/onnx/proto.ts";
import type { ModelConfig } from "#kernels/model/config.ts";
import type { Model } from "#kernels/model/model.ts";

/** The names of a layer's matrix state, in and out of the graph. */
export function wkvNames(layer: number): { readonly before: string; readonly after: string } {
  return { before: `wkv.${layer}`, after: `wkv.${layer}.next` };
}

/**
 * An output of no use, the first one: a sequence of tensors, which onnxruntime-node cannot hand back.
 * `session.ts` says what it is good for.
 */
export const unreturnable = "unreturnable";

/** What `packing.ts` computes for each step; all indices are int64. */
interface StepInputs {
  /** `[P]` token ids */
  readonly tokens: Value;
  /** `[P]` where the token before each one lies: in the B shift states followed by the P tokens. */
  readonly previous: Value;
  /** `[B]` each row's last token */
  readonly last: Value;
  /** `[B, S]` the token of each position of a row's timeline */
  readonly timeline: Value;
  /** `[B, S, 1]` fp32: 1 where that token is written to the state, else 0 */
  readonly writes: Value;
  /** `[P]` the position, counted over all timelines, at which each token reads the state */
  readonly reads: Value;
  /** `[Q]` the tokens whose logits are wanted */
  readonly wanted: Value;
}

/** One layer's part of the state before the step. */
interface LayerState {
  /** `[1, B, D]` */
  readonly attShift: Value;
  /** `[B, H, N, N]` */
  readonly wkv: Value;
  /** `[1, B, D]` */
  readonly ffnShift: Value;
}

interface Context {
  readonly graph: GraphBuilder;
  readonly weights: GraphWeights;
  readonly config: ModelConfig;
  readonly step: StepInputs;
  /** `[P, 1, 1]` of each layer: not finite where the layer's state is not. */
  readonly witnesses: Value[];
}

/** @returns the graph; its weights stay in the model's file, named by their byte offsets. */
export function buildGraph(model: Model): OnnxGraph {
  const { config } = model;
  const graph = new GraphBuilder();
  const weights = new GraphWeights(graph, model);
  const step = declareStep(graph);
  const context: Context = { graph, weights, config, step, witnesses: [] };
  const states = declareStates(context);

  graph.output(
    graph.op("SequenceConstruct", [graph.constant("nothing", Float32Array.of(0), [1])]),
    unreturnable,
  );
  let residual = embed(context);
  let normed = layerNorm(context, residual, "blocks.0.ln1");
  const shifts: Value[] = [];
  states.forEach((state, layer) => {
    const block = `blocks.${layer}`;
    shifts.push(lastOfRows(context, normed));
    const { output, wkv } = timeMix(context, { input: normed, state, prefix: `${block}.att` });
    graph.output(wkv, wkvNames(layer).after);
    [normed, residual] = addAndNorm(context, [residual, output], `${block}.ln2`);

    shifts.push(lastOfRows(context, normed));
    const mixed = channelMix(context, { input: normed, state, prefix: `${block}.ffn` });
    const nextNorm = layer + 1 < config.layers ? `blocks.${layer + 1}.ln1` : "ln_out";
    [normed, residual] = addAndNorm(context, [residual, mixed], nextNorm);
  });
  graph.output(graph.op("Concat", shifts, { axis: { int: 2 } }), "shift.next");

  const wanted = graph.op("Gather", [normed, step.wanted], { axis: { int: 1 } });
  const logits = weights.linear(wanted, "head.weight");
  const isQuantised = model.variant !== null;
  graph.output(isQuantised ? poisoned(context, logits, wanted) : logits, "logits");
  return graph.build("rwkv-5.2");
}

/**
 * Rounding activations to int8 turns NaN and ±Inf into ordinary numbers, so with quantised matrices a
 * broken state would not show. `logits` + 0 · (sums of what the state said in each layer, and of the
 * head's input) are the logits, or NaN for a token that met a number which is not finite.
 */
function poisoned({ graph, step, witnesses }: Context, logits: Value, headInput: Value): Value {
  const heard = graph.op("Gather", [graph.op("Sum", witnesses), step.wanted]);
  const sums = graph.op("Add", [graph.reshape(heard, [1, -1, 1]), graph.sum(headInput, [2])]);
  const zero = graph.constant("zero", Float32Array.of(0), [1]);
  return graph.op("Add", [logits, graph.op("Mul", [sums, zero])]);
}

function declareStep(graph: GraphBuilder): StepInputs {
  return {
    tokens: graph.input("tokens", "int64", ["P"]),
    previous: graph.input("previous", "int64", ["P"]),
    last: graph.input("last", "int64", ["B"]),
    timeline: graph.input("timeline", "int64", ["B", "S"]),
    writes: graph.input("writes", "float32", ["B", "S", 1]),
    reads: graph.input("reads", "int64", ["P"]),
    wanted: graph.input("wanted", "int64", ["Q"]),
  };
}

/**
 * All token-shift states travel as one tensor, each matrix state as its own: onnxruntime-node copies
 * every output into a new buffer, which is cheap for many buffers of some 100 KB, dear for a single
 * one of megabytes, and costs about 2 µs a buffer. Measured against one tensor for all and against
 * three a layer: fastest or equal at 6 × 256 (B 16: 3.5, 4.0, 3.7 ms) and 24 × 1024.
 */
function declareStates({ graph, config }: Context): LayerState[] {
  const { layers, width, heads, headSize } = config;
  const shift = graph.input("shift", "float32", [1, "B", layers * 2 * width]);
  const parts = graph.split(shift, layers * 2, 2);
  return Array.from({ length: layers }, (_, layer) => ({
    attShift: parts[layer * 2]!,
    wkv: graph.input(wkvNames(layer).before, "float32", ["B", heads, headSize, headSize]),
    ffnShift: parts[layer * 2 + 1]!,
  }));
}

/** LN0(emb[token]). The table stays mapped from the file; only the rows looked up are read. */
function embed(context: Context): Value {
  const { graph, weights, step, config } = context;
  const rows = weights.lookUp("emb.weight", step.tokens);
  return layerNorm(context, graph.reshape(rows, [1, -1, config.width]), "blocks.0.ln0");
}

interface MixArguments {
  /** `[1, P, D]`, normed */
  readonly input: Value;
  readonly state: LayerState;
  /** Of the block's tensors. */
  readonly prefix: string;
}

/** Time-mix: WKV, GroupNorm over heads, gate, output product. */
function timeMix(
  context: Context,
  { input, state, prefix }: MixArguments,
): { output: Value; wkv: Value } {
  const { graph, weights, config } = context;
  const { width, heads, headSize, groupNormEps } = config;
  const shifted = tokenShift(context, input, state.attShift);
  const mixes = ["r", "k", "v", "g"].map((mix) => `${prefix}.time_mix_${mix}`);
  const [forR, forK, forV, forG] = mixTokens(context, { input, shifted, mixes });
  const r = weights.linear(forR!, `${prefix}.receptance.weight`);
  const k = weights.linear(forK!, `${prefix}.key.weight`);
  const v = weights.linear(forV!, `${prefix}.value.weight`);
  const g = weights.linear(forG!, `${prefix}.gate.weight`);
  const { heard, wkv } = recur(context, { r, k, v, state: state.wkv, prefix });
  context.witnesses.push(graph.sum(heard, [1, 2]));

  const normShape = [1, heads, headSize];
  const scale = weights.vector(`${prefix}.ln_x.weight`, normShape);
  const bias = weights.vector(`${prefix}.ln_x.bias`, normShape);
  const epsilon = { float: groupNormEps };
  const normed = graph.op("LayerNormalization", [heard, scale, bias], { epsilon });
  // QuickGelu with alpha 1 is SiLU in one operator.
  const [gate] = graph.contrib("QuickGelu", [g], { attributes: { alpha: { float: 1 } } });
  const gated = graph.op("Mul", [graph.reshape(normed, [1, -1, width]), gate!]);
  return { output: weights.linear(gated, `${prefix}.output.weight`), wkv };
}

interface RecurrenceArguments {
  /** `[1, P, D]` each */
  readonly r: Value;
  readonly k: Value;
  readonly v: Value;
  /** `[B, H, N, N]` */
  readonly state: Value;
  readonly prefix: string;
}

/** WKV over each row's timeline: o = r·S + (Σ r·u·k)·v as `[P, H, N]`, and the state after. */
function recur(
  { graph, weights, config, step }: Context,
  { r, k, v, state, prefix }: RecurrenceArguments,
): { heard: Value; wkv: Value } {
  const { width, heads, headSize } = config;
  const onTimeline = (value: Value): Value =>
    graph.op("Gather", [graph.reshape(value, [-1, width]), step.timeline]);
  // Where nothing is written k = 0 and log w = 0: the state passes through bit by bit.
  const written = graph.op("Mul", [onTimeline(k), step.writes]);
  const decay = graph.op("Mul", [step.writes, weights.logDecay(`${prefix}.time_decay`)]);
  const inputs = [onTimeline(r), written, onTimeline(v), state, decay];
  const headCount = { int: heads };
  const attributes = {
    q_num_heads: headCount,
    kv_num_heads: headCount,
    update_rule: "gated",
    scale: { float: 1 },
  };
  const [read, wkv] = graph.contrib("LinearAttention", inputs, { attributes, outputs: 2 });

  const byHead = (value: Value): Value => graph.reshape(value, [-1, heads, headSize]);
  const fromState = graph.op("Gather", [byHead(read!), step.reads]);
  // Σ r·u·k over a head is a product too: rows of ReduceSum depend on their alignment in memory.
  const rk = graph.op("Mul", [r, k]);
  const bonus = graph.op("MatMul", [rk, weights.headBlocks(`${prefix}.time_faaaa`)]);
  const fromSelf = graph.op("Mul", [graph.reshape(bonus, [-1, heads, 1]), byHead(v)]);
  return { heard: graph.op("Add", [fromState, fromSelf]), wkv: wkv! };
}

/** Channel-mix: σ(Wr·xr) ⊙ Wv·relu(Wk·xk)². */
function channelMix(context: Context, { input, state, prefix }: MixArguments): Value {
  const { graph, weights } = context;
  const shifted = tokenShift(context, input, state.ffnShift);
  const mixes = ["k", "r"].map((mix) => `${prefix}.time_mix_${mix}`);
  const [forK, forR] = mixTokens(context, { input, shifted, mixes });
  const key = graph.op("Relu", [weights.linear(forK!, `${prefix}.key.weight`)]);
  const squared = graph.op("Mul", [key, key]);
  const value = weights.linear(squared, `${prefix}.value.weight`);
  const receptance = weights.linear(forR!, `${prefix}.receptance.weight`);
  return graph.op("Mul", [graph.op("Sigmoid", [receptance]), value]);
}

/** `[1, P, D]`: for each token the one before it in its row, or the row's shift state. */
function tokenShift({ graph, step }: Context, input: Value, state: Value): Value {
  const axis = { int: 1 };
  return graph.op("Gather", [graph.op("Concat", [state, input], { axis }), step.previous], {
    axis,
  });
}

/** before + (x − before) ⊙ m for each m, all in one product: `[1, P, D]` each. */
function mixTokens(
  { graph, weights }: Context,
  { input, shifted, mixes }: { input: Value; shifted: Value; mixes: readonly string[] },
): Value[] {
  const change = graph.op("Mul", [graph.op("Sub", [input, shifted]), weights.stack(mixes)]);
  return graph.split(graph.op("Add", [change, shifted]), mixes.length, 0);
}

/** `[1, B, D]`: what the next step's first tokens will be shifted with. */
function lastOfRows({ graph, step }: Context, input: Value): Value {
  return graph.op("Gather", [input, step.last], { axis: { int: 1 } });
}

function layerNorm({ graph, weights, config }: Context, input: Value, norm: string): Value {
  const affine = [weights.vector(`${norm}.weight`), weights.vector(`${norm}.bias`)];
  const epsilon = { float: config.layerNormEps };
  return graph.op("LayerNormalization", [input, ...affine], { epsilon });
}

/** The norm of the sum, and the sum. */
function addAndNorm(
  { graph, weights, config }: Context,
  terms: readonly [Value, Value],
  norm: string,
): [normed: Value, sum: Value] {
  const affine = [weights.vector(`${norm}.weight`), weights.vector(`${norm}.bias`)];
  const attributes = { epsilon: { float: config.layerNormEps } };
  const options = { attributes, outputs: 4 };
  const outputs = graph.contrib("SkipLayerNormalization", [...terms, ...affine], options);
  return [outputs[0]!, outputs[3]!];
}
