import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import { backendSuite } from "#test/contract/backend.suite.ts";

// Seen: 2.5e-6 at most over 250 cases of each shape; most are below 1e-6.
backendSuite("onnx", openOnnx, { errorMax: 5e-6 });
// The activations' rounding, which the suite compares with a naive run's; this bound is for the worst case.
backendSuite("onnx q8", openOnnx, { quantise: "q8", errorMax: 0.2 });
// Its chunks are exact where there is AVX-512.
backendSuite("onnx q4", openOnnx, { quantise: "q4", errorMax: 0.2, chunkErrorMax: 0.05 });
