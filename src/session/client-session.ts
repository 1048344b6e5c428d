// A build's session whose client is at the other end of a connection: what the client lends comes through
// gRPC calls on it.
import { Code, RpcError, type Method, type RequestOf, type ResponseOf } from '../grpc/index.js';
import { Caller } from './caller.js';
import { remoteStore } from './content-store.js';
import { exportReceiver } from './export-receiver.js';
import type { Transfers } from './files/transfers.js';
import { AuthDefinition } from './gen/auth.js';
import { ExporterDefinition, type ExporterRequest } from './gen/exporter.js';
import { SecretsDefinition } from './gen/secrets.js';
import { SSHDefinition } from './gen/ssh.js';
import { UploadDefinition } from './gen/upload.js';
import type { BuildSession, ContentStore, ExportReceiver, LocalDirectory, LocalRequest, RegistryCredentials, RegistryLogin, RegistryToken, RegistryTokenRequest, SshSocket, SshSocketOptions } from './index.js';
import { relayAgent } from './ssh-agent.js';
import { authPatience, type TokenPool } from './tokens.js';
import { Tunnel } from './tunnel.js';

/** Secrets are small by nature; BuildKit refuses more than this as well. */
const maxSecretBytes = 500 * 1024;

export interface ClientSessionOptions {
	/** Undefined for a build without a session. */
	readonly caller: Caller | undefined;
	readonly find: (id: string) => Promise<Caller>;
	readonly transfers: Transfers;
	readonly tokens: TokenPool;
	/** The build's. */
	readonly signal: AbortSignal;
}

export class ClientSession implements BuildSession {
	readonly #releases: (() => void)[] = [];
	/** A client without credentials, and a build without a client, are anonymous: this host's own are not theirs. */
	readonly credentials: RegistryLogin = Object.assign(
		(host: string) => this.#credentialsFor(host),
		{ token: (request: RegistryTokenRequest) => this.#tokenFor(request) },
	);

	constructor(private readonly options: ClientSessionOptions) {}

	async localDirectory(name: string, wanted: LocalRequest, onTransfer: (bytes: number) => void = () => undefined): Promise<LocalDirectory> {
		const { transfers, signal } = this.options;
		const caller = await this.#callerOf(wanted.sessionId);
		const { directory, release } = await transfers.receive(caller, name, wanted, { signal, onTransfer });
		this.#releases.push(release);
		return directory;
	}

	async secret(id: string): Promise<Uint8Array | undefined> {
		const { caller, signal } = this.options;
		if (!caller?.has(SecretsDefinition, SecretsDefinition.methods.getSecret)) return undefined;
		try {
			const { data } = await caller.unary(SecretsDefinition, SecretsDefinition.methods.getSecret, { ID: id, annotations: new Map() }, { signal });
			if (data.length > maxSecretBytes) throw new Error(`invalid secret size ${data.length}: secret ${id} may have up to ${maxSecretBytes} bytes`);
			return data;
		} catch (error) {
			if (error instanceof RpcError && (error.code === Code.NOT_FOUND || error.code === Code.UNIMPLEMENTED)) return undefined;
			throw error;
		}
	}

	async sshAgent(id: string, options: SshSocketOptions): Promise<SshSocket | undefined> {
		const { caller, signal } = this.options;
		if (!caller?.has(SSHDefinition, SSHDefinition.methods.checkAgent)) return undefined;
		await caller.unary(SSHDefinition, SSHDefinition.methods.checkAgent, { ID: id }, { signal });
		return relayAgent(() => {
			const call = caller.call(SSHDefinition, SSHDefinition.methods.forwardAgent, { signal, metadata: { 'buildkit.ssh.id': id || 'default' } });
			const tunnel = new Tunnel(call, (message) => call.send(message), () => { call.end(); });
			tunnel.once('close', () => { call.cancel(); });
			return tunnel;
		}, options);
	}

	async contentStore(id: string): Promise<ContentStore> {
		return remoteStore(await this.#callerOf(undefined), id);
	}

	async upload(path: string): Promise<AsyncIterable<Uint8Array>> {
		const { signal } = this.options;
		const caller = await this.#callerOf(undefined);
		const call = caller.call(UploadDefinition, UploadDefinition.methods.pull, { signal, metadata: { urlpath: `/${path.replace(/^\//, '')}` } });
		return (async function* bytes() {
			try {
				for await (const { data } of call) yield data;
			} finally {
				call.cancel();
			}
		})();
	}

	/** The client's end of its `index`-th exporter. */
	exportReceiver(index: number): ExportReceiver | undefined {
		const { caller } = this.options;
		return caller && exportReceiver(caller, index);
	}

	/** Exporters the client wants beside those of its request, now that there is a result. `refs`: what the bridge calls it. */
	async findExporters(metadata: ReadonlyMap<string, Uint8Array>, refs: readonly string[]): Promise<readonly ExporterRequest[]> {
		const found = await this.#exporterCall(ExporterDefinition.methods.findExporters, { metadata: new Map(metadata), refs: [...refs] });
		return found?.exporters ?? [];
	}

	/** Tells the client what its exporters said. Throws when it is not content. */
	async finalizeExport(response: ReadonlyMap<string, string>): Promise<void> {
		await this.#exporterCall(ExporterDefinition.methods.finalizeExport, { exporterResponse: new Map(response) });
	}

	/** Undefined where the client does not serve it. */
	async #exporterCall<M extends object>(method: M & Method<RequestOf<M>, ResponseOf<M>>, request: RequestOf<M>): Promise<ResponseOf<M> | undefined> {
		const { caller, signal } = this.options;
		if (!caller?.has(ExporterDefinition, method)) return undefined;
		try {
			return await caller.unary<M>(ExporterDefinition, method, request, { signal });
		} catch (error) {
			if (error instanceof RpcError && (error.code === Code.UNIMPLEMENTED || error.code === Code.UNAVAILABLE)) return undefined;
			throw error;
		}
	}

	/** The build has ended: its directories are free for the next one. Idempotent. */
	close(): void {
		for (const release of this.#releases.splice(0)) release();
	}

	async #credentialsFor(Host: string): Promise<RegistryCredentials | undefined> {
		const { caller, signal } = this.options;
		if (!caller?.has(AuthDefinition, AuthDefinition.methods.credentials)) return undefined;
		const { Username, Secret } = await caller.unary(AuthDefinition, AuthDefinition.methods.credentials, { Host }, { signal, timeout: authPatience });
		return Secret === '' ? undefined : { username: Username, secret: Secret };
	}

	async #tokenFor(request: RegistryTokenRequest): Promise<RegistryToken | undefined> {
		const { caller, tokens, signal } = this.options;
		return caller && tokens.token(caller, request, signal);
	}

	/** The session a source names, while it is there; else the build's own. */
	async #callerOf(id: string | undefined): Promise<Caller> {
		const { caller, find } = this.options;
		if (id !== undefined && id !== '' && id.replace(/^[^:]*:/, '') !== caller?.id) {
			const other = await find(id).catch(() => undefined);
			if (other) return other;
		}
		if (!caller) throw new Error('no active sessions');
		return caller;
	}
}
