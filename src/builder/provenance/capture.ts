// What a build took from outside and what it was lent, found in the graphs of its definitions.
import { MountType, NetMode, loadDefinition, type Definition, type Vertex } from '../../llb/index.js';
import { formatPlatform, parseReference, type Platform } from '../../image/index.js';
import { platformOf, type Worker } from '../../ops/index.js';
import type { SourceChoice } from '../source-choice.js';
import type { Material, SourceContext } from '../../sources/index.js';

export type ImageMaterial = Extract<Material, { kind: 'image' }>;
export type GitMaterial = Extract<Material, { kind: 'git' }>;
export type HttpMaterial = Extract<Material, { kind: 'http' }>;

export interface Lent {
	readonly id: string;
	readonly optional: boolean;
}

export interface Capture {
	readonly images: readonly ImageMaterial[];
	readonly git: readonly GitMaterial[];
	readonly http: readonly HttpMaterial[];
	/** Names of the client's directories. */
	readonly locals: readonly string[];
	readonly secrets: readonly Lent[];
	readonly ssh: readonly Lent[];
	/** A step could reach a network. */
	readonly networkAccess: boolean;
	/** Something was used that cannot be named. */
	readonly isIncomplete: boolean;
}

/** What it takes to say what a source is. */
export interface SourceAccess {
	readonly worker: Worker;
	readonly sources: SourceChoice;
	readonly context: SourceContext;
}

/** Captures definitions, and images that were asked for without one. Everything once, sorted. */
export async function capture(definitions: readonly Definition[], asked: readonly ImageMaterial[], sources: SourceAccess): Promise<Capture> {
	const vertices = new Map(definitions.flatMap((definition) => loadDefinition(definition).vertices).map((vertex) => [vertex.digest, vertex]));
	const materials: Material[] = [];
	const secrets: Lent[] = [];
	const ssh: Lent[] = [];
	let networkAccess = false;
	let isIncomplete = false;
	for (const vertex of vertices.values()) {
		const { kind } = vertex;
		if (kind.$case === 'source') materials.push(await materialOf(vertex, sources));
		else if (kind.$case === 'build') isIncomplete = true;
		else if (kind.$case === 'exec') {
			for (const { mountType, secretOpt, SSHOpt } of kind.exec.mounts) {
				if (mountType === MountType.SECRET && secretOpt) secrets.push({ id: secretOpt.ID, optional: secretOpt.optional });
				if (mountType === MountType.SSH && SSHOpt) ssh.push({ id: SSHOpt.ID || 'default', optional: SSHOpt.optional });
			}
			secrets.push(...kind.exec.secretenv.map(({ ID, optional }) => ({ id: ID, optional })));
			networkAccess ||= kind.exec.network !== NetMode.NONE;
		}
	}
	const of = <K extends Material['kind']>(wanted: K): Extract<Material, { kind: K }>[] => (
		materials.filter((material): material is Extract<Material, { kind: K }> => material.kind === wanted)
	);
	const git = of('git');
	secrets.push(...git.flatMap((one) => one.secrets.map((id) => ({ id, optional: true }))));
	ssh.push(...git.flatMap((one) => one.ssh.map((id) => ({ id, optional: true }))));
	return {
		images: tagged(unique([...of('image'), ...asked], ({ reference, local, platform }) => `${reference} ${local} ${formatPlatform(platform)}`)),
		git: unique(git, ({ url }) => url),
		http: unique(of('http'), ({ url }) => url),
		locals: unique(of('local'), ({ name }) => name).map(({ name }) => name),
		secrets: unique(secrets, ({ id }) => id),
		ssh: unique(ssh, ({ id }) => id),
		networkAccess,
		isIncomplete,
	};
}

async function materialOf(vertex: Vertex, { worker, sources, context }: SourceAccess): Promise<Material> {
	if (vertex.kind.$case !== 'source') throw new TypeError('not a source');
	const platform = platformOf(vertex, worker);
	const source = worker.sources.source(await sources.choose(vertex.kind.source, platform), platform);
	return (await source.identity(context)).material;
}

/** The first of each key, sorted by it. */
function unique<T>(items: readonly T[], keyOf: (item: T) => string): T[] {
	const first = new Map<string, T>();
	for (const item of items) if (!first.has(keyOf(item))) first.set(keyOf(item), item);
	return [...first].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, item]) => item);
}

/** An image by digest says no more than the same by its tag. */
function tagged(images: readonly ImageMaterial[]): ImageMaterial[] {
	const nameOf = (reference: string): string => {
		const { domain, path, tag = 'latest' } = parseReference(reference);
		return `${domain}/${path}:${tag}`;
	};
	const byTag = new Set(images.filter(({ reference }) => !reference.includes('@')).map(({ reference }) => nameOf(reference)));
	return images.filter(({ reference }) => !reference.includes('@') || !byTag.has(nameOf(reference)));
}

/** Of images that were asked for once a platform, those of this one. */
export function forPlatform(images: readonly ImageMaterial[], platform: Platform, all: readonly Platform[]): readonly ImageMaterial[] {
	const own = formatPlatform(platform);
	const others = new Set(all.map(formatPlatform).filter((one) => one !== own));
	return images.filter((image) => !others.has(formatPlatform(image.platform)));
}
