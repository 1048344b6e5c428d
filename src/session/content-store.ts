// A content store of a client, over containerd's content service.
import { Code, RpcError } from '../grpc/index.js';
import type { Caller } from './caller.js';
import { ContentDefinition, WriteAction, WriteContentRequest } from './gen/content.js';
import type { ContentStore } from './index.js';

/** Below the 4 MB some clients take. */
const chunkBytes = 1024 * 1024;

/** The store a client attached under `id`: `oci:NAME`, `local:DIR`. */
export function remoteStore(caller: Caller, id: string): ContentStore {
	const metadata = { 'buildkit-attachable-store-id': id };
	const { methods } = ContentDefinition;
	const size = async (digest: string): Promise<number | undefined> => {
		try {
			const { info } = await caller.unary(ContentDefinition, methods.info, { digest }, { metadata });
			return info?.size;
		} catch (error) {
			if (error instanceof RpcError && error.code === Code.NOT_FOUND) return undefined;
			throw error;
		}
	};
	return {
		size,
		async* read(digest, { offset = 0, signal }) {
			const call = caller.call(ContentDefinition, methods.read, { metadata, signal });
			try {
				await call.send({ digest, offset, size: 0 }).catch(() => undefined); // the responses say why
				call.end();
				for await (const { data } of call) yield data;
			} finally {
				call.cancel();
			}
		},
		async write(blob, content, signal) {
			if (await size(blob.digest) !== undefined) return;
			await write(caller, metadata, blob, content, signal);
		},
	};
}

async function write(
	caller: Caller, metadata: Readonly<Record<string, string>>, { digest, size }: { readonly digest: string; readonly size: number },
	content: () => AsyncIterable<Uint8Array>, signal: AbortSignal,
): Promise<void> {
	const call = caller.call(ContentDefinition, ContentDefinition.methods.write, { metadata, signal });
	const responses = call[Symbol.asyncIterator]();
	// One answer a request.
	const exchange = async (request: Partial<WriteContentRequest>): Promise<void> => {
		await call.send(WriteContentRequest.create({ ref: digest, total: size, expected: digest, ...request })).catch(() => undefined); // the response says why
		if ((await responses.next()).done) throw new RpcError(Code.UNAVAILABLE, `the client's store ended the write of ${digest}`);
	};
	try {
		let offset = 0;
		for await (const chunk of content()) {
			for (let at = 0; at < chunk.length; at += chunkBytes) {
				const data = Buffer.from(chunk.buffer, chunk.byteOffset + at, Math.min(chunkBytes, chunk.length - at));
				await exchange({ action: WriteAction.WRITE, offset, data });
				offset += data.length;
			}
		}
		await exchange({ action: WriteAction.COMMIT, offset });
		call.end();
	} catch (error) {
		if (!(error instanceof RpcError) || error.code !== Code.ALREADY_EXISTS) throw error;
	} finally {
		call.cancel();
	}
}
