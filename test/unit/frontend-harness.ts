// A frontend client without a builder: local sources are directories, images are a table. Enough to convert
// any Dockerfile; nothing is ever run.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FrontendClient, ImageMeta, Reference, Warning } from '../../frontend/index.js';
import type { Definition, SourceOp } from '../../src/llb/index.js';
import { formatReference, parseReference, digestOf, loadDefinition } from '../../src/llb/index.js';

export interface FakeOptions {
	/** Directories by the names of local sources; a record stands for a directory of small files. */
	readonly locals: Readonly<Record<string, string | Readonly<Record<string, string | Uint8Array>>>>;
	/** Image configs by reference; `*` for all others but those called missing. */
	readonly images?: Readonly<Record<string, unknown>>;
	readonly opts?: Readonly<Record<string, string>>;
	readonly client?: Partial<FrontendClient>;
}

export interface FakeClient extends FrontendClient {
	readonly warnings: Warning[];
	/** Definitions that were solved while converting. */
	readonly solved: Definition[];
	/** References that were resolved, with what progress would say. */
	readonly resolved: { readonly ref: string; readonly logName: string; readonly platform: string }[];
}

function missing(path: string): Error {
	return Object.assign(new Error(`open ${path}: no such file or directory`), { code: 'ENOENT' });
}

async function readLocal(root: FakeOptions['locals'][string] | undefined, path: string): Promise<Uint8Array> {
	if (root === undefined) throw missing(path);
	if (typeof root === 'string') {
		try {
			return await readFile(join(root, path));
		} catch {
			throw missing(path);
		}
	}
	const data = root[path];
	if (data === undefined) throw missing(path);
	return Buffer.from(data);
}

export function fakeClient({ locals, images = {}, opts = {}, client = {} }: FakeOptions): FakeClient {
	const warnings: Warning[] = [];
	const solved: Definition[] = [];
	const resolved: FakeClient['resolved'][number][] = [];
	return {
		opts,
		buildPlatform: { os: 'linux', architecture: 'amd64' },
		warnings,
		solved,
		resolved,
		warn: (warning) => warnings.push(warning),
		async solve(definition): Promise<Reference | undefined> {
			solved.push(definition);
			const kind = loadDefinition(definition).result?.vertex.kind;
			if (kind?.$case !== 'source') return undefined;
			const name = kind.source.identifier.replace(/^local:\/\//, '');
			return {
				readFile: async (path, range) => {
					const data = await readLocal(locals[name], path);
					return range ? data.subarray(range.offset, range.offset + range.length) : data;
				},
				readDir: () => Promise.reject(new Error('not needed')),
				statFile: () => Promise.reject(new Error('not needed')),
			};
		},
		resolveImageConfig(source: SourceOp, { logName, platform }): Promise<ImageMeta> {
			const ref = source.identifier.replace(/^[a-z-]+:\/\//, '');
			resolved.push({ ref, logName, platform: `${platform.os}/${platform.architecture}` });
			const config = images[ref] ?? (ref.includes('missing') ? undefined : images['*']);
			if (config === undefined) return Promise.reject(new Error(`failed to resolve source metadata for ${ref}: ${ref}: not found`));
			const bytes = Buffer.from(typeof config === 'string' ? config : JSON.stringify(config));
			return Promise.resolve({ ref: formatReference(parseReference(ref)), digest: digestOf(bytes), config: bytes });
		},
		...client,
	};
}
