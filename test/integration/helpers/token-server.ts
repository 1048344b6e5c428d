// A token server as registries use it (distribution's token authentication, GET and OAuth2 POST): signs with a
// key the registry trusts, remembers what it was asked.
import { createPrivateKey, randomUUID, sign, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http, { type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { makeCertificate } from './registry.js';

export interface TokenRequest {
	readonly method: string;
	readonly authorization: string | undefined;
	/** Of the query or the form. */
	readonly parameters: URLSearchParams;
}

export interface TokenServer {
	/** For the registry's configuration. */
	readonly options: { readonly realm: string; readonly service: string; readonly issuer: string; readonly certificate: string };
	readonly requests: TokenRequest[];
	/** Who gets a token; changeable. Default: everybody. */
	allow: (request: TokenRequest) => boolean;
	/** Seconds a token lives, as told to the client; changeable. */
	lifetime: number;
	/** Answers instead of a token when it returns something; changeable. */
	instead: (request: TokenRequest) => { readonly status: number; readonly body: string } | undefined;
	stop(): Promise<void>;
}

const service = 'test-registry';
const issuer = 'test-issuer';

export async function startTokenServer(): Promise<TokenServer> {
	const directory = mkdtempSync(path.join(tmpdir(), 'obd-test-token-'));
	const { key, certificate } = makeCertificate(directory, 'token');
	const signer = makeSigner(readFileSync(key, 'utf8'), readFileSync(certificate, 'utf8'));
	const state: Pick<TokenServer, 'requests' | 'allow' | 'lifetime' | 'instead'> = { requests: [], allow: () => true, lifetime: 300, instead: () => undefined };
	const server = http.createServer((incoming, response) => void readRequest(incoming).then((request) => {
		state.requests.push(request);
		const other = state.instead(request);
		const { status, body } = other ?? (state.allow(request) ? grant(request, signer, state.lifetime) : { status: 401, body: '{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}' });
		response.writeHead(status, { 'content-type': 'application/json' }).end(body);
	}));
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
	const realm = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
	return Object.assign(state, {
		options: { realm, service, issuer, certificate },
		stop: () => new Promise<void>((resolve) => {
			server.close(() => resolve());
			server.closeAllConnections();
			rmSync(directory, { recursive: true, force: true });
		}),
	});
}

async function readRequest(incoming: IncomingMessage): Promise<TokenRequest> {
	const url = new URL(incoming.url ?? '', 'http://x');
	let body = '';
	for await (const chunk of incoming) body += String(chunk);
	const parameters = incoming.method === 'POST' ? new URLSearchParams(body) : url.searchParams;
	return { method: incoming.method ?? '', authorization: incoming.headers.authorization, parameters };
}

function grant({ parameters, method }: TokenRequest, signer: (claims: object) => string, lifetime: number): { status: number; body: string } {
	const access = parameters.getAll('scope').flatMap((scope) => scope.split(' ')).filter((scope) => scope !== '').map((scope) => {
		const [type, name, actions = ''] = scope.split(':');
		return { type, name, actions: actions.split(',') };
	});
	const now = Math.floor(Date.now() / 1000);
	const token = signer({ iss: issuer, sub: 'tester', aud: service, exp: now + 3600, nbf: now - 60, iat: now, jti: randomUUID(), access });
	return { status: 200, body: JSON.stringify(method === 'POST' ? { access_token: token, expires_in: lifetime } : { token, expires_in: lifetime }) };
}

function makeSigner(key: string, certificate: string): (claims: object) => string {
	const privateKey = createPrivateKey(key);
	const header = { typ: 'JWT', alg: 'RS256', x5c: [new X509Certificate(certificate).raw.toString('base64')] };
	const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
	return (claims) => {
		const content = `${encode(header)}.${encode(claims)}`;
		return `${content}.${sign('sha256', Buffer.from(content), privateKey).toString('base64url')}`;
	};
}
