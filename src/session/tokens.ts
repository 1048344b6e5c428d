// Registry tokens that clients fetch themselves, with credentials they do not show. A client proves which
// credentials it has with a key made from them; who proves the same may use the same tokens.
import { createPublicKey, randomBytes, verify, type KeyObject } from 'node:crypto';
import { Code, RpcError } from '../grpc/index.js';
import type { Caller } from './caller.js';
import { AuthDefinition } from './gen/auth.js';
import type { RegistryToken, RegistryTokenRequest } from './index.js';

const { fetchToken, getTokenAuthority, verifyTokenAuthority } = AuthDefinition.methods;

/** Milliseconds a client may take, as for all it is asked about registries; it may have to ask a person. */
export const authPatience = 60_000;
/** Seconds a token lives that says nothing of it (token authentication spec). */
const defaultLifetime = 60;
/** Share of a token's life after which it is renewed: clocks differ and requests take time. */
const usableShare = 0.9;
const publicKeyBytes = 32;
const signatureBytes = 64;
/** What comes before the key in an Ed25519 SubjectPublicKeyInfo (RFC 8410). */
const keyPrefix = Buffer.from('302a300506032b6570032100', 'hex');

export class TokenPool {
	/** Keys of one run of the daemon are worth nothing in the next. */
	readonly #salt = randomBytes(32);
	readonly #tokens = new Map<string, RegistryToken>();

	/**
	 * The client's own token for a registry's demand, or the one it fetched for an earlier build. Undefined: it
	 * fetches none, or leaves it to us. Throws when it fails.
	 */
	async token(caller: Caller, request: RegistryTokenRequest, signal: AbortSignal): Promise<RegistryToken | undefined> {
		if (!caller.has(AuthDefinition, fetchToken)) return undefined;
		const authority = await this.#authority(caller, request.host, signal);
		if (!authority && caller.has(AuthDefinition, AuthDefinition.methods.credentials)) return undefined;
		// What a token that may write was fetched for is that build's business alone.
		const mayShare = authority !== undefined && !request.scopes.some((scope) => /[:,]push(,|$)/.test(scope));
		if (!mayShare || !await this.#proves(caller, request.host, authority, signal)) return this.#fetch(caller, request, signal);
		const key = JSON.stringify([request.host, authority.toString('hex'), request.realm, request.service, ...request.scopes]);
		const known = this.#tokens.get(key);
		if (known && known.renewAt > Date.now() && known.value !== request.refused) return known;
		const token = await this.#fetch(caller, request, signal);
		this.#dropOld();
		this.#tokens.set(key, token);
		return token;
	}

	/** The public key that stands for the client's credentials. */
	async #authority(caller: Caller, Host: string, signal: AbortSignal): Promise<Buffer | undefined> {
		if (!caller.has(AuthDefinition, getTokenAuthority)) return undefined;
		try {
			const { PublicKey } = await caller.unary(AuthDefinition, getTokenAuthority, { Host, Salt: this.#salt }, { signal, timeout: authPatience });
			if (PublicKey.length !== publicKeyBytes) throw new Error(`invalid pubkey length ${PublicKey.length}`);
			return Buffer.from(PublicKey);
		} catch (error) {
			if (error instanceof RpcError && (error.code === Code.UNIMPLEMENTED || error.code === Code.UNAVAILABLE)) return undefined;
			throw error;
		}
	}

	/** Whether the client has the private key too. */
	async #proves(caller: Caller, Host: string, authority: Buffer, signal: AbortSignal): Promise<boolean> {
		if (!caller.has(AuthDefinition, verifyTokenAuthority)) return false;
		const Payload = randomBytes(32);
		const { Signed } = await caller.unary(AuthDefinition, verifyTokenAuthority, { Host, Payload, Salt: this.#salt }, { signal, timeout: authPatience });
		const signed = Buffer.from(Signed);
		const key: KeyObject = createPublicKey({ key: Buffer.concat([keyPrefix, authority]), format: 'der', type: 'spki' });
		return signed.subarray(signatureBytes).equals(Payload) && verify(null, Payload, key, signed.subarray(0, signatureBytes));
	}

	async #fetch(caller: Caller, { host: Host, realm: Realm, service: Service, scopes }: RegistryTokenRequest, signal: AbortSignal): Promise<RegistryToken> {
		const { Token, ExpiresIn, IssuedAt } = await caller.unary(AuthDefinition, fetchToken, { ClientID: 'buildkit-client', Host, Realm, Service, Scopes: [...scopes] }, { signal, timeout: authPatience });
		if (!/^[\x21-\x7e]+$/.test(Token)) throw new Error(`the client fetched no usable token for ${Host}`);
		const usable = (ExpiresIn > 0 ? ExpiresIn : defaultLifetime) * 1000 * usableShare;
		const now = Date.now();
		// By the token server's clock it may be over already: then that clock is wrong.
		const renewAt = IssuedAt > 0 && IssuedAt * 1000 < now ? IssuedAt * 1000 + usable : now + usable;
		return { value: Token, renewAt: renewAt > now ? renewAt : now + usable };
	}

	#dropOld(): void {
		for (const [key, { renewAt }] of this.#tokens) if (renewAt <= Date.now()) this.#tokens.delete(key);
	}
}
