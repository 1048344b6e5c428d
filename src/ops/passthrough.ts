// The passthrough op: hands its inputs on, in an order of its own.
import { createHash } from 'node:crypto';
import { pb } from '../llb/index.js';
import type { BuildSession } from '../session/index.js';
import type { CacheMap, Op, OpContext, Result } from '../solver/index.js';

export class PassthroughOp implements Op<BuildSession> {
	constructor(private readonly op: pb.PassthroughOp, private readonly inputCount: number) {}

	cacheMap(): Promise<CacheMap> {
		const digest = createHash('sha256').update('obd.passthrough.v1').update(pb.PassthroughOp.encode(this.op).finish()).digest('hex');
		return Promise.resolve({ digest: `sha256:${digest}`, inputs: Array.from({ length: this.inputCount }, () => ({})) });
	}

	run(_context: OpContext<BuildSession>, inputs: readonly Result[]): Promise<readonly Result[]> {
		return Promise.resolve(this.op.outputs.map((index) => {
			const input = inputs[Number(index)];
			if (!input) throw new Error(`invalid passthrough output input index ${index}`);
			return input;
		}));
	}
}
