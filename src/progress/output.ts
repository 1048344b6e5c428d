// A file descriptor that is written to without ever waiting: a terminal that was stopped with Ctrl-S or a
// pipe whose reader is slow must not stop the build. Node's own stderr blocks in these cases.
import { constants, fstatSync, openSync, writeSync, type Stats } from 'node:fs';
import { Socket } from 'node:net';

export interface Output {
	write(data: string | Uint8Array): void;
	/** Bytes accepted but not written yet. */
	readonly pending: number;
	/** Resolves when everything is written, or nobody reads any more. */
	flush(): Promise<void>;
}

/** Milliseconds between attempts while the reader is behind. */
const retryInterval = 20;

/**
 * Output to an open descriptor. What cannot be written at once is kept in memory; when the reader has gone
 * (EPIPE) everything is dropped silently.
 */
export function openOutput(fd: number): Output {
	const stats = statsOf(fd);
	if (stats?.isSocket()) return new SocketOutput(fd);
	const mayWait = stats !== undefined && (stats.isFIFO() || stats.isCharacterDevice());
	return new DescriptorOutput(mayWait ? nonBlocking(fd) : fd);
}

function statsOf(fd: number): Stats | undefined {
	try {
		return fstatSync(fd);
	} catch {
		return undefined;
	}
}

/** A descriptor of our own for the same pipe or terminal: O_NONBLOCK on the inherited one would hit others. */
function nonBlocking(fd: number): number {
	try {
		return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
	} catch {
		return fd;
	}
}

/** A socket cannot be opened again, but Node's own streams do not wait for sockets. */
class SocketOutput implements Output {
	readonly #socket: Socket;

	constructor(fd: number) {
		this.#socket = new Socket({ fd, readable: false, writable: true });
		this.#socket.on('error', () => { this.#socket.destroy(); });
	}

	get pending(): number {
		return this.#socket.destroyed ? 0 : this.#socket.writableLength;
	}

	write(data: string | Uint8Array): void {
		if (!this.#socket.destroyed && data.length > 0) this.#socket.write(data);
	}

	flush(): Promise<void> {
		if (this.pending === 0) return Promise.resolve();
		return new Promise((resolve) => {
			this.#socket.once('close', resolve);
			this.#socket.write('', () => { resolve(); });
		});
	}
}

class DescriptorOutput implements Output {
	#queue: Uint8Array[] = [];
	#pending = 0;
	#isBroken = false;
	#timer: NodeJS.Timeout | undefined;
	#waiting: (() => void)[] = [];

	constructor(private readonly fd: number) {}

	get pending(): number {
		return this.#pending;
	}

	write(data: string | Uint8Array): void {
		if (this.#isBroken || data.length === 0) return;
		const bytes = typeof data === 'string' ? Buffer.from(data) : data;
		this.#queue.push(bytes);
		this.#pending += bytes.length;
		if (!this.#timer) this.#drain();
	}

	flush(): Promise<void> {
		if (this.#pending === 0) return Promise.resolve();
		return new Promise((resolve) => this.#waiting.push(resolve));
	}

	#drain(): void {
		this.#timer = undefined;
		try {
			while (this.#queue.length > 0) this.#writeSome();
		} catch (error) {
			const { code } = error as NodeJS.ErrnoException;
			if (code === 'EAGAIN') {
				this.#timer = setTimeout(() => { this.#drain(); }, retryInterval);
				return;
			}
			// Nobody reads, or the descriptor is closed: there is no one left to tell.
			this.#isBroken = true;
			this.#queue = [];
			this.#pending = 0;
		}
		for (const resolve of this.#waiting.splice(0)) resolve();
	}

	#writeSome(): void {
		const chunk = this.#queue.length === 1 ? this.#queue[0] : Buffer.concat(this.#queue);
		if (!chunk) return;
		this.#queue = [chunk];
		const written = writeSync(this.fd, chunk);
		this.#pending -= written;
		this.#queue = written === chunk.length ? [] : [chunk.subarray(written)];
	}
}
