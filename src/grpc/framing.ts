// Messages on an HTTP/2 stream: a flag, a length, the bytes.
import type { Http2Stream } from 'node:http2';
import type { MessageType } from './service.js';
import { Code, RpcError } from './status.js';

const headerBytes = 5;
/** What BuildKit's clients and daemon take. */
const maxMessageBytes = 16 * 1024 * 1024;
/** A reader this far ahead of its consumer stops reading: flow control then stops the peer. */
const readAheadBytes = 256 * 1024;
/** An empty message takes memory as well. */
const messageCost = 64;
/** Above this a copy costs more than a second write. */
const smallMessageBytes = 8 * 1024;

/** Writes one message; resolves when the stream takes more. Rejects when it has ended. */
export function writeMessage<T>(stream: Http2Stream, type: MessageType<T>, message: T): Promise<void> {
	const body = type.encode(message).finish();
	const header = Buffer.allocUnsafe(headerBytes + (body.length <= smallMessageBytes ? body.length : 0));
	header[0] = 0;
	header.writeUInt32BE(body.length, 1);
	if (stream.destroyed || stream.closed || stream.writableEnded) return Promise.reject(new RpcError(Code.CANCELED, 'the call has ended'));
	let isFree: boolean;
	if (body.length <= smallMessageBytes) {
		header.set(body, headerBytes);
		isFree = stream.write(header);
	} else {
		stream.cork();
		stream.write(header);
		isFree = stream.write(body);
		stream.uncork();
	}
	return isFree ? Promise.resolve() : drained(stream);
}

function drained(stream: Http2Stream): Promise<void> {
	return new Promise((resolve, reject) => {
		const settle = (): void => {
			stream.off('drain', settle).off('close', settle);
			if (stream.destroyed && !stream.writableFinished) reject(new RpcError(Code.CANCELED, 'the call has ended'));
			else resolve();
		};
		stream.on('drain', settle).on('close', settle);
	});
}

/** Cuts bytes into messages. */
class Splitter {
	#chunks: Buffer[] = [];
	#size = 0;

	/** The bodies that are complete with this chunk. */
	push(chunk: Buffer): Buffer[] {
		this.#chunks.push(chunk);
		this.#size += chunk.length;
		if (this.#size < headerBytes) return [];
		const bodies: Buffer[] = [];
		let buffer = this.#peekable();
		let at = 0;
		while (buffer.length - at >= headerBytes) {
			const length = buffer.readUInt32BE(at + 1);
			if (buffer[at] !== 0) throw new RpcError(Code.UNIMPLEMENTED, 'grpc: Decompressor is not installed for compressed messages');
			if (length > maxMessageBytes) throw new RpcError(Code.RESOURCE_EXHAUSTED, `grpc: received message larger than max (${length} vs. ${maxMessageBytes})`);
			if (this.#size - at < headerBytes + length) break;
			if (buffer.length - at < headerBytes + length) buffer = this.#join();
			bodies.push(buffer.subarray(at + headerBytes, at + headerBytes + length));
			at += headerBytes + length;
		}
		if (at > 0) {
			this.#chunks = at < buffer.length ? [buffer.subarray(at)] : [];
			this.#size -= at;
		}
		return bodies;
	}

	get isEmpty(): boolean {
		return this.#size === 0;
	}

	/** The first chunk, if it holds a header; big messages are not joined before they are complete. */
	#peekable(): Buffer {
		const [first] = this.#chunks;
		return first && first.length >= headerBytes && this.#size < headerBytes + first.readUInt32BE(1) ? first : this.#join();
	}

	#join(): Buffer {
		const joined = this.#chunks.length === 1 ? this.#chunks[0] ?? Buffer.alloc(0) : Buffer.concat(this.#chunks);
		this.#chunks = [joined];
		return joined;
	}
}

/** The messages of a stream, in order, for one consumer. Ends, or throws what `fail` or `finish` was given. */
export class MessageReader<T> implements AsyncIterableIterator<T> {
	readonly #splitter = new Splitter();
	readonly #queue: Buffer[] = [];
	#queued = 0;
	#end: { readonly error?: unknown } | undefined;
	#wake: (() => void) | undefined;

	constructor(private readonly stream: Http2Stream, private readonly type: MessageType<T>) {
		stream.on('data', (chunk: Buffer) => { this.#take(chunk); });
	}

	/** No more bytes come. */
	finish(error?: unknown): void {
		if (error === undefined && !this.#splitter.isEmpty) this.#settle({ error: new RpcError(Code.INTERNAL, 'unexpected EOF') });
		else this.#settle(error === undefined ? {} : { error });
	}

	[Symbol.asyncIterator](): this {
		return this;
	}

	async next(): Promise<IteratorResult<T, undefined>> {
		while (true) {
			const body = this.#queue.shift();
			if (body) {
				this.#queued -= body.length + messageCost;
				if (this.#queued < readAheadBytes && this.stream.isPaused()) this.stream.resume();
				return { done: false, value: this.#decode(body) };
			}
			if (this.#end) {
				if (this.#end.error !== undefined) throw this.#end.error;
				return { done: true, value: undefined };
			}
			await new Promise<void>((resolve) => { this.#wake = resolve; });
		}
	}

	/** The consumer wants no more: what still comes is thrown away. */
	return(): Promise<IteratorResult<T, undefined>> {
		this.#queue.length = 0;
		this.#queued = 0;
		this.#settle({});
		this.stream.resume();
		return Promise.resolve({ done: true, value: undefined });
	}

	#take(chunk: Buffer): void {
		if (this.#end) return;
		try {
			for (const body of this.#splitter.push(chunk)) {
				this.#queue.push(body);
				this.#queued += body.length + messageCost;
			}
		} catch (error) {
			this.#settle({ error });
			return;
		}
		if (this.#queued >= readAheadBytes) this.stream.pause();
		this.#wakeUp();
	}

	#decode(body: Buffer): T {
		try {
			return this.type.decode(body);
		} catch (error) {
			throw new RpcError(Code.INTERNAL, `grpc: error unmarshalling request: ${(error as Error).message}`, [], { cause: error });
		}
	}

	#settle(end: { readonly error?: unknown }): void {
		this.#end ??= end;
		this.#wakeUp();
	}

	#wakeUp(): void {
		this.#wake?.();
		this.#wake = undefined;
	}
}

/** The one message of a stream that has just one. */
export async function onlyMessage<T>(messages: MessageReader<T>): Promise<T> {
	const first = await messages.next();
	if (first.done) throw new RpcError(Code.INTERNAL, 'a message was expected, the stream ended');
	if (!(await messages.next()).done) throw new RpcError(Code.INTERNAL, 'one message was expected, there are more');
	return first.value;
}
