/** A program: reads memory when it is asked to, `bandwidth.ts`. */
import { answerScans } from "./bandwidth.ts";

answerScans();
