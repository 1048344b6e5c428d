// http(s):// sources: one file of a web server. The key is the content's digest with what becomes of the file;
// content that was downloaded before is asked for by its ETag, and never taken without asking.
import { createHash } from 'node:crypto';
import { chmod, chown, copyFile, constants, utimes } from 'node:fs/promises';
import path from 'node:path';
import { validateDigest } from '../image/index.js';
import { attr, type SourceOp } from '../llb/index.js';
import type { Transport } from '../registry/index.js';
import { integerAttribute } from './attributes.js';
import { downloadName } from './http-name.js';
import { redactCredentials } from './redact.js';
import { directoryContent, scratchDirectory } from './scratch-directory.js';
import { PerBuild, type Source, type SourceContent, type SourceContext, type SourceIdentity } from './source.js';
import { bodyOf, sendRequest } from './web-request.js';

/** A file as it was downloaded. */
export interface Download {
	readonly digest: string;
	/** Bytes. */
	readonly size: number;
	readonly etag?: string;
	/** The server's Last-Modified, as it was sent. */
	readonly lastModified?: string;
}

/** Files that were downloaded before; the store implements it. */
export interface Downloads {
	/** What is known, and still there, of a URL asked with the same options. */
	find(key: string): Promise<readonly Download[]>;
	/** Stores content and says what it is; a download with an ETag is found by `key` from now on. */
	keep(key: string, content: AsyncIterable<Uint8Array>, headers: Pick<Download, 'etag' | 'lastModified'>): Promise<Download>;
	blobPath(digest: string, size: number): Promise<string | undefined>;
}

export interface HttpSourceOptions {
	readonly transport: Transport;
	readonly downloads: Downloads;
	readonly temporaryDir: string;
	/** Shared by the sources of all builds. */
	readonly resolved: PerBuild<ResolvedDownload>;
}

export interface ResolvedDownload {
	readonly download: Download;
	readonly name: string;
}

/** Headers a definition may set; others are ignored. */
const settableHeaders: ReadonlySet<string> = new Set(['accept', 'user-agent']);
const userAgent = 'buildkit/v0.0-obd';

export class HttpSource implements Source {
	readonly #url: URL;
	readonly #checksum: string | undefined;
	readonly #filename: string;
	readonly #file: { readonly perm: number; readonly uid: number; readonly gid: number };
	readonly #authSecret: string;
	readonly #headers: readonly (readonly [string, string])[];

