// What clients have sent, kept on disk: the next build of the same directory gets only what has changed.
import { createHash } from 'node:crypto';
import { mkdir, readFile, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import { removeTree } from '../../native/files.js';
import type { Caller } from '../caller.js';
import { FileSyncDefinition } from '../gen/filesync.js';
import { Stat } from '../gen/stat.js';
import type { LocalDirectory, LocalRequest } from '../index.js';
import { receiveFiles, type FileIndex, type ReceiveOptions } from './receive.js';

export interface Received {
	readonly directory: LocalDirectory;
	/** The build has ended: the files may change. */
	readonly release: () => void;
}

type Transfer = Pick<ReceiveOptions, 'signal' | 'onTransfer'>;

export class Transfers {
	/** Directories a build reads, or a transfer writes. */
	readonly #busy = new Set<string>();

	constructor(private readonly directory: string) {}

	/** Brings the client's directory of that name here, as far as it is wanted. */
	async receive(caller: Caller, name: string, wanted: LocalRequest, transfer: Transfer): Promise<Received> {
		const { diffCopy } = FileSyncDefinition.methods;
		if (!caller.has(FileSyncDefinition, diffCopy)) throw new Error('no local sources enabled');
		if (wanted.metadataOnly) throw new Error(`local source ${name}: metadata transfer is not supported by obd`);
		const key = createHash('sha256').update(JSON.stringify([name, wanted.sharedKeyHint ?? '', caller.sharedKey])).digest('hex');
		const directory = await this.#take(path.join(this.directory, key));
		const release = (): void => { this.#busy.delete(directory); };
		try {
			await this.#fill(directory, caller, name, wanted, transfer);
			return { directory: { root: path.join(directory, 'files'), statCache: path.join(directory, 'digests') }, release };
		} catch (error) {
			release();
			throw error;
		}
	}

	/** A directory of that key that nobody uses: several builds of one project at once have one each. */
	async #take(base: string): Promise<string> {
		for (let i = 0; ; i++) {
			const directory = path.join(base, String(i));
			if (this.#busy.has(directory)) continue;
			this.#busy.add(directory);
			try {
				await mkdir(path.join(directory, 'files'), { recursive: true });
				// What was not used for long is pruned first.
				await utimes(base, new Date(), new Date());
			} catch (error) {
				this.#busy.delete(directory);
				throw error;
			}
			return directory;
		}
	}

	/** Without an index (a transfer that was cut short) what is there is worth nothing. */
	async #fill(directory: string, caller: Caller, name: string, wanted: LocalRequest, { signal, onTransfer }: Transfer): Promise<void> {
		const files = path.join(directory, 'files');
		const indexFile = path.join(directory, 'index');
		const known = await readIndex(indexFile);
		if (known) await rm(indexFile);
		else await emptyDirectory(files);
		const { diffCopy } = FileSyncDefinition.methods;
		const call = caller.call(FileSyncDefinition, diffCopy, { signal, metadata: requestHeaders(name, wanted) });
		try {
			const index = await receiveFiles(call, files, { known: known ?? new Map(), always: wanted.differ === 'none', signal, onTransfer });
			call.end();
			await writeIndex(indexFile, index);
		} finally {
			call.cancel();
		}
	}
}

/** Values that are not ASCII go percent-encoded, and say so. */
function requestHeaders(name: string, { includePatterns, excludePatterns, followPaths }: LocalRequest): Record<string, string | readonly string[]> {
	const headers: Record<string, string | readonly string[]> = {};
	const lists = { 'dir-name': [name], 'include-patterns': includePatterns, 'exclude-patterns': excludePatterns, followpaths: followPaths };
	for (const [key, values] of Object.entries(lists)) {
		if (values.length === 0) continue;
		const isPlain = values.every((value) => /^[\x20-\x7e]*$/.test(value));
		headers[key] = isPlain ? values : values.map(queryEscape);
		if (!isPlain) headers[`${key}-encoded`] = '1';
	}
	return headers;
}

/** Go's url.QueryEscape. */
function queryEscape(text: string): string {
	return encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`).replaceAll('%20', '+');
}

async function emptyDirectory(directory: string): Promise<void> {
	for (const name of await readdir(directory)) await removeTree(path.join(directory, name));
}

async function readIndex(file: string): Promise<FileIndex | undefined> {
	const bytes = await readFile(file).catch(() => undefined);
	if (!bytes) return undefined;
	try {
		const reader = new BinaryReader(bytes);
		const index = new Map<string, Stat>();
		while (reader.pos < reader.len) {
			const stat = Stat.decode(reader, reader.uint32());
			index.set(stat.path, stat);
		}
		return index;
	} catch {
		return undefined; // cut short: everything is asked for again
	}
}

/** Each stat after its length; the file is there as a whole or not at all. */
async function writeIndex(file: string, index: FileIndex): Promise<void> {
	const writer = new BinaryWriter();
	for (const stat of index.values()) Stat.encode(stat, writer.fork()).join();
	await writeFile(`${file}.new`, writer.finish());
	await rename(`${file}.new`, file);
}
