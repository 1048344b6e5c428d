// Connections, kept and used again: one pool for http, one for each TLS configuration, through a proxy where
// the environment names one.
import { readFileSync } from 'node:fs';
import http, { type OutgoingHttpHeaders } from 'node:http';
import type https from 'node:https';
import type { ClientHttp2Session } from 'node:http2';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { HostConfig } from './hosts.js';
import { Http2Hosts } from './http2.js';
import { proxyFor, proxyHeaders, type ProxyEnvironment } from './proxy.js';

/** How to send a request for a URL: options for http(s).request that the URL itself does not say. */
export interface Route {
	readonly client: typeof http | typeof https;
	readonly agent: http.Agent;
	/** Where to connect to and what to ask for, when that is a proxy. */
	readonly overrides: { readonly hostname?: string; readonly port?: string; readonly path?: string };
	readonly headers: OutgoingHttpHeaders;
	/** The authorities this system trusts are trusted too. */
	readonly trustsSystem: boolean;
	/** The HTTP/2 connection to the host, where it offers one; for requests without a body. */
	readonly http2?: (timeout: number) => Promise<ClientHttp2Session | undefined>;
}

const poolOptions = {
	keepAlive: true,
	scheduling: 'lifo',
	/** Enough for parallel pulls, pushes and lazy reads, few enough for a small registry. */
	maxSockets: 24,
} as const;

/** Where systems keep the certificates they trust, the first that is there (as Go looks for them). */
const systemCertificates = [
	'/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt', '/etc/ssl/ca-bundle.pem',
	'/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem', '/etc/ssl/cert.pem',
];

export class Agents {
	readonly #http = new http.Agent(poolOptions);
	readonly #https = new Map<string, Promise<HttpsPool>>();
	readonly #http2 = new Http2Hosts();
	#systemRoots: string | undefined;

	constructor(private readonly environment: ProxyEnvironment) {}

