// Logging in to one registry host: nothing until it asks, then basic, or bearer tokens from its token
// server, one for each scope, renewed before they end.
import { parseChallenges, type Challenge } from './challenge.js';
import type { CredentialProvider, Credentials, Token } from './credentials.js';
import { asked, isRegistryError, RegistryError } from './errors.js';
import { normalizeScopes } from './scopes.js';
import { untilAborted } from './signals.js';
import { readBody, unexpectedStatus, type HttpRequest, type HttpResponse, type Transport } from './transport.js';
import type { HostConfig } from './hosts.js';

const clientId = 'obd';
const maxTokenAnswer = 1024 * 1024;
/** Seconds a token lives when its server does not say (token authentication spec). */
const defaultLifetime = 60;
/** Share of a token's life after which it is renewed: clocks differ and requests take time. */
const usableShare = 0.8;

export class Authorizer {
	#challenge: Challenge | undefined;
	#credentials: Promise<Credentials | undefined> | undefined;
	readonly #tokens = new Map<string, Promise<Token>>();
	/** What the host really wants for requests with some scopes, where it told. */
	readonly #wanted = new Map<string, string>();
	/** The last token for some scopes that was not good enough. */
	readonly #refused = new Map<string, string>();

	constructor(
		private readonly host: string, private readonly transport: Transport,
		private readonly provider: CredentialProvider, private readonly tls: HostConfig,
	) {}

	/** The Authorization header for a request with these scopes; undefined as long as the host never asked. */
	async header(scopes: readonly string[], signal?: AbortSignal): Promise<string | undefined> {
		if (this.#challenge === undefined) return undefined;
		if (this.#challenge.scheme === 'bearer') return `Bearer ${await untilAborted(this.#token(this.#challenge, scopes), signal)}`;
		const credentials = await untilAborted(this.#lookUp(), signal);
		return credentials === undefined ? undefined : basic(credentials);
	}

	/**
	 * Takes in a 401 to a request sent with `used`. Returns the header to try again with, undefined when there is
	 * none that could do better.
	 */
	async answer(response: HttpResponse, scopes: readonly string[], used: string | undefined, signal?: AbortSignal): Promise<string | undefined> {
		const header = response.headers['www-authenticate'];
		const challenge = await untilAborted(this.#choose(parseChallenges(header)), signal);
		if (challenge === undefined) return undefined;
		this.#challenge = challenge;
		if (challenge.scheme === 'bearer') await this.#refuse(challenge, scopes, used);
		const next = await this.header(scopes, signal);
		return next === used ? undefined : next;
	}

	/** Forgets the token that was not good enough, unless it was replaced meanwhile, and learns what is wanted. */
	async #refuse(challenge: Challenge, scopes: readonly string[], used: string | undefined): Promise<void> {
		const key = this.#key(scopes);
		const token = await this.#tokens.get(key)?.catch(() => undefined);
		if (token !== undefined && used === `Bearer ${token.value}`) {
			this.#tokens.delete(key);
			this.#refused.set(key, token.value);
		}
		this.#wanted.set(scopesKey(scopes), scopesKey([...scopes, challenge.parameters['scope'] ?? '']));
	}

	async #choose(challenges: readonly Challenge[]): Promise<Challenge | undefined> {
		for (const challenge of challenges) {
			if (challenge.scheme === 'bearer' || await this.#lookUp() !== undefined) return challenge;
		}
		return undefined;
	}

	// What follows is shared by all requests that wait for it, so none of them may cancel it; it ends in time by itself.

	#lookUp(): Promise<Credentials | undefined> {
		// One that failed (a helper that was not ready) is asked again.
		this.#credentials ??= this.provider(this.host).catch((error: unknown) => {
			this.#credentials = undefined;
			throw error;
		});
		return this.#credentials;
	}

