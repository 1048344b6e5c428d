// Where the Dockerfile and its context come from, and reading what has to be read before converting.
import type { GitOptions, Platform, SourceInfo, SourceMap, SourceOp, State } from '../../src/llb/index.js';
import {
	basePath, digestOf, familiarReference, fileActions, formatPlatformFull, http, local, marshal, normalizePlatform, Op, parseReference, scratch, stateFromDefinition,
} from '../../src/llb/index.js';
import * as posix from 'node:path/posix';
import type { FrontendClient, ImageMeta, Reference } from '../client.js';
import { messageOf } from '../errors.js';
import { parseBool } from '../text/format.js';
import { isArchive } from './archive.js';
import type { Config } from './config.js';
import { readConfig } from './config.js';
import { gitState, parseGitRef } from './git-ref.js';
import { readIgnoreFile } from './ignore.js';
import type { ContextHost, ContextOptions } from './named-context.js';
import { NamedContext, readOptional } from './named-context.js';

const ignoreFile = '.dockerignore';
const dockerfileName = 'Dockerfile';

interface BuildContext {
	/** Set when it is not a directory of the client. */
	readonly context?: State;
	/** Set when the Dockerfile comes with the context. */
	readonly dockerfile?: State;
	readonly contextName: string;
	readonly dockerfileName: string;
	readonly filename: string;
	/** The git or http source the context is, as the resolver is asked for it. */
	readonly source?: State;
}

/** The Dockerfile and what is known of it. */
export interface Entrypoint {
	readonly data: Uint8Array;
	readonly sourceMap: SourceMap;
	/** Digest of the vertex it was read by: what warnings belong to. */
	readonly vertex: string;
}

/** The Dockerfile as errors and warnings refer to it. */
export function sourceInfo({ sourceMap }: Entrypoint): SourceInfo {
	return { filename: sourceMap.filename, language: sourceMap.language, data: sourceMap.data, definition: sourceMap.definition };
}

async function wrap<T>(what: string, action: () => Promise<T>): Promise<T> {
	try {
		return await action();
	} catch (error) {
		throw new Error(`${what}: ${messageOf(error)}`, { cause: error });
	}
}

function internalName(text: string): string {
	return `[internal] ${text}`;
}

/** The one source op a definition consists of; undefined when it has more or none. */
export function singleSource(state: State): SourceOp | undefined {
	const sources = marshal(state).def.flatMap((bytes) => {
		const { op } = Op.decode(bytes);
		return op?.$case === 'source' ? [op.source] : [];
	});
	return sources.length === 1 ? sources[0] : undefined;
}

export class Ui implements ContextHost {
	readonly config: Config;
	private buildContext?: Promise<BuildContext>;
	/** Content of <Dockerfile>.dockerignore, when there is one. An empty one counts. */
	private ownIgnores?: string;
	private ignores?: Promise<readonly string[]>;
	private readonly resolved = new Map<string, Promise<ImageMeta>>();

	constructor(readonly client: FrontendClient) {
		this.config = readConfig(client);
	}

	sessionOf(localName: string): string | undefined {
		const { localSessions } = this.config;
		return Object.hasOwn(localSessions, localName) ? localSessions[localName] : this.client.sessionId;
	}

	/** Asks once for each image and platform. */
	resolveImage(source: SourceOp, options: { platform: Platform; resolveMode: string; logName: string }): Promise<ImageMeta> {
		const key = JSON.stringify([source.identifier, [...source.attrs], formatPlatformFull(options.platform), options.resolveMode]);
		let meta = this.resolved.get(key);
		if (!meta) {
			meta = this.client.resolveImageConfig(source, options);
			this.resolved.set(key, meta);
		}
		return meta;
	}

	private context(): Promise<BuildContext> {
		return (this.buildContext ??= this.initContext());
	}

	private async initContext(): Promise<BuildContext> {
		const { opts } = this.client;
		const found = await this.detectContext(opts[opts['contextkey'] ?? 'context'] ?? '');
		const names = {
			contextName: 'context',
			dockerfileName: opts['dockerfilekey'] ?? 'dockerfile',
			filename: found.filename ?? opts['filename'] ?? dockerfileName,
		};
		const subdir = opts['contextsubdir'];
		const context = found.context && subdir !== undefined
			? scratch().file(fileActions().copy(found.context, subdir, '/', { copyDirContentsOnly: true }))
			: found.context;
		return {
			...names,
			...(context ? { context } : {}),
			...(found.dockerfile && opts['dockerfilekey'] === undefined ? { dockerfile: found.dockerfile } : {}),
			...(found.source ? { source: found.source } : {}),
		};
	}

