// What can be said about any vertex besides what it does.
import type { Definition, LinuxResources, Location, OpMetadata, Platform as PbPlatform, Range } from './gen/ops.js';
import type { Platform } from './platform.js';
import type { State } from './state.js';

/** A text file vertices were written in, kept with the definition so that errors can quote it. */
export interface SourceMap {
	readonly filename: string;
	/** As in GitHub's linguist: `Dockerfile`. */
	readonly language: string;
	readonly data: Uint8Array;
	/** Where the file itself was read from. */
	readonly state?: State;
	readonly definition?: Definition;
}

export interface SourceLocation {
	readonly sourceMap: SourceMap;
	readonly ranges: readonly Range[];
}

/** Options every operation takes. None of them changes a vertex's digest except platform and filters. */
export interface Constraints {
	/** Default: that of the state, else the one given to marshal. */
	readonly platform?: Platform;
	/** What progress shows for the vertex instead of a text made from its op. */
	readonly name?: string;
	readonly description?: Readonly<Record<string, string>>;
	readonly ignoreCache?: boolean;
	/** Forces the result in or out of an exported cache. */
	readonly exportCache?: boolean;
	readonly progressGroup?: { readonly id: string; readonly name: string; readonly weak?: boolean };
	readonly linuxResources?: LinuxResources;
	readonly locations?: readonly SourceLocation[];
	/** containerd-style worker filters. */
	readonly filters?: readonly string[];
}

/** Metadata of a vertex from its constraints and the capabilities a daemon needs to run it. */
export function opMetadata(constraints: Constraints, caps: readonly string[]): OpMetadata {
	const description = new Map(Object.entries(constraints.description ?? {}));
	if (constraints.name !== undefined) description.set('llb.customname', constraints.name);
	return {
		ignoreCache: constraints.ignoreCache ?? false,
		description,
		exportCache: constraints.exportCache === undefined ? undefined : { Value: constraints.exportCache },
		caps: new Map(caps.map((cap) => [cap, true])),
		progressGroup: constraints.progressGroup && { weak: false, ...constraints.progressGroup },
		linuxResources: constraints.linuxResources,
	};
}

/** Adds what `extra` says to `metadata`, for the same op described twice. */
export function mergeMetadata(metadata: OpMetadata, extra: OpMetadata): void {
	metadata.ignoreCache ||= extra.ignoreCache;
	for (const [key, value] of extra.description) metadata.description.set(key, value);
	for (const [key, value] of extra.caps) metadata.caps.set(key, value);
	metadata.exportCache = extra.exportCache ?? metadata.exportCache;
	metadata.progressGroup = extra.progressGroup ?? metadata.progressGroup;
	metadata.linuxResources = extra.linuxResources ?? metadata.linuxResources;
}

export function platformToPb(platform: Platform): PbPlatform {
	return {
		Architecture: platform.architecture,
		OS: platform.os,
		Variant: platform.variant ?? '',
		OSVersion: platform.osVersion ?? '',
		OSFeatures: [...(platform.osFeatures ?? [])],
	};
}

export function platformFromPb(platform: PbPlatform): Platform {
	return {
		os: platform.OS,
		architecture: platform.Architecture,
		...(platform.Variant ? { variant: platform.Variant } : {}),
		...(platform.OSVersion ? { osVersion: platform.OSVersion } : {}),
		...(platform.OSFeatures.length ? { osFeatures: platform.OSFeatures } : {}),
	};
}

/** Collects the source maps of a definition's vertices, each file once. */
export class SourceMapCollector {
	readonly maps: SourceMap[] = [];
	readonly locations = new Map<string, Location[]>();

	add(digest: string, locations: readonly SourceLocation[]): void {
		if (locations.length === 0) return;
		const list = this.locations.get(digest) ?? [];
		for (const location of locations) {
			list.push({ sourceIndex: this.index(location.sourceMap), ranges: [...location.ranges] });
		}
		this.locations.set(digest, list);
	}

	private index(map: SourceMap): number {
		const known = this.maps.findIndex((other) => other === map
			|| (other.filename === map.filename && other.language === map.language && Buffer.compare(other.data, map.data) === 0));
		return known >= 0 ? known : this.maps.push(map) - 1;
	}
}
