// Contexts with a name (--build-context): what stands in for a stage or an image of that name.
import type { Output, Platform, SourceOp, State } from '../../src/llb/index.js';
import {
	attr, cleanPath, compareBytes, formatReference, http, image, local, marshal, ociLayout, parseReference, scratch, State as LlbState, stateFromDefinition, withDefaultTag,
} from '../../src/llb/index.js';
import { NotAnImageError, type FrontendClient, type ImageMeta } from '../client.js';
import { messageOf } from '../errors.js';
import type { Image } from '../image.js';
import { decodeImage, platformOfImage } from '../image.js';
import { quote } from '../text/format.js';
import { gitState, parseGitRef } from './git-ref.js';
import { readIgnoreFile } from './ignore.js';

export interface ContextOptions {
	readonly platform: Platform;
	readonly resolveMode: string;
	/** Asked when the context is transferred: the paths used of it, undefined for all. */
	readonly followPaths: () => readonly string[] | undefined;
}

/** What NamedContext needs of its surroundings. */
export interface ContextHost {
	readonly client: FrontendClient;
	resolveImage(source: SourceOp, options: { platform: Platform; resolveMode: string; logName: string }): Promise<ImageMeta>;
	sessionOf(localName: string): string | undefined;
}

export interface LoadedContext {
	readonly state: State;
	readonly image?: Image;
}

/** Environment, directory and platform of an image config. */
function withImageConfig(state: State, config: Image): State {
	const env = (config.config.Env ?? []).map((entry): [string, string] => {
		const equals = entry.indexOf('=');
		return equals < 0 ? [entry, ''] : [entry.slice(0, equals), entry.slice(equals + 1)];
	}).filter(([key]) => key !== '');
	const configured = state.addEnv(env).dir(config.config.WorkingDir ?? '');
	return config.os && config.architecture ? configured.platform(platformOfImage(config)) : configured;
}

function sourceOp(identifier: string, attrs: Readonly<Record<string, string | undefined>> = {}): SourceOp {
	const present = Object.entries(attrs).filter((entry): entry is [string, string] => entry[1] !== undefined);
	return { identifier, attrs: new Map(present) };
}

/** The op of an image in a registry, as the resolver is asked for it. */
export function imageSource(ref: string): SourceOp {
	return sourceOp(`docker-image://${ref}`);
}

export class NamedContext {
	constructor(
		private readonly host: ContextHost,
		private readonly input: string,
		private readonly name: string,
		/** As it is asked for: `NAME` or `NAME::os/arch`. */
		private readonly nameWithPlatform: string,
		private readonly options: ContextOptions,
	) {}

