// Where the build's files come from: the context, the Dockerfile, named contexts.
import { lstat, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { familiarReference, parseReference } from '../../image/index.js';
import { layoutContext } from './oci-layout.js';

export interface Inputs {
	/** By name: `context`, `dockerfile`, and those of named contexts. */
	readonly directories: Record<string, string>;
	readonly attributes: Record<string, string>;
	/** Directories of content stores, by the id the build asks for. */
	readonly contentStores: Record<string, string>;
	/** By path below `http://buildkit-session`, to be read once. */
	readonly uploads: Record<string, AsyncIterable<Uint8Array>>;
	/** What the Dockerfile is called where the user is told of it. */
	readonly dockerfileName: string;
	/** Removes what was written for the build. */
	readonly release: () => Promise<void>;
}

export interface InputFlags {
	/** PATH, URL or `-`. */
	readonly context: string;
	/** --file; '' for the default. */
	readonly file: string;
	/** --build-context: `name=path`. */
	readonly namedContexts: readonly string[];
	readonly stdin: Readable;
	readonly signal: AbortSignal;
}

/** Throws errors with docker's texts for what cannot be found or read. */
export async function findInputs(flags: InputFlags): Promise<Inputs> {
	const made: string[] = [];
	const release = async (): Promise<void> => {
		for (const dir of made) await rm(dir, { recursive: true, force: true });
	};
	try {
		const main = isHttpUrl(flags.file) ? await withRemoteDockerfile(flags, made) : await contextInputs(flags, made);
		const named = await namedContexts(flags.namedContexts);
		return {
			directories: { ...main.directories, ...named.directories },
			attributes: { ...main.attributes, ...named.attributes },
			contentStores: named.contentStores,
			uploads: main.uploads ?? {},
			dockerfileName: dockerfileName(flags),
			release,
		};
	} catch (error) {
		await release();
		throw error;
	}
}

type Found = Pick<Inputs, 'directories' | 'attributes'> & Partial<Pick<Inputs, 'uploads'>>;

function dockerfileName({ context, file }: InputFlags): string {
	if (file === '-' || (file === '' && context === '-')) return 'stdin';
	return file === '' && !isRemote(context) ? path.join(context, 'Dockerfile') : file;
}

async function withRemoteDockerfile(flags: InputFlags, made: string[]): Promise<Found> {
	const { context, file, signal } = flags;
	// With stdin it counts that there is a file at all.
	const found = await contextInputs(context === '-' ? flags : { ...flags, file: '' }, made);
	const { downloadDockerfile } = await import('./remote-dockerfile.js'); // most builds need no web client
	const written = await writtenDockerfile(await downloadDockerfile(file, signal), made);
	return { ...found, directories: { ...found.directories, ...written }, attributes: { ...found.attributes, filename: 'Dockerfile', dockerfilekey: 'dockerfile' } };
}

async function contextInputs({ context, file, stdin }: InputFlags, made: string[]): Promise<Found> {
	if (context === '') throw new Error('please specify build context (e.g. "." for the current directory)');
	if (context === '-') {
		if (file === '-') throw new Error('invalid argument: can\'t use stdin for both build context and dockerfile');
		return stdinInputs(stdin, file, made);
	}
	if (await isDirectory(context)) {
		if (file === '-') return { directories: { context, ...await writtenDockerfile(await readAll(stdin), made) }, attributes: { filename: 'Dockerfile' } };
		const dir = file === '' ? context : path.dirname(file);
		const name = file === '' ? 'Dockerfile' : path.basename(file);
		await lstat(dir).catch((error: unknown) => {
			throw new Error(`resolve : lstat ${dir}: no such file or directory`, { cause: error });
		});
		return { directories: { context, dockerfile: dir }, attributes: { filename: await lowerCaseIfOnly(dir, name) } };
	}
	if (isRemote(context)) {
		const attributes = { context, filename: file === '' ? 'Dockerfile' : file };
		if (file === '-') {
			return { directories: await writtenDockerfile(await readAll(stdin), made), attributes: { context, filename: 'Dockerfile', dockerfilekey: 'dockerfile' } };
		}
		if (!path.isAbsolute(file)) return { directories: {}, attributes };
		return { directories: { dockerfile: path.dirname(file) }, attributes: { context, filename: path.basename(file), dockerfilekey: 'dockerfile' } };
	}
	throw new Error(`unable to prepare context: path ${JSON.stringify(context)} not found`);
}

/** `-`: the context as a tar archive, which the build asks for, or a Dockerfile without context. */
async function stdinInputs(stdin: Readable, file: string, made: string[]): Promise<Found> {
	const stream = stdin[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
	const head = await readHead(stream);
	if (isArchive(head)) {
		return {
			directories: {},
			attributes: { context: 'http://buildkit-session/context', filename: file === '' ? 'Dockerfile' : file },
			uploads: { '/context': joined(head, stream) },
		};
	}
	const content = await readAll(joined(head, stream));
	if (file !== '') throw new Error('ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles');
	const empty = await mkdtemp(path.join(tmpdir(), 'obd-empty-context-'));
	made.push(empty);
	return { directories: { context: empty, ...await writtenDockerfile(content, made) }, attributes: { filename: 'Dockerfile' } };
}

async function writtenDockerfile(content: Buffer, made: string[]): Promise<{ readonly dockerfile: string }> {
	const dir = await mkdtemp(path.join(tmpdir(), 'obd-dockerfile-'));
	made.push(dir);
	await writeFile(path.join(dir, 'Dockerfile'), content);
	return { dockerfile: dir };
}

type NamedContexts = Pick<Inputs, 'directories' | 'attributes' | 'contentStores'>;

/** `dockerfile` counts where there is no `Dockerfile`. */
async function lowerCaseIfOnly(dir: string, name: string): Promise<string> {
	if (name !== 'Dockerfile') return name;
	const names = await readdir(dir).catch(() => [] as string[]);
	return !names.includes(name) && names.includes('dockerfile') ? 'dockerfile' : name;
}

async function namedContexts(values: readonly string[]): Promise<NamedContexts> {
	const found: NamedContexts = { directories: {}, attributes: {}, contentStores: {} };
	for (const value of values.filter((one) => one !== '')) {
		const equals = value.indexOf('=');
		if (equals < 0) throw new Error(`invalid context value: ${value}, expected key=value`);
		const name = contextName(value.slice(0, equals));
		const source = value.slice(equals + 1);
		if (source.startsWith('target:')) throw new Error(`failed to find target ${source.slice('target:'.length)} for context ${name}`);
		if (isRemote(source) || source.startsWith('docker-image://')) {
			found.attributes[`context:${name}`] = source;
			continue;
		}
		const layout = await layoutContext(source);
		if (layout) {
			found.contentStores[`oci:${layout.storeId}`] = layout.directory;
			found.attributes[`context:${name}`] = layout.attribute;
			continue;
		}
		if (!(await isDirectory(source))) {
			const exists = await stat(source).then(() => true, () => false);
			throw new Error(`failed to get build context ${name}: stat ${source}: ${exists ? 'not a directory' : 'no such file or directory'}`);
		}
		const local = name === 'context' || name === 'dockerfile' ? `_${name}` : name;
		found.directories[local] = source;
		found.attributes[`context:${name}`] = `local:${local}`;
	}
	return found;
}

/** Names are image references, so that a context can stand for an image. */
function contextName(text: string): string {
	try {
		return familiarReference(parseReference(text)).replace(/:latest$/, '');
	} catch (error) {
		throw new Error(`invalid context name ${text}: ${(error as Error).message}`, { cause: error });
	}
}

function isHttpUrl(text: string): boolean {
	return /^https?:\/\//.test(text);
}

function isRemote(text: string): boolean {
	return isHttpUrl(text) || /^(git:\/\/|ssh:\/\/|github\.com\/|git@)/.test(text) || /^[^/@]+@[^/:]+:.+/.test(text);
}

/** tar, plain or compressed with gzip, bzip2 or xz. */
function isArchive(content: Buffer): boolean {
	const startsWith = (...bytes: number[]): boolean => content.subarray(0, bytes.length).equals(Buffer.from(bytes));
	return startsWith(0x1f, 0x8b, 0x08) || startsWith(0x42, 0x5a, 0x68) || startsWith(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00)
		|| content.subarray(257, 262).toString('latin1') === 'ustar';
}

async function isDirectory(dir: string): Promise<boolean> {
	return stat(dir).then((stats) => stats.isDirectory(), () => false);
}

/** The first bytes, enough to tell a tar archive; all of them when there are fewer. */
async function readHead(stream: AsyncIterator<Buffer>): Promise<Buffer> {
	const chunks: Buffer[] = [];
	for (let size = 0; size < 512;) {
		const { done, value } = await stream.next();
		if (done === true) break;
		chunks.push(value);
		size += value.length;
	}
	return Buffer.concat(chunks);
}

async function* joined(head: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
	yield head;
	yield* { [Symbol.asyncIterator]: () => rest };
}

async function readAll(stream: AsyncIterable<unknown>): Promise<Buffer> {
	const chunks: Buffer[] = [];
	for await (const chunk of stream) chunks.push(chunk as Buffer);
	return Buffer.concat(chunks);
}
