import { openOnnx } from "#kernels/backends/onnx/onnx.ts";
import { backendSuite } from "#test/contract/backend.suite.ts";

// Seen: 2.5e-6 at most over 250 cases of each shape; most are below 1e-6.
backendSuite("onnx", openOnnx, { errorMax: 5e-6 });
