// Messages over a stream, one JSON text a line.
import type { Socket } from 'node:net';
import type { Message } from './protocol.js';

export class Channel {
	#rest = '';

	/** `onMessage` gets each message; `onClose` is called once, when the other side is gone. */
	constructor(private readonly socket: Socket, onMessage: (message: Message) => void, onClose: () => void) {
		socket.setEncoding('utf8');
		socket.on('data', (text: string) => {
			const lines = (this.#rest + text).split('\n');
			this.#rest = lines.pop() ?? '';
			for (const line of lines) onMessage(JSON.parse(line) as Message);
		});
		socket.on('error', () => undefined); // 'close' follows
		socket.once('close', onClose);
	}

	send(message: Message): void {
		if (this.socket.writable) this.socket.write(`${JSON.stringify(message)}\n`);
	}
}
