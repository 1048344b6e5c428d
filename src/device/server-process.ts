// One device server process, as the builder holds it: started, spoken to, and its end noticed.
import { spawn, type ChildProcess } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Channel } from './channel.js';
import type { Message, ServerConfig } from './protocol.js';

/** The program. Its argument is its ServerConfig, as JSON. */
export const serverMain = 'server-main.js';

/** Bytes of the server's stderr kept for the message when it dies. */
const stderrTail = 4096;

export class ServerProcess {
	/** Settles when the process has ended. */
	readonly ended: Promise<void>;
	readonly #child: ChildProcess;
	readonly #socket: Socket;
	readonly #channel: Channel;
	#stderr = '';

	/** It keeps `lock`, a descriptor, open to its end. `onEnd` is called once, with how it ended: a phrase that goes on from "the device server ". */
	constructor(config: ServerConfig, lock: number, onMessage: (message: Message) => void, onEnd: (how: string) => void) {
		const main = fileURLToPath(new URL(`./${serverMain}`, import.meta.url));
		// A session of its own: signals of the terminal reach the builder alone.
		this.#child = spawn(process.execPath, [main, JSON.stringify(config)], { detached: true, stdio: ['ignore', 'ignore', 'pipe', 'pipe', lock], cwd: '/' });
		this.#socket = this.#child.stdio[3] as Socket;
		this.#channel = new Channel(this.#socket, onMessage, () => undefined);
		this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
			this.#stderr = (this.#stderr + text).slice(-stderrTail);
		});
		this.ended = new Promise((resolve) => {
			const end = (how: string): void => {
				const detail = this.#stderr.trim();
				onEnd(detail === '' ? how : `${how}:\n${detail}`);
				resolve();
			};
			this.#child.once('error', (error) => end(`could not be started: ${error.message}`));
			this.#child.once('close', (code, signal) => end(signal ? `was killed by ${signal}` : `ended with code ${code}`));
		});
	}

	get pid(): number | undefined {
		return this.#child.pid;
	}

	send(message: Message): void {
		this.#channel.send(message);
	}

	/** The server ends when there is nobody to speak to. */
	hangUp(): void {
		this.#socket.end();
	}

	kill(): void {
		this.#child.kill('SIGKILL');
	}

	/** Whether this process stays alive for the server's sake. */
	ref(wanted: boolean): void {
		const stderr = this.#child.stderr as Socket | null;
		for (const handle of [this.#child, this.#socket, stderr]) {
			if (wanted) handle?.ref();
			else handle?.unref();
		}
	}
}
