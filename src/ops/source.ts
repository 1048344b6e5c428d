// The source op: brings files in from outside, through the sources room.
import { createHash } from 'node:crypto';
import type { BuildSession } from '../session/index.js';
import type { CacheMap, Op, OpContext, Result, VertexContext } from '../solver/index.js';
import type { Source } from '../sources/index.js';
import { DirectoryResult, SnapshotResult } from './result.js';

export class SourceOp implements Op<BuildSession> {
	constructor(private readonly source: Source) {}

	async cacheMap(context: VertexContext<BuildSession>): Promise<CacheMap> {
		const { key } = await this.source.identity(context);
		return { digest: key && `sha256:${createHash('sha256').update('obd.source.v1').update(key).digest('hex')}`, inputs: [] };
	}

	async run(context: OpContext<BuildSession>): Promise<readonly Result[]> {
		const content = await this.source.fetch(context);
		return [content.kind === 'snapshot' ? new SnapshotResult(content.snapshot) : new DirectoryResult(content.root, content.tree)];
	}
}
