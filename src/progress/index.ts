// The progress room: shows a running build to whoever watches it, in the formats of docker and BuildKit:
// a live display on a terminal, plain lines for CI, JSON for programs, or nothing. It consumes SolveStatus
// values and writes to one output without ever waiting for it.
export { openOutput, type Output } from './output.js';
export { openProgress, type Progress, type ProgressMode, type ProgressOptions } from './progress.js';
export { formatWarnings } from './warnings.js';