	#key(scopes: readonly string[]): string {
		const own = scopesKey(scopes);
		return this.#wanted.get(own) ?? own;
	}

	async #token(challenge: Challenge, scopes: readonly string[]): Promise<string> {
		const key = this.#key(scopes);
		const known = this.#tokens.get(key);
		if (known !== undefined) {
			const token = await known;
			if (token.renewAt > Date.now()) return token.value;
			// Somebody else who waited for the same one may have renewed it.
			if (this.#tokens.get(key) === known) this.#tokens.delete(key);
			return this.#token(challenge, scopes);
		}
		const fetched = this.#fetchToken(challenge, key === '' ? [] : key.split(' '));
		this.#tokens.set(key, fetched);
		fetched.catch(() => {
			if (this.#tokens.get(key) === fetched) this.#tokens.delete(key);
		});
		return (await fetched).value;
	}

	async #fetchToken(challenge: Challenge, scopes: readonly string[]): Promise<Token> {
		const realm = this.#realm(challenge);
		const service = challenge.parameters['service'] ?? '';
		const lent = await this.#lentToken(realm, service, scopes);
		if (lent) return lent;
		const credentials = await this.#lookUp();
		if (credentials?.registryToken !== undefined) return { value: credentials.registryToken, renewAt: Infinity };
		try {
			if (credentials === undefined) return await this.#get(realm, service, scopes, undefined);
			if (credentials.username === '') return await this.#post(realm, service, scopes, credentials);
			return await this.#get(realm, service, scopes, credentials).catch((error: unknown) => {
				// Some token servers only know the OAuth2 form.
				if (!isRegistryError(error) || ![401, 404, 405].includes(error.status ?? 0)) throw error;
				return this.#post(realm, service, scopes, credentials).catch(() => {
					throw error;
				});
			});
		} catch (error) {
			if (!isRegistryError(error)) throw error;
			const what = credentials === undefined ? 'failed to fetch anonymous token' : 'failed to fetch oauth token';
			throw error.withMessage(`failed to authorize: ${what}: ${error.message}`);
		}
	}

	/** From somebody who does not show us his credentials. */
	async #lentToken(realm: URL, service: string, scopes: readonly string[]): Promise<Token | undefined> {
		const refused = this.#refused.get(scopes.join(' '));
		try {
			return await this.provider.token?.({ host: this.host, realm: realm.href, service, scopes, ...(refused !== undefined && { refused }) });
		} catch (error) {
			throw new RegistryError(`failed to authorize: ${(error as Error).message}`, { kind: 'unauthorized', registry: this.host, method: 'GET', path: '', cause: error });
		}
	}

	#realm(challenge: Challenge): URL {
		const realm = challenge.parameters['realm'];
		const url = realm !== undefined && URL.canParse(realm) ? new URL(realm) : undefined;
		if (url !== undefined && ['http:', 'https:'].includes(url.protocol)) return url;
		const problem = realm === undefined ? 'no realm specified for token auth challenge' : `invalid token auth challenge realm: ${realm}`;
		throw new RegistryError(`failed to authorize: ${problem}`, { kind: 'protocol', registry: this.host, method: 'GET', path: '' });
	}

	async #get(realm: URL, service: string, scopes: readonly string[], credentials: Credentials | undefined): Promise<Token> {
		const url = new URL(realm);
		if (service !== '') url.searchParams.append('service', service);
		for (const scope of scopes) url.searchParams.append('scope', scope);
		const headers = credentials === undefined ? {} : { authorization: basic(credentials) };
		return this.#request({ method: 'GET', url, headers });
	}

	/** OAuth2: a refresh (identity) token, or a user name and password. */
	async #post(realm: URL, service: string, scopes: readonly string[], { username, secret }: Credentials): Promise<Token> {
		const form = new URLSearchParams({ service, client_id: clientId });
		if (scopes.length > 0) form.set('scope', scopes.join(' '));
		const grant: Record<string, string> = username === ''
			? { grant_type: 'refresh_token', refresh_token: secret }
			: { grant_type: 'password', username, password: secret };
		for (const [name, value] of Object.entries(grant)) form.set(name, value);
		return this.#request({
			method: 'POST', url: realm, headers: { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' },
			body: Buffer.from(form.toString()),
		});
	}

	async #request(request: HttpRequest): Promise<Token> {
		// The host's TLS settings are for the host; a token server elsewhere is verified as usual.
		const tls = request.url.hostname === this.host.replace(/:[0-9]+$/, '') ? this.tls : {};
		const response = await this.transport.send({ ...request, tls });
		if (response.status !== 200) throw await unexpectedStatus(response);
		return parseToken(await readBody(response, maxTokenAnswer), response);
	}
}

function scopesKey(scopes: readonly string[]): string {
	return normalizeScopes(scopes).join(' ');
}

function parseToken(body: Uint8Array, { method, url }: HttpResponse): Token {
	const answer = parseAnswer(body);
	const value = [answer.access_token, answer.token].find((field) => typeof field === 'string' && /^[\x21-\x7e]+$/.test(field));
	if (value === undefined) {
		throw new RegistryError('authorization server did not include a token in the response', { ...asked(method, url), kind: 'unauthorized' });
	}
	const given = answer.expires_in;
	const lifetime = typeof given === 'number' && given > 0 ? given : defaultLifetime;
	return { value: value as string, renewAt: Date.now() + lifetime * 1000 * usableShare };
}

/** Empty when it is no JSON object: then it holds no token either. */
function parseAnswer(body: Uint8Array): { readonly token?: unknown; readonly access_token?: unknown; readonly expires_in?: unknown } {
	try {
		return JSON.parse(Buffer.from(body).toString('utf8')) as object ?? {};
	} catch {
		return {};
	}
}

function basic({ username, secret }: Credentials): string {
	return `Basic ${Buffer.from(`${username}:${secret}`).toString('base64')}`;
}
