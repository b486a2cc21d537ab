/** The reference backend keeps the contract. Its errors are those of fp32 storage alone. */
import { backendSuite } from "#test/contract/backend.suite.ts";
import { openReference } from "#kernels/backends/reference/reference.ts";

backendSuite("reference", openReference, { errorMax: 2e-6, runs: 30 });
