// The blobs of the history, for clients that read them by digest.
import { Code, RpcError, type Handlers } from '../grpc/index.js';
import type { ContentDefinition, Info } from '../session/index.js';
import type { History } from './history.js';

export function contentHandlers(history: History): Handlers<typeof ContentDefinition> {
	const info = async (digest: string): Promise<Info> => {
		const size = await history.blobSize(digest);
		if (size === undefined) throw new RpcError(Code.NOT_FOUND, `content ${digest}: not found`);
		return { digest, size, createdAt: undefined, updatedAt: undefined, labels: new Map() };
	};
	return {
		info: async ({ digest }) => ({ info: await info(digest) }),
		list: async (_request, _call, send) => {
			await send({ info: await Promise.all((await history.blobs()).map(info)) });
		},
		read: async ({ digest, offset, size }, { signal }, send) => {
			const blob = await info(digest);
			if (offset < 0 || offset > blob.size) throw new RpcError(Code.OUT_OF_RANGE, `read past object length ${blob.size} bytes`);
			const end = size > 0 ? Math.min(offset + size, blob.size) : blob.size;
			if (end === offset) return;
			let at = offset;
			for await (const chunk of history.blob(digest, offset, end - 1)) {
				signal.throwIfAborted();
				const data = chunk as Buffer;
				await send({ offset: at, data });
				at += data.length;
			}
		},
	};
}
