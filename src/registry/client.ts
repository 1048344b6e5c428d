// The client: one for a process, with its connections, tokens and configuration. Hands out repositories.
import { formatReference, parseReference, withDefaultTag, type Descriptor, type ImageReference } from '../image/index.js';
import { dockerCredentials, type CredentialProvider } from './credentials.js';
import { Endpoint } from './endpoint.js';
import { hostsFor, type HostConfigs, type HostTarget } from './hosts.js';
import type { ProxyEnvironment } from './proxy.js';
import { Repository } from './repository.js';
import { resolveImage, type ResolvedImage, type ResolveOptions } from './resolve.js';
import { defaultRetryPolicy, type RetryPolicy } from './retry.js';
import { Transport } from './transport.js';

export type { ContentCache, ResolvedImage, ResolveOptions } from './resolve.js';

export interface RegistryOptions {
	/** By registry domain as in references (`docker.io`, `localhost:5000`), and by mirror host. */
	readonly hosts?: HostConfigs;
	/** Default: Docker's config.json. */
	readonly credentials?: CredentialProvider;
	readonly retry?: Partial<RetryPolicy>;
	readonly userAgent?: string;
	/** Names proxies and certificates (HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE, ...); this process' own by default. */
	readonly environment?: ProxyEnvironment;
}

export interface RepositoryOptions {
	/** Accept http and any certificate for this registry (`registry.insecure=true`, RemoteSource.insecure). */
	readonly insecure?: boolean;
}

export class RegistryClient {
	readonly #transport: Transport;
	readonly #others = new WeakMap<CredentialProvider, RegistryClient>();
	readonly #endpoints = new Map<string, Endpoint>();
	readonly #repositories = new Map<string, Repository>();
	readonly #hosts: HostConfigs;
	readonly #credentials: CredentialProvider;
	readonly #retry: RetryPolicy;
	readonly #userAgent: string;

	/** @param transport of another client, which closes it */
	constructor(private readonly options: RegistryOptions = {}, transport?: Transport) {
		this.#transport = transport ?? new Transport(options.environment);
		this.#hosts = options.hosts ?? {};
		this.#credentials = options.credentials ?? dockerCredentials();
		this.#retry = { ...defaultRetryPolicy, ...options.retry };
		this.#userAgent = options.userAgent ?? 'obd/0.1.0';
	}

	/** The same client for somebody with other credentials, who shares no login with this one; undefined: this one. */
	as(credentials: CredentialProvider | undefined): RegistryClient {
		if (!credentials) return this;
		let other = this.#others.get(credentials);
		if (!other) this.#others.set(credentials, other = new RegistryClient({ ...this.options, credentials }, this.#transport));
		return other;
	}

	/** The repository a reference names (its tag and digest do not matter). */
	repository(reference: string | ImageReference, options: RepositoryOptions = {}): Repository {
		const { domain, path } = typeof reference === 'string' ? parseReference(reference) : reference;
		const insecure = options.insecure === true;
		const key = `${insecure} ${domain}/${path}`;
		let repository = this.#repositories.get(key);
		if (repository === undefined) {
			const endpoints = hostsFor(domain, this.#hosts, insecure).map((target) => this.#endpoint(target));
			repository = new Repository(domain, path, endpoints, this.#retry);
			this.#repositories.set(key, repository);
		}
		return repository;
	}

	#endpoint(target: HostTarget): Endpoint {
		const key = JSON.stringify(target);
		let endpoint = this.#endpoints.get(key);
		if (endpoint === undefined) {
			endpoint = new Endpoint(target, this.#transport, this.#credentials, this.#userAgent);
			this.#endpoints.set(key, endpoint);
		}
		return endpoint;
	}

	/**
	 * What a reference names now: a HEAD request, or nothing to ask when it has a digest and `options.known`
	 * says what that is. Errors read `docker.io/library/foo:tag: not found`, `pull access denied, ...`.
	 */
	async head(reference: string, options: RepositoryOptions & { readonly signal?: AbortSignal } = {}): Promise<Descriptor> {
		const ref = withDefaultTag(parseReference(reference));
		return this.repository(ref, options).head(ref.digest ?? ref.tag ?? 'latest', formatReference(ref), options.signal);
	}

	/** The image a reference names, for one platform: manifest and config, verified. */
	async resolve(reference: string, options: RepositoryOptions & ResolveOptions = {}): Promise<ResolvedImage> {
		const ref = withDefaultTag(parseReference(reference));
		const repository = this.repository(ref, options);
		const known = options.known ?? await repository.head(ref.digest ?? ref.tag ?? 'latest', formatReference(ref), options.signal);
		return resolveImage(repository, ref, { ...options, known });
	}

	/** Closes the connections; requests under way fail. */
	close(): void {
		this.#transport.close();
	}
}

