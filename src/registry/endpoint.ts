// One registry host: finds its scheme, logs in when asked, follows redirects. An answer of any status comes
// back to the caller, who knows what it means.
import type { OutgoingHttpHeaders } from 'node:http';
import { Authorizer } from './auth.js';
import type { CredentialProvider } from './credentials.js';
import { asked, isRegistryError, RegistryError } from './errors.js';
import type { HostTarget, Scheme } from './hosts.js';
import { discardBody, readBody, type HttpRequest, type HttpResponse, type RequestBody, type Transport } from './transport.js';

export interface EndpointRequest {
	readonly method: string;
	/** A path below the host (`/v2/...`), or a whole URL the host gave us (an upload's location). */
	readonly target: string | URL;
	readonly headers?: OutgoingHttpHeaders;
	readonly body?: RequestBody;
	/** What the request needs a token for. */
	readonly scopes: readonly string[];
	readonly signal?: AbortSignal;
	readonly idleTimeout?: number;
	readonly onSent?: (bytes: number) => void;
}

const maxRedirects = 10;
const maxProbeBody = 4096;

export class Endpoint {
	readonly host: string;
	readonly #authorizer: Authorizer;
	#scheme: Scheme | undefined;

	constructor(readonly config: HostTarget, private readonly transport: Transport, credentials: CredentialProvider, private readonly userAgent: string) {
		this.host = config.host;
		this.#authorizer = new Authorizer(config.host, transport, credentials, config.config);
	}

	/** Sends the request; logs in and sends it again when the host asks for it. */
	async exchange(request: EndpointRequest): Promise<HttpResponse> {
		const authorization = await this.#authorizer.header(request.scopes, request.signal);
		const response = await this.#sendAnyScheme(request, authorization);
		if (response.status !== 401 || !this.#isOwn(response.url)) return response;
		const better = await this.#authorizer.answer(response, request.scopes, authorization, request.signal);
		if (better === undefined) return response;
		await discardBody(response);
		return this.#sendAnyScheme(request, better);
	}

	/** Fetches a URL that a redirect of this host led to before; without login. */
	async exchangeDirect(url: URL, headers: OutgoingHttpHeaders, signal?: AbortSignal): Promise<HttpResponse> {
		return this.#follow({ method: 'GET', target: url, headers, scopes: [], ...(signal && { signal }) }, url, undefined);
	}

	async #sendAnyScheme(request: EndpointRequest, authorization: string | undefined): Promise<HttpResponse> {
		const { target } = request;
		if (target instanceof URL) return this.#follow(request, target, authorization);
		const [first, second] = this.#scheme === undefined ? this.config.schemes : [this.#scheme];
		const attempt = (scheme: Scheme) => this.#follow(request, new URL(target, `${scheme}://${this.host}`), authorization);
		let firstError: unknown;
		try {
			const response = await attempt(first);
			if (second === undefined || first === 'https' || !await this.#speaksTls(response, request.signal)) {
				this.#scheme = first;
				return response;
			}
		} catch (error) {
			if (second === undefined || !this.#mayBeWrongScheme(error)) throw error;
			firstError = error;
		}
		try {
			const response = await attempt(second);
			this.#scheme = second;
			return response;
		} catch (error) {
			// Neither: then the first error is the one that tells what is wrong.
			throw firstError !== undefined && this.#mayBeWrongScheme(error) ? firstError : error;
		}
	}

	/** A TLS port answers plain http with 400; Go's servers say why, but not to a HEAD. */
	async #speaksTls(response: HttpResponse, signal: AbortSignal | undefined): Promise<boolean> {
		if (response.status !== 400 || response.headers['docker-distribution-api-version'] !== undefined) return false;
		const probe = await this.transport.send({ method: 'GET', url: new URL('/v2/', response.url), headers: {}, ...(signal && { signal }) });
		const text = (await readBody(probe, maxProbeBody).catch(() => Buffer.alloc(0))).toString('latin1');
		const tls = probe.status === 400 && /HTTP request (was sent )?to (an )?HTTPS/i.test(text);
		if (tls) await discardBody(response);
		return tls;
	}

	async #follow(request: EndpointRequest, start: URL, authorization: string | undefined): Promise<HttpResponse> {
		let url = start;
		for (let redirects = 0; ; redirects++) {
			const response = await this.transport.send(this.#httpRequest(request, url, authorization));
			const { location } = response.headers;
			if (![301, 302, 303, 307, 308].includes(response.status) || location === undefined || !isRepeatable(request, response.status)) return response;
			await discardBody(response);
			if (redirects === maxRedirects || !URL.canParse(location, url.href)) {
				const problem = redirects === maxRedirects ? `stopped after ${maxRedirects} redirects` : 'redirected to an invalid location';
				throw new RegistryError(`${request.method} ${start.origin}${start.pathname}: ${problem}`, { ...asked(request.method, start), kind: 'protocol' });
			}
			url = new URL(location, url);
		}
	}

	#httpRequest(request: EndpointRequest, url: URL, authorization: string | undefined): HttpRequest {
		const own = this.#isOwn(url);
		const { body, signal, idleTimeout, onSent } = request;
		return {
			method: request.method, url,
			headers: { ...request.headers, 'user-agent': this.userAgent, ...(own && authorization !== undefined && { authorization }) },
			tls: own ? this.config.config : {},
			...(body && { body }), ...(signal && { signal }), ...(idleTimeout !== undefined && { idleTimeout }), ...(onSent && { onSent }),
		};
	}

	/** Secrets go to this host only, and not over a worse scheme than we would use ourselves. */
	#isOwn(url: URL): boolean {
		const scheme = url.protocol.slice(0, -1) as Scheme;
		return url.host === new URL(`${scheme}://${this.host}`).host && this.config.schemes.includes(scheme);
	}

	#mayBeWrongScheme(error: unknown): boolean {
		if (!isRegistryError(error, 'network')) return false;
		const code = (error.cause as NodeJS.ErrnoException | undefined)?.code ?? '';
		const noPort = !/:[0-9]+$/.test(this.host);
		return /^(EPROTO|HPE_|ERR_SSL_|ECONNRESET)/.test(code) || (noPort && code === 'ECONNREFUSED');
	}
}

/** Requests that may be sent to another place by a redirect. */
function isRepeatable(request: EndpointRequest, status: number): boolean {
	if (request.method === 'GET' || request.method === 'HEAD') return true;
	return (status === 307 || status === 308) && (request.body === undefined || request.body instanceof Uint8Array);
}
