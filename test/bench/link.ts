// A network link between a client and a TCP server on this machine: latency, and a rate that all connections
// share.
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Link {
	/** `127.0.0.1:PORT`. */
	readonly host: string;
	close(): Promise<void>;
}

const maxQueued = 256 * 1024;

async function until(time: number): Promise<void> {
	const left = time - performance.now();
	if (left > 0) await sleep(left);
}

/** `roundTrip`: milliseconds; `rate`: bytes a second towards the client. */
export async function startLink(upstream: string, { roundTrip, rate }: { readonly roundTrip: number; readonly rate: number }): Promise<Link> {
	const [host, port] = upstream.split(':');
	const sockets = new Set<net.Socket>();
	let free = 0;
	const server = net.createServer({ noDelay: true }, (client) => {
		const registry = net.connect({ port: Number(port), host: host ?? '', noDelay: true });
		let queued = 0;
		for (const socket of [client, registry]) {
			sockets.add(socket);
			socket.on('error', () => undefined).on('close', () => {
				sockets.delete(socket);
				client.destroy();
				registry.destroy();
			});
		}
		// One after the other: timers of different lengths do not keep the order.
		let [up, down] = [Promise.resolve(), Promise.resolve()];
		client.on('data', (data: Buffer) => {
			const due = performance.now() + roundTrip / 2;
			up = up.then(() => until(due)).then(() => void registry.write(data));
		});
		registry.on('data', (data: Buffer) => {
			const now = performance.now();
			free = Math.max(free, now) + (data.length / rate) * 1000;
			queued += data.length;
			if (queued > maxQueued) registry.pause();
			const due = free + roundTrip / 2;
			down = down.then(() => until(due)).then(() => {
				queued -= data.length;
				if (queued <= maxQueued) registry.resume();
				client.write(data);
			});
		});
	});
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
	return {
		host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
		close: () => new Promise((resolve) => {
			server.close(() => { resolve(); });
			for (const socket of sockets) socket.destroy();
		}),
	};
}
