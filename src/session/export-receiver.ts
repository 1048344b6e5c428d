// Results for a client: files and directories through FileSend/DiffCopy.
import { Writable } from 'node:stream';
import type { ClientCall } from '../grpc/index.js';
import type { Caller } from './caller.js';
import { remoteStore } from './content-store.js';
import { sendTrees } from './files/send.js';
import { BytesMessage, FileSendDefinition } from './gen/filesync.js';
import { Packet } from './gen/wire.js';
import type { ExportReceiver } from './index.js';

const exporterHeader = 'buildkit-attachable-exporter-id';
const aboutPrefix = 'exporter-md-';
/** Below the 4 MB some clients take. */
const chunkBytes = 1024 * 1024;

const { diffCopy } = FileSendDefinition.methods;
/** The same method with a directory's payload. */
const sendPackets = { ...diffCopy, requestType: Packet, responseType: Packet };

/** The client's end of its `index`-th exporter. */
export function exportReceiver(caller: Caller, index: number): ExportReceiver {
	const check = (): void => {
		if (!caller.has(FileSendDefinition, diffCopy)) throw new Error('method /moby.filesync.v1.FileSend/diffcopy not supported by the client');
	};
	const metadata = { [exporterHeader]: String(index) };
	return {
		openFile: async (about, signal) => {
			check();
			const headers = Object.fromEntries(Object.entries(about).map(([key, value]) => [aboutPrefix + key.toLowerCase(), value]));
			return new FileSender(caller.call(FileSendDefinition, diffCopy, { metadata: { ...metadata, ...headers }, signal }));
		},
		contentStore: () => remoteStore(caller, 'export'),
		sendTrees: async (trees, signal) => {
			check();
			const call = caller.call(FileSendDefinition, sendPackets, { metadata: { ...metadata, 'buildkit-exporter-multi-platform': '1' }, signal });
			try {
				await sendTrees(trees, call, signal);
			} finally {
				call.cancel();
			}
		},
	};
}

/** Writes a file at the client; finished when the client says that it has it. */
class FileSender extends Writable {
	readonly #received: Promise<void>;

	constructor(private readonly call: ClientCall<BytesMessage, BytesMessage>) {
		super({ highWaterMark: chunkBytes });
		this.#received = this.#receive();
		// A client that gives up ends the file.
		this.#received.catch((error: Error) => { this.destroy(error); });
	}

	override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
		this.#send(chunk).then(() => { done(); }, (error: Error) => {
			// Why the call has ended, its status says.
			this.#received.then(() => { done(error); }, done);
		});
	}

	override _final(done: (error?: Error | null) => void): void {
		this.call.end();
		this.#received.then(() => { done(); }, done);
	}

	override _destroy(error: Error | null, done: (error: Error | null) => void): void {
		this.call.cancel();
		done(error);
	}

	async #send(chunk: Buffer): Promise<void> {
		for (let at = 0; at < chunk.length; at += chunkBytes) await this.call.send({ data: chunk.subarray(at, at + chunkBytes) });
	}

	async #receive(): Promise<void> {
		for await (const message of this.call) void message;
	}
}
