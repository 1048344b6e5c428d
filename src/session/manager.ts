// The sessions of a daemon's clients, by id.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Duplex } from 'node:stream';
import { HealthCheckRequest, HealthDefinition, Registry, RpcClient, type Metadata } from '../grpc/index.js';
import { Caller } from './caller.js';
import { ClientSession } from './client-session.js';
import { Transfers } from './files/transfers.js';
import { TokenPool } from './tokens.js';

const header = {
	id: 'x-docker-expose-session-uuid',
	sharedKey: 'x-docker-expose-session-sharedkey',
	method: 'x-docker-expose-session-grpc-method',
	healthTimeout: 'x-buildkit-session-health-custom-timeout',
} as const;

/** How long a build waits for its client's session. */
const sessionPatience = 5000;

/** How a client is watched; milliseconds. */
interface HealthCheck {
	readonly interval: number;
	readonly timeout: number;
	readonly maxFailures: number;
}

const defaultHealthCheck: HealthCheck = { interval: 5000, timeout: 15_000, maxFailures: 2 };
const minHealthTimeout = 1000;

export class SessionManager {
	readonly #callers = new Registry<Caller>();
	readonly #transfers: Transfers;
	readonly #tokens = new TokenPool();

	/** `transferDir`: what clients have sent is kept there, for the next build. */
	constructor(transferDir: string) {
		this.#transfers = new Transfers(transferDir);
	}

	/** Serves one session: `duplex` is the tunnel to the client. Resolves when it has ended. */
	async serve(metadata: Metadata, duplex: Duplex, signal: AbortSignal): Promise<void> {
		const id = metadata.get(header.id);
		if (id === undefined || id === '') throw new Error(`a session without an id (${header.id})`);
		const client = new RpcClient(duplex);
		const stop = (): void => { client.close(); };
		signal.addEventListener('abort', stop, { once: true });
		try {
			const methods = new Set(metadata.all(header.method).map((method) => method.toLowerCase()));
			const remove = this.#callers.add(id, new Caller({ id, sharedKey: metadata.get(header.sharedKey) ?? '', methods, client }));
			try {
				await Promise.race([client.closed, watchHealth(client, healthCheck(metadata.get(header.healthTimeout)))]);
			} finally {
				remove();
			}
		} finally {
			signal.removeEventListener('abort', stop);
			client.close();
		}
	}

	/** What a build's client lends it: the session of that id, or nothing where the id is ''. Close it with the build. */
	async forBuild(id: string, signal: AbortSignal): Promise<ClientSession> {
		const caller = id === '' ? undefined : await this.get(id, signal);
		return new ClientSession({ caller, find: (other) => this.get(other, signal), transfers: this.#transfers, tokens: this.#tokens, signal });
	}

	/** The session of that id; waits a moment for it to come. `prefix:id` means the same as `id`. */
	async get(id: string, signal: AbortSignal): Promise<Caller> {
		const name = id.slice(id.indexOf(':') + 1) || id;
		const caller = await this.#callers.wait(name, signal, sessionPatience);
		if (!caller) throw new Error(`no active session for ${name}: ${signal.aborted ? 'context canceled' : 'context deadline exceeded'}`);
		return caller;
	}
}

/** A client that names a timeout of its own is given up at the first one. */
function healthCheck(custom: string | undefined): HealthCheck {
	if (custom === undefined || !/^[1-9][0-9]{0,8}$/.test(custom)) return defaultHealthCheck;
	const timeout = Math.max(Number(custom), minHealthTimeout);
	return { interval: timeout, timeout, maxFailures: 1 };
}

/** Resolves when the client does not answer any more. */
async function watchHealth(client: RpcClient, { interval, timeout, maxFailures }: HealthCheck): Promise<void> {
	for (let failures = 0; failures < maxFailures;) {
		await sleep(interval, undefined, { ref: false });
		if (client.isClosed) return;
		try {
			await client.unary(HealthDefinition.fullName, HealthDefinition.methods.check, HealthCheckRequest.create(), { timeout });
			failures = 0;
		} catch {
			failures++;
		}
	}
}
