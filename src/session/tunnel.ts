// A connection inside a call: both directions are streams of byte messages.
import { Duplex } from 'node:stream';

interface BytesMessage {
	readonly data: Uint8Array;
}

export class Tunnel extends Duplex {
	readonly #incoming: AsyncIterator<BytesMessage>;
	#isReading = false;

	/** Reads what `incoming` brings; `send` takes what is written, `finish` says that no more will be. */
	constructor(incoming: AsyncIterable<BytesMessage>, private readonly send: (message: { data: Uint8Array }) => Promise<void>, private readonly finish: () => void = () => undefined) {
		super({ allowHalfOpen: true });
		this.#incoming = incoming[Symbol.asyncIterator]();
	}

	override _read(): void {
		if (this.#isReading) return;
		this.#isReading = true;
		void this.#pull();
	}

	override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
		this.send({ data: chunk }).then(() => { done(); }, done);
	}

	override _writev(chunks: { readonly chunk: Buffer }[], done: (error?: Error | null) => void): void {
		this.send({ data: Buffer.concat(chunks.map(({ chunk }) => chunk)) }).then(() => { done(); }, done);
	}

	override _final(done: () => void): void {
		this.finish();
		done();
	}

	override _destroy(error: Error | null, done: (error: Error | null) => void): void {
		this.finish();
		void this.#incoming.return?.();
		done(error);
	}

	async #pull(): Promise<void> {
		try {
			while (true) {
				const { done, value } = await this.#incoming.next();
				if (done) break;
				const data = Buffer.from(value.data.buffer, value.data.byteOffset, value.data.length);
				// An empty chunk would end nothing and wake nobody.
				if (data.length > 0 && !this.push(data)) {
					this.#isReading = false;
					return;
				}
			}
			this.push(null);
		} catch (error) {
			this.destroy(error instanceof Error ? error : new Error(String(error)));
		}
	}
}