	constructor(op: SourceOp, private readonly options: HttpSourceOptions) {
		if (!URL.canParse(op.identifier)) throw new Error(`parse ${JSON.stringify(op.identifier)}: invalid URL`);
		this.#url = new URL(op.identifier);
		const signature = [...op.attrs.keys()].find((name) => name.startsWith('http.sig.'));
		if (signature !== undefined) throw new Error(`source ${op.identifier}: ${signature} is not supported by obd`);
		this.#checksum = op.attrs.get(attr.httpChecksum);
		if (this.#checksum !== undefined) validateDigest(this.#checksum);
		this.#filename = op.attrs.get(attr.httpFilename) ?? '';
		this.#file = {
			perm: integerAttribute(op, attr.httpPerm) ?? 0,
			uid: integerAttribute(op, attr.httpUid) ?? 0,
			gid: integerAttribute(op, attr.httpGid) ?? 0,
		};
		this.#authSecret = op.attrs.get(attr.httpAuthHeaderSecret) ?? '';
		this.#headers = [...op.attrs].flatMap(([name, value]): (readonly [string, string])[] => {
			const header = name.startsWith(attr.httpHeaderPrefix) ? name.slice(attr.httpHeaderPrefix.length).toLowerCase() : '';
			return settableHeaders.has(header) ? [[header, value]] : [];
		}).sort(([a], [b]) => (a < b ? -1 : 1));
	}

	async identity(context: SourceContext): Promise<SourceIdentity> {
		const { digest, name, lastModified } = this.#checksum === undefined
			? await this.#resolve(context).then((found) => ({ ...found.download, name: found.name }))
			: { digest: this.#checksum, name: downloadName(this.#url, this.#filename, undefined), lastModified: undefined };
		const modified = lastModified === undefined ? NaN : Date.parse(lastModified);
		return {
			key: JSON.stringify(['http', name, this.#file, digest, Number.isNaN(modified) ? '' : modified, this.#authSecret, this.#headers]),
			material: { kind: 'http', url: redactCredentials(this.#url.href), digest },
		};
	}

	async fetch(context: SourceContext): Promise<SourceContent> {
		const { download: { digest, size, lastModified }, name } = await this.#resolve(context);
		if (this.#checksum !== undefined && digest !== this.#checksum) throw new Error(`digest mismatch ${digest}: ${this.#checksum}`);
		const blob = await this.options.downloads.blobPath(digest, size);
		if (blob === undefined) throw new Error(`the download of ${this.#url.href} is gone from the store`);
		const directory = await scratchDirectory(this.options.temporaryDir, 'http-', context.signal);
		const file = path.join(directory, name);
		await copyFile(blob, file, constants.COPYFILE_FICLONE);
		const { perm, uid, gid } = this.#file;
		await chown(file, uid, gid);
		await chmod(file, perm === 0 ? 0o600 : perm & 0o7777);
		const modified = lastModified === undefined ? NaN : Date.parse(lastModified) / 1000;
		const time = Number.isNaN(modified) ? 0 : modified;
		await utimes(file, time, time);
		return directoryContent(directory, context.signal);
	}

	/** What the file is; `lastModified` when the server says it. */
	async metadata(context: SourceContext): Promise<{ readonly checksum: string; readonly filename: string; readonly lastModified?: Date }> {
		if (this.#checksum !== undefined) return { checksum: this.#checksum, filename: downloadName(this.#url, this.#filename, undefined) };
		const { download: { digest, lastModified }, name } = await this.#resolve(context);
		const time = lastModified === undefined ? NaN : Date.parse(lastModified);
		return { checksum: digest, filename: name, ...(!Number.isNaN(time) && { lastModified: new Date(time) }) };
	}

	#resolve(context: SourceContext): Promise<ResolvedDownload> {
		const key = createHash('sha256').update(JSON.stringify([this.#url.href, this.#filename, this.#file, this.#authSecret, this.#headers])).digest('hex');
		return this.options.resolved.get(context.session, key, () => this.#download(key, context));
	}

	async #download(key: string, context: SourceContext): Promise<ResolvedDownload> {
		if (this.#url.host === 'buildkit-session') {
			const content = await context.session.upload(this.#url.pathname);
			return { download: await this.options.downloads.keep(key, content, {}), name: downloadName(this.#url, this.#filename, undefined) };
		}
		const headers = await this.#requestHeaders(context);
		const known = new Map((await this.options.downloads.find(key)).map((download) => [download.etag ?? '', download]));
		return (await this.#unchanged(known, headers, context)) ?? this.#get(key, known, headers, context);
	}

	/** A download from before whose ETag the server still gives; some that have ETags do not understand If-None-Match, so they are compared here. */
	async #unchanged(known: ReadonlyMap<string, Download>, headers: Readonly<Record<string, string>>, context: SourceContext): Promise<ResolvedDownload | undefined> {
		if (known.size === 0) return undefined;
		const response = await this.#send('HEAD', { ...headers, 'if-none-match': [...known.keys()].join(', ') }, context).catch(() => undefined);
		response?.body.destroy();
		if (!response || (response.status !== 200 && response.status !== 304)) {
			context.signal.throwIfAborted();
			return undefined;
		}
		const download = known.get(etagOf(response.headers.etag) ?? onlyKey(response.status, known));
		return download && { download, name: downloadName(this.#url, this.#filename, response.headers['content-disposition']) };
	}

	async #get(key: string, known: ReadonlyMap<string, Download>, headers: Readonly<Record<string, string>>, context: SourceContext): Promise<ResolvedDownload> {
		const conditional = known.size > 0 && { 'if-none-match': [...known.keys()].join(', ') };
		const response = await this.#send('GET', { ...headers, ...conditional }, context);
		const name = downloadName(this.#url, this.#filename, response.headers['content-disposition']);
		if (response.status < 200 || response.status >= 400) {
			response.body.destroy();
			throw new Error(`invalid response status ${response.status}`);
		}
		const etag = etagOf(response.headers.etag);
		if (response.status === 304) {
			response.body.destroy();
			const download = known.get(etag ?? onlyKey(response.status, known));
			if (!download) throw new Error(`invalid not-modified ETag: ${etag ?? ''}`);
			return { download, name };
		}
		const lastModified = response.headers['last-modified'];
		const download = await this.options.downloads.keep(key, this.#reporting(response, context), { ...(etag !== undefined && { etag }), ...(lastModified !== undefined && { lastModified }) });
		return { download, name };
	}

	#send(method: 'GET' | 'HEAD', headers: Readonly<Record<string, string>>, { signal }: SourceContext): ReturnType<typeof sendRequest> {
		return sendRequest(this.options.transport, { method, url: this.#url, headers, signal });
	}

	/** The body, shown as it arrives. */
	async *#reporting(response: Awaited<ReturnType<typeof sendRequest>>, { reporter }: SourceContext): AsyncIterable<Uint8Array> {
		const total = response.headers['content-encoding'] === undefined ? Number(response.headers['content-length'] ?? 0) : 0;
		const status = reporter.status(`downloading ${redactCredentials(this.#url.href)}`, total);
		let current = 0;
		for await (const chunk of bodyOf(response) as AsyncIterable<Buffer>) {
			yield chunk;
			status.update(current += chunk.length);
		}
		status.done();
	}

	/** A secret the definition names must be there; those by host name are sent when the client has them. */
	async #requestHeaders({ session }: SourceContext): Promise<Record<string, string>> {
		const headers: Record<string, string> = { 'user-agent': userAgent, ...Object.fromEntries(this.#headers) };
		if (this.#authSecret !== '') {
			const secret = await session.secret(this.#authSecret);
			if (!secret) throw new Error(`failed to retrieve HTTP auth secret ${this.#authSecret}: secret ${this.#authSecret}: not found`);
			return { ...headers, authorization: Buffer.from(secret).toString() };
		}
		const [header, token] = await Promise.all([session.secret(`HTTP_AUTH_HEADER_${this.#url.hostname}`), session.secret(`HTTP_AUTH_TOKEN_${this.#url.hostname}`)]);
		if (token) return { ...headers, authorization: `Bearer ${Buffer.from(token).toString()}` };
		return header ? { ...headers, authorization: Buffer.from(header).toString() } : headers;
	}
}

/** Without the mark of a weak one. */
function etagOf(header: string | undefined): string | undefined {
	return header === undefined || header === '' ? undefined : header.replace(/^W\//, '');
}

/** A 304 without an ETag answers the one that was asked for. */
function onlyKey(status: number, known: ReadonlyMap<string, Download>): string {
	const [first = ''] = known.keys();
	return status === 304 && known.size === 1 ? first : '';
}
