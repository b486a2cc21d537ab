/**
 * Loaded before a worker's own code (`node --import`): makes it die as by a bug in native code, a moment
 * after it began to answer a text with the marker.
 */
import { Tokenizer } from "#kernels/tokenizer/tokenizer.ts";

export const poison = "kill the worker";
const workMs = 40;

type Encode = (this: Tokenizer, text: string) => number[];
const encode: Encode = Reflect.get(Tokenizer.prototype, "encode");
Tokenizer.prototype.encode = function (text: string) {
  if (text.includes(poison)) {
    setTimeout(() => process.kill(process.pid, "SIGKILL"), workMs);
  }
  return encode.call(this, text);
};