	private async detectContext(ref: string): Promise<{ context?: State; dockerfile?: State; filename?: string; source?: State }> {
		const git = parseGitRef(ref);
		if (git) {
			const keep = parseBool(this.client.opts['build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR'] ?? '');
			const options: GitOptions = {
				...(this.client.opts['build-arg:SOURCE_DATE_EPOCH'] && !git.mtime ? { mtime: 'commit' } : {}),
				...(keep ? { keepGitDir: true } : {}),
			};
			const state = gitState(git, { ...options, name: internalName(`load git source ${ref}`) });
			return { context: state, dockerfile: state, source: state };
		}
		if (/^https?:\/\//.test(ref)) return this.httpContext(ref);
		const inputs = await this.client.inputs?.();
		const context = inputs?.get('context');
		const dockerfile = inputs?.get('dockerfile');
		return {
			...(context ? { context: stateFromDefinition(context) } : {}),
			...(dockerfile ? { dockerfile: stateFromDefinition(dockerfile) } : {}),
		};
	}

	/** A tar to unpack, or a Dockerfile without a context. */
	private async httpContext(url: string): Promise<{ context: State; dockerfile: State; filename?: string; source: State }> {
		const filename = 'context';
		const source = http(url, { filename, name: internalName('load remote build context') });
		const ref = await wrap('failed to resolve httpcontext', () => this.client.solve(marshal(source)));
		const head = await wrap('failed to read downloaded context', async () => (await ref?.readFile(filename, { offset: 0, length: 1024 })) ?? new Uint8Array());
		if (!isArchive(head)) return { context: source, dockerfile: source, filename, source };
		const unpacked = scratch().file(fileActions().copy(source, `/${filename}`, '/', { attemptUnpack: true }));
		return { context: unpacked, dockerfile: unpacked, source };
	}

	/** Reads the Dockerfile. */
	async readEntrypoint(): Promise<Entrypoint> {
		const context = await this.context();
		const { filename } = context;
		const state = context.dockerfile ?? this.dockerfileSource(context);
		const definition = marshal(state);
		const ref = await wrap('failed to resolve dockerfile', () => this.client.solve(definition));
		const data = await wrap('failed to read dockerfile', () => readDockerfile(ref, filename));
		const text = await readOptional(ref, `${filename}${ignoreFile}`);
		if (text !== undefined) this.ownIgnores = text;
		const last = definition.def.at(-1);
		const vertex = last ? Op.decode(last).inputs[0]?.digest ?? '' : digestOf('');
		return { data, sourceMap: { filename, language: 'Dockerfile', data, state, definition }, vertex };
	}

	private dockerfileSource({ filename, dockerfileName: name }: BuildContext): State {
		const sessionId = this.sessionOf(name);
		const lower = posix.join(posix.dirname(filename), dockerfileName.toLowerCase());
		return local(name, {
			followPaths: [filename, `${filename}${ignoreFile}`, ...(basePath(filename) === dockerfileName ? [lower] : [])],
			sharedKeyHint: name,
			name: internalName(`load build definition from ${filename}`),
			differ: { type: 'none', required: false },
			...(sessionId ? { sessionId } : {}),
		});
	}

	/** What the main context leaves out; nothing when it is no directory of the client. */
	async ignorePatterns(): Promise<readonly string[]> {
		const context = await this.context();
		return context.context ? [] : this.readIgnores(context);
	}

	private readIgnores(context: BuildContext): Promise<readonly string[]> {
		return (this.ignores ??= (async () => {
			if (this.ownIgnores !== undefined) return readIgnoreFile(this.ownIgnores);
			const sessionId = this.sessionOf(context.contextName);
			const state = local(context.contextName, {
				followPaths: [ignoreFile],
				sharedKeyHint: `${context.contextName}-${ignoreFile}`,
				name: internalName(`load ${ignoreFile}`),
				differ: { type: 'none', required: false },
				...(sessionId ? { sessionId } : {}),
			});
			return readIgnoreFile((await readOptional(await this.client.solve(marshal(state)), ignoreFile)) ?? '');
		})());
	}

	/** The main context, of a directory only `followPaths` when given. */
	async mainContext(followPaths?: readonly string[]): Promise<State> {
		const context = await this.context();
		if (context.context) return context.context;
		const sessionId = this.sessionOf(context.contextName);
		return local(context.contextName, {
			excludePatterns: await this.readIgnores(context),
			sharedKeyHint: context.contextName,
			name: internalName('load build context'),
			followPaths: followPaths ?? [],
			...(sessionId ? { sessionId } : {}),
		});
	}

	/** The context given under a name, if any. @throws Error when the name is no reference. */
	namedContext(name: string, options: ContextOptions): NamedContext | undefined {
		const { opts } = this.client;
		let familiar: string;
		try {
			familiar = familiarReference(parseReference(name)).replace(/:latest$/, '');
		} catch (error) {
			throw new Error(`invalid context name ${name}: ${messageOf(error)}`, { cause: error });
		}
		for (const key of [`${familiar}::${formatPlatformFull(normalizePlatform(options.platform))}`, familiar]) {
			const input = opts[`context:${key}`];
			if (input !== undefined) return new NamedContext(this, input, familiar, key, options);
		}
		return undefined;
	}
}

/** A Dockerfile that was read, with the options it is built with. */
export interface Dockerfile {
	readonly ui: Ui;
	readonly entrypoint: Entrypoint;
}

/** @throws Error when an option is wrong or there is no Dockerfile. */
export async function openDockerfile(client: FrontendClient): Promise<Dockerfile> {
	const ui = new Ui(client);
	return { ui, entrypoint: await ui.readEntrypoint() };
}

/** The Dockerfile; one called `dockerfile` will do. */
async function readDockerfile(ref: Reference | undefined, filename: string): Promise<Uint8Array> {
	if (!ref) throw new Error(`open ${filename}: no such file or directory`);
	try {
		return await ref.readFile(filename);
	} catch (error) {
		if (basePath(filename) !== dockerfileName) throw error;
		try {
			return await ref.readFile(posix.join(posix.dirname(filename), dockerfileName.toLowerCase()));
		} catch {
			throw error;
		}
	}
}
