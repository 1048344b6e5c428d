// --cache-to and --cache-from: caches of other builders, in registries and directories.
import { mkdir, readFile, writeFile, rename } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import type { CacheRequest } from '../../builder/index.js';
import { csvFields } from '../../../frontend/text/csv.js';
import { encodeIndex, mediaTypes, parseDescriptor, parseIndex, type Descriptor, type Index } from '../../image/index.js';

const refName = 'org.opencontainers.image.ref.name';

export interface Caches {
	readonly imports: readonly CacheRequest[];
	readonly exports: readonly CacheRequest[];
	/** Directories of content stores by the id the build asks for. */
	readonly contentStores: Readonly<Record<string, string>>;
	/** Why some of what was asked for is left out. */
	readonly warnings: readonly string[];
}

/** Reads the flags. Directories to write to are made; one to read that holds no cache is left out. */
export async function caches(from: readonly string[], to: readonly string[]): Promise<Caches> {
	const contentStores: Record<string, string> = {};
	const warnings: string[] = [];
	const imports: CacheRequest[] = [];
	for (const request of from.flatMap(parse)) {
		const found = request.type === 'local' ? await localImport(request, contentStores, warnings) : request;
		if (found) imports.push(found);
	}
	const exports: CacheRequest[] = [];
	for (const request of to.flatMap(parse)) exports.push(request.type === 'local' ? await localExport(request, contentStores) : request);
	return { imports, exports, contentStores, warnings };
}

/** `REF[,REF...]`, or `type=TYPE,KEY=VALUE,...`. */
function parse(value: string): CacheRequest[] {
	if (value === '') return [];
	const fields = csvFields(value);
	if (!value.includes('=')) return fields.map((ref) => ({ type: 'registry', attributes: { ref } }));
	const attributes: Record<string, string> = {};
	let type = '';
	for (const field of fields) {
		const [key = '', text] = field.split(/=(.*)/s);
		if (text === undefined) throw new Error(`invalid value ${field}`);
		if (key.toLowerCase() === 'type') type = text;
		else attributes[key.toLowerCase()] = text;
	}
	if (type === '') throw new Error(`type required for ${JSON.stringify(value)}`);
	return [{ type, attributes }];
}

async function localImport({ type, attributes }: CacheRequest, stores: Record<string, string>, warnings: string[]): Promise<CacheRequest | undefined> {
	const { src = '', tag = 'latest' } = attributes;
	if (src === '') throw new Error('local cache importer requires src');
	try {
		const digest = attributes['digest'] ?? (await readIndex(src)).manifests.find(({ annotations }) => annotations?.[refName] === tag)?.digest;
		if (digest === undefined) throw new Error(`no digest found for tag ${tag}`);
		stores[`local:${src}`] = path.resolve(src);
		return { type, attributes: { ...attributes, digest } };
	} catch (error) {
		warnings.push(`local cache import at ${src} skipped due to err: ${(error as Error).message}`);
		return undefined;
	}
}

async function localExport(request: CacheRequest, stores: Record<string, string>): Promise<CacheRequest> {
	const { dest = '' } = request.attributes;
	if (dest === '') throw new Error('local cache exporter requires dest');
	if (request.attributes['reset'] !== undefined) throw new Error('cache exporter option "reset" is not supported by obd');
	await mkdir(dest, { recursive: true });
	stores[`local:${dest}`] = path.resolve(dest);
	return request;
}

/** Names what was written in the index.json of each directory. `manifest`: the response's `cache.manifest`. */
export async function tagLocalCaches(exports: readonly CacheRequest[], manifest: string | undefined): Promise<void> {
	if (manifest === undefined) return;
	const descriptor = parseDescriptor(JSON.parse(manifest), 'cache.manifest');
	for (const { type, attributes: { dest = '', tag = 'latest' } } of exports) if (type === 'local') await addToIndex(dest, tag, descriptor);
}

async function addToIndex(directory: string, tag: string, descriptor: Descriptor): Promise<void> {
	const index = await readIndex(directory).catch((): Index => ({ mediaType: mediaTypes.ociIndex, manifests: [] }));
	const others = index.manifests.filter(({ annotations }) => annotations?.[refName] !== tag);
	const { bytes } = encodeIndex({ ...index, manifests: [...others, { ...descriptor, annotations: { ...descriptor.annotations, [refName]: tag } }] });
	await writeFile(path.join(directory, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
	const temporary = path.join(directory, `index.json.${randomBytes(6).toString('hex')}.tmp`);
	await writeFile(temporary, bytes);
	await rename(temporary, path.join(directory, 'index.json'));
}

async function readIndex(directory: string): Promise<Index> {
	const file = path.join(directory, 'index.json');
	return parseIndex(await readFile(file), file);
}
