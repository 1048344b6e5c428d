// Annotations of an exporter: `annotation[-TYPE][[PLATFORM]].KEY=VALUE`.
import { formatPlatformAll, parsePlatform, type Platform } from '../image/index.js';

type Values = Readonly<Record<string, string>>;

/** By what they go on. */
export interface AnnotationSet {
	readonly manifest: Values;
	readonly manifestDescriptor: Values;
	readonly index: Values;
	readonly indexDescriptor: Values;
}

/** By platform; those for all platforms under ''. */
export type Annotations = ReadonlyMap<string, AnnotationSet>;

const members: Readonly<Record<string, keyof AnnotationSet>> = {
	'': 'manifest',
	'manifest': 'manifest',
	'manifest-descriptor': 'manifestDescriptor',
	'index': 'index',
	'index-descriptor': 'indexDescriptor',
};

/** Reads the annotations among an exporter's attributes. Throws for types that do not exist. */
export function parseAnnotations(attributes: Values): Annotations {
	const sets = new Map<string, Record<keyof AnnotationSet, Record<string, string>>>();
	for (const [attribute, value] of Object.entries(attributes)) {
		const match = /^annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)$/.exec(attribute);
		if (!match) continue;
		const [, type = '', specifier = '', key = ''] = match;
		const member = members[type];
		if (!member) throw new Error(`unrecognized annotation type ${type}`);
		const platform = specifier === '' ? '' : formatPlatformAll(parsePlatform(specifier));
		const set = sets.get(platform) ?? { manifest: {}, manifestDescriptor: {}, index: {}, indexDescriptor: {} };
		set[member][key] = value;
		sets.set(platform, set);
	}
	return sets;
}

/** What goes on one platform's manifest, and on the index. */
export function annotationsFor(annotations: Annotations, platform: Platform | undefined): AnnotationSet {
	const all = [...annotations.values()];
	const own = [annotations.get(''), platform && annotations.get(formatPlatformAll(platform))].filter((set) => set !== undefined);
	return {
		manifest: Object.assign({}, ...own.map((set) => set.manifest)) as Values,
		manifestDescriptor: Object.assign({}, ...own.map((set) => set.manifestDescriptor)) as Values,
		index: Object.assign({}, ...all.map((set) => set.index)) as Values,
		indexDescriptor: Object.assign({}, ...all.map((set) => set.indexDescriptor)) as Values,
	};
}

/** Throws for annotations of platforms that are not built, or that the media types have no place for. */
export function checkAnnotations(annotations: Annotations, platforms: readonly Platform[], ociMediaTypes: boolean): void {
	const built = new Set(platforms.map(formatPlatformAll));
	for (const [platform, set] of annotations) {
		if (platform !== '' && !built.has(platform)) throw new Error(`invalid annotation: no platform ${platform} found in source`);
		const beyond = [set.index, set.indexDescriptor, set.manifestDescriptor].some((values) => Object.keys(values).length > 0);
		if (!ociMediaTypes && beyond) throw new Error('cannot export annotations with "oci-mediatypes=false"');
	}
}