	async route(url: URL, tls: HostConfig): Promise<Route> {
		const proxy = proxyFor(url, this.environment);
		const trustsSystem = this.#systemRoots !== undefined;
		if (url.protocol === 'https:') {
			const { agent, options, spare, key } = await this.#httpsAgent(tls, proxy);
			const http2 = async (timeout: number): Promise<ClientHttp2Session | undefined> => {
				const connection = await this.#http2.connection(url, key, options, timeout);
				if (connection.session === undefined && connection.socket) spare(url, connection.socket);
				return connection.session;
			};
			return { client: (await import('node:https')).default, agent, overrides: {}, headers: {}, trustsSystem, ...(proxy === undefined && { http2 }) };
		}
		if (proxy === undefined) return { client: http, agent: this.#http, overrides: {}, headers: {}, trustsSystem };
		return {
			client: http, agent: this.#http, trustsSystem,
			overrides: { hostname: proxy.hostname, port: proxy.port === '' ? '80' : proxy.port, path: url.href },
			headers: { host: url.host, ...proxyHeaders(proxy) },
		};
	}

	/**
	 * Trusts what this system trusts, beside the authorities that come with Node, for connections made from now
	 * on. Costs tens of milliseconds, so only when a certificate was refused. False when it trusts nobody.
	 */
	trustSystem(): boolean {
		this.#systemRoots ??= readSystemRoots(this.environment['SSL_CERT_FILE']);
		return this.#systemRoots !== '';
	}

	#httpsAgent(tls: HostConfig, proxy: URL | undefined): Promise<HttpsPool> {
		const key = JSON.stringify([tls.insecure === true, tls.ca ?? [], tls.keyPairs ?? [], proxy?.href ?? '', this.#systemRoots !== undefined]);
		let agent = this.#https.get(key);
		if (agent === undefined) {
			agent = makeHttpsPool(key, tls, proxy, this.#systemRoots ?? '');
			this.#https.set(key, agent);
			// A certificate file that cannot be read now may be there the next time.
			agent.catch(() => this.#https.delete(key));
		}
		return agent;
	}

	/** Closes all connections; requests under way fail. */
	close(): void {
		this.#http.destroy();
		for (const agent of this.#https.values()) void agent.then((made) => { made.agent.destroy(); }, () => {});
		this.#http2.close();
	}
}

/** Connections of one TLS configuration. */
interface HttpsPool {
	readonly key: string;
	readonly agent: https.Agent;
	readonly options: https.AgentOptions;
	/** Takes a new connection to a host, for its next request. */
	spare(url: URL, socket: TLSSocket): void;
}

async function makeHttpsPool(key: string, tls: HostConfig, proxy: URL | undefined, systemRoots: string): Promise<HttpsPool> {
	const { Agent } = await import('node:https');
	const options = { ...poolOptions, ...await tlsOptions(tls, systemRoots) };
	if (proxy !== undefined) return { key, options, agent: await tunnelAgent(Agent, options, proxy), spare: (_, socket) => { socket.destroy(); } };
	const spares = new Map<string, TLSSocket>();
	class SparingAgent extends Agent {
		override createConnection(target: https.RequestOptions, done: (error: Error | null, stream: Duplex) => void): Duplex | null | undefined {
			const address = `${target.host}:${target.port}`;
			const socket = spares.get(address);
			spares.delete(address);
			if (socket === undefined || socket.destroyed) return super.createConnection(target, done);
			return socket;
		}
	}
	const spare = (url: URL, socket: TLSSocket): void => {
		const address = `${url.hostname.replace(/^\[|\]$/g, '')}:${url.port === '' ? 443 : url.port}`;
		spares.set(address, socket);
		socket.on('error', () => undefined);
		socket.once('close', () => { if (spares.get(address) === socket) spares.delete(address); });
	};
	return { key, options, agent: new SparingAgent(options), spare };
}

async function tlsOptions(config: HostConfig, systemRoots: string): Promise<https.AgentOptions> {
	const { rootCertificates } = await import('node:tls');
	const pairs = config.keyPairs ?? [];
	const extra = [...(config.ca ?? []).map(readPem), ...(systemRoots === '' ? [] : [systemRoots])];
	return {
		...(config.insecure === true && { rejectUnauthorized: false }),
		...(extra.length > 0 && { ca: [...extra, ...rootCertificates] }),
		...(pairs.length > 0 && { cert: pairs.map((pair) => readPem(pair.certificate)), key: pairs.map((pair) => readPem(pair.key)) }),
	};
}

function readPem(file: string): string {
	return readFileSync(file, 'utf8');
}

function readSystemRoots(named: string | undefined): string {
	for (const file of named === undefined || named === '' ? systemCertificates : [named]) {
		try {
			return readPem(file);
		} catch {
			// Another system keeps them elsewhere; without any, Node's own have to do.
		}
	}
	return '';
}

/** An agent whose connections are tunnels through an http proxy (CONNECT). */
async function tunnelAgent(Agent: typeof https.Agent, options: https.AgentOptions, proxy: URL): Promise<https.Agent> {
	const { connect } = await import('node:tls');
	class TunnelAgent extends Agent {
		override createConnection(target: https.RequestOptions, done: (error: Error | null, stream: Duplex) => void): undefined {
			const address = `${target.host}:${target.port}`;
			const fail = (problem: string) => done(new Error(`proxy ${proxy.host}, asked for ${address}: ${problem}`), undefined as never);
			const request = http.request({
				host: proxy.hostname, port: proxy.port === '' ? 80 : proxy.port, method: 'CONNECT', path: address,
				headers: { host: address, ...proxyHeaders(proxy) }, agent: false,
			});
			request.once('error', (error) => fail(error.message));
			request.once('connect', (response, socket) => {
				if (response.statusCode === 200) return done(null, connect({ ...options, servername: target.host ?? '', socket } as never));
				socket.destroy();
				return fail(`${response.statusCode} ${response.statusMessage}`);
			});
			request.end();
			return undefined;
		}
	}
	return new TunnelAgent(options);
}