	/** @throws Error when the context cannot be had. */
	async load(): Promise<LoadedContext> {
		const colon = this.input.indexOf(':');
		if (colon < 0) throw new Error(`invalid context specifier ${this.input} for ${this.nameWithPlatform}`);
		const kind = this.input.slice(0, colon);
		const rest = this.input.slice(colon + 1);
		switch (kind.startsWith('git@') ? 'git' : kind) {
			case 'docker-image': return this.loadImage(rest.replace(/^\/\//, ''));
			case 'git': return { state: this.gitState() ?? this.fail(`invalid git context ${this.input}`) };
			case 'http': case 'https':
				return { state: this.gitState() ?? http(this.input, { filename: 'context', name: this.title(this.input) }) };
			case 'oci-layout': return this.loadOciLayout(rest.replace(/^\/\//, ''));
			case 'local': return { state: await this.loadLocal(rest) };
			case 'input': return this.loadInput(rest);
			default: return this.fail(`unsupported context source ${kind} for ${this.nameWithPlatform}`);
		}
	}

	private fail(message: string): never {
		throw new Error(message);
	}

	private title(text: string): string {
		return `[context ${this.nameWithPlatform}] ${text}`;
	}

	private gitState(): State | undefined {
		const ref = parseGitRef(this.input);
		return ref && gitState(ref, { name: `[internal] load git source ${this.input}` });
	}

	private async loadImage(ref: string): Promise<LoadedContext> {
		if (ref === 'scratch') return { state: scratch() };
		const { platform, resolveMode } = this.options;
		const named = formatReference(withDefaultTag(parseReference(ref)));
		const meta = await this.host.resolveImage(imageSource(named), { platform, resolveMode, logName: this.title(`load metadata for ${ref}`) }).catch((error: unknown) => {
			if (error instanceof NotAnImageError) return error;
			throw error;
		});
		if (meta instanceof NotAnImageError) return new NamedContext(this.host, meta.updated.replace(/^local:\/\//, 'local:'), this.name, this.nameWithPlatform, this.options).load();
		const config = decodeImage(meta.config);
		delete config.created;
		const state = image(meta.ref, { name: this.title(ref), platform });
		return { state: withImageConfig(state, config), image: config };
	}

	private async loadOciLayout(ref: string): Promise<LoadedContext> {
		const match = /^([^@:]+(?::\d+\/[^@:]+)?)(?::[^@]+)?@(.+)$/.exec(ref);
		if (!match) return this.fail(`oci-layout reference ${quote(ref)} has no digest`);
		const [, storeId = '', digest = ''] = match;
		const { platform, resolveMode } = this.options;
		const sessionId = this.host.client.sessionId;
		const shown = `${formatReference({ ...parseReference(this.name) })}@${digest}`;
		const source = sourceOp(`oci-layout://${shown}`, { [attr.ociStoreId]: storeId, [attr.ociSessionId]: sessionId });
		const meta = await this.host.resolveImage(source, { platform, resolveMode, logName: this.title(`load metadata for ${shown}`) });
		const config = decodeImage(meta.config);
		const state = ociLayout(shown, { name: this.title('OCI load from client'), platform, storeId, ...(sessionId ? { sessionId } : {}) });
		return { state: withImageConfig(state, config), image: config };
	}

	/** A directory of the client. What is used of it is known only when the whole Dockerfile is converted. */
	private async loadLocal(name: string): Promise<State> {
		const excludePatterns = await this.readIgnores(name);
		const sessionId = this.host.sessionOf(name);
		const sharedKey = this.host.client.opts[`sharedkey:localdir:${this.nameWithPlatform}`] ?? '';
		const make = (): Output => {
			const state = local(name, {
				name: this.title('load from client'),
				sharedKeyHint: `context:${this.nameWithPlatform}-${sharedKey}`,
				excludePatterns,
				followPaths: this.options.followPaths() ?? [],
				...(sessionId ? { sessionId } : {}),
			});
			return state.output ?? this.fail('a local source has an output');
		};
		let output: Output | undefined;
		return LlbState.from({ get vertex() { return (output ??= make()).vertex; }, index: 0 });
	}

	private async readIgnores(name: string): Promise<string[]> {
		const sessionId = this.host.sessionOf(name);
		const state = local(name, {
			name: this.title('load .dockerignore'),
			followPaths: ['.dockerignore'],
			sharedKeyHint: `context:${this.nameWithPlatform}-.dockerignore`,
			differ: { type: 'none', required: false },
			...(sessionId ? { sessionId } : {}),
		});
		const ref = await this.host.client.solve(marshal(state));
		return readIgnoreFile((await readOptional(ref, '.dockerignore')) ?? '');
	}

	private async loadInput(name: string): Promise<LoadedContext> {
		const definition = (await this.host.client.inputs?.())?.get(name);
		if (!definition) return this.fail(`invalid input ${name} for ${this.nameWithPlatform}`);
		const state = stateFromDefinition(definition);
		const metadata = this.host.client.opts[`input-metadata:${name}`];
		const config = metadata === undefined ? undefined : inputConfig(metadata);
		return config ? { state: withImageConfig(state, config), image: config } : { state };
	}
}

/** The image config in the metadata of an input: a JSON object of base64 values. */
function inputConfig(metadata: string): Image | undefined {
	let values: Partial<Record<string, string>>;
	try {
		values = JSON.parse(metadata) as Partial<Record<string, string>>;
	} catch (cause) {
		throw new Error(`failed to parse input metadata ${metadata}: ${messageOf(cause)}`, { cause });
	}
	const config = values['containerimage.config'];
	return config === undefined ? undefined : decodeImage(Buffer.from(config, 'base64'));
}

/** A text file of a result; undefined when it is not there. */
export async function readOptional(ref: { readFile(path: string): Promise<Uint8Array> } | undefined, path: string): Promise<string | undefined> {
	try {
		return ref && Buffer.from(await ref.readFile(path)).toString();
	} catch {
		return undefined;
	}
}

/** Paths as a local source is asked for them; undefined when all is used. */
export function followPathsOf(paths: ReadonlySet<string>): string[] | undefined {
	if (paths.size === 0 || paths.has('/')) return undefined;
	return [...paths].map((path) => cleanPath(path.replace(/^\/+/, '') || '.')).sort(compareBytes);
}
