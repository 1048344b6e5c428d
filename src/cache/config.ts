// The config of a cache: which records there are and what layers they stand for, in the form of BuildKit's
// cacheconfig v0. obd's keys say all by themselves, so a record has no inputs; one that is the same as another
// under a second key has that as its only input.
import { createHash } from 'node:crypto';
import { asObject, isDigest, optionalList, optionalString, parseObject, type JsonRecord } from '../image/index.js';
import type { SealedLayer } from '../snapshot/index.js';

export const configMediaType = 'application/vnd.buildkit.cacheconfig.v0';
/** A config is read into memory; nobody's is bigger. */
export const maxConfigBytes = 32 * 1024 * 1024;
/** overlayfs and overlaybd stack far fewer. */
const maxChain = 1024;
const zeroTime = '0001-01-01T00:00:00Z';

/** What an output of a vertex is, in chains of layers, bottom first. */
export interface CacheOutput<Layer = SealedLayer> {
	readonly layers: readonly Layer[];
	/** The layers from `from`, up to but not with `to`, were made by laying these changes: what a merge or a diff removed is in no layer. */
	readonly laid?: LaidLayers<Layer>;
}

interface LaidLayers<Layer> {
	readonly from: number;
	readonly to: number;
	readonly changes: readonly { readonly lower: readonly Layer[]; readonly upper: readonly Layer[] }[];
}

/** One vertex of a build, to be exported. */
export interface CacheEntry {
	/** Keys it is found under. */
	readonly keys: readonly string[];
	/** What later vertices build on; may be among the keys. */
	readonly key: string;
	readonly outputs: readonly CacheOutput[];
}

export interface EncodedConfig {
	readonly bytes: Uint8Array;
	/** Every layer once, in the config's order. */
	readonly layers: readonly SealedLayer[];
}

interface LayerRow {
	readonly blob: string;
	readonly parent: number;
	readonly annotations: { readonly mediaType: string; readonly diffID: string; readonly size: number; readonly createdAt: string };
}

interface RecordRow {
	readonly layers?: readonly { readonly layer: number; readonly createdAt: string }[];
	readonly digest: string;
	readonly inputs?: readonly (readonly { readonly link: number }[])[];
	/** obd's own: the result's `laid`, with the leaves of lower and upper; -1: no layers. BuildKit ignores what it does not know. */
	readonly laid?: { readonly from: number; readonly to: number; readonly changes: readonly (readonly [number, number])[] };
}

const layerMediaType = 'application/vnd.oci.image.layer.v1.tar';

/** The config of these entries. Those with an output without layers are left out: nothing stands for them. */
export function encodeConfig(entries: readonly CacheEntry[]): EncodedConfig {
	const rows: LayerRow[] = [];
	const nodes = new Map<string, number>();
	const layers = new Map<string, SealedLayer>();
	const leafOf = (chain: readonly SealedLayer[]): number => {
		let parent = -1;
		for (const layer of chain) {
			const node = `${parent} ${layer.digest}`;
			let index = nodes.get(node);
			if (index === undefined) {
				const { digest, size, createdAt = zeroTime } = layer;
				index = rows.push({ blob: digest, parent, annotations: { mediaType: layerMediaType, diffID: digest, size, createdAt } }) - 1;
				nodes.set(node, index);
				layers.set(digest, layer);
			}
			parent = index;
		}
		return parent;
	};
	const records = new Map<string, RecordRow & { readonly index: number }>();
	const add = (digest: string, row: Omit<RecordRow, 'digest'>): number => {
		const existing = records.get(digest);
		if (existing) return existing.index;
		records.set(digest, { ...row, digest, index: records.size });
		return records.size - 1;
	};
	for (const { keys, key, outputs } of entries) {
		if (outputs.length === 0 || outputs.some(({ layers: chain }) => chain.length === 0)) continue;
		const [first = 0] = outputs.map(({ layers: chain, laid }, i) => add(outputKey(key, i), {
			layers: [{ layer: leafOf(chain), createdAt: chain.at(-1)?.createdAt ?? zeroTime }],
			...(laid && { laid: { from: laid.from, to: laid.to, changes: laid.changes.map(({ lower, upper }) => [leafOf(lower), leafOf(upper)] as const) } }),
		}));
		for (const alias of keys) if (alias !== key) add(alias, { inputs: [[{ link: first }]] });
	}
	const config = { layers: rows, records: [...records.values()].map(({ index: _index, ...row }) => row) };
	return { bytes: Buffer.from(JSON.stringify(config)), layers: [...layers.values()] };
}

/** The digest an output's record has: the first one the key itself. */
export function outputKey(key: string, output: number): string {
	return output === 0 ? key : `sha256:${createHash('sha256').update(`${key}#${output}`).digest('hex')}`;
}

/** A chain of layers as a config has it. */
export interface LayerEntry {
	readonly digest: string;
	readonly createdAt?: string;
}

/** A config that came from anywhere: whatever makes no sense in it is as if it were not there. */
export class CacheConfig {
	readonly #layers: readonly (JsonRecord | undefined)[];
	readonly #records: readonly (JsonRecord | undefined)[];
	readonly #byDigest = new Map<string, JsonRecord>();

	/** Throws for what is no such document. */
	constructor(bytes: Uint8Array) {
		const object = parseObject(bytes, 'cache config');
		this.#layers = (optionalList(object, 'layers', 'cache config') ?? []).map(asRecord);
		this.#records = (optionalList(object, 'records', 'cache config') ?? []).map(asRecord);
		for (const record of this.#records) {
			const digest = record && optionalString(record, 'digest', 'cache record');
			if (record && digest !== undefined && isDigest(digest) && !this.#byDigest.has(digest)) this.#byDigest.set(digest, record);
		}
	}

	/** The record under a key: what later vertices build on, and the layers of each output. */
	find(key: string): { readonly key: string; readonly outputs: readonly CacheOutput<LayerEntry>[] } | undefined {
		const record = this.#byDigest.get(key);
		if (!record) return undefined;
		const output = this.#outputOf(record);
		if (!output) {
			const link = linkOf(record);
			const target = link === undefined ? undefined : this.#records[link];
			const digest = target?.['digest'];
			return typeof digest === 'string' && digest !== key && this.#byDigest.get(digest) === target && target && this.#outputOf(target) ? this.find(digest) : undefined;
		}
		const outputs = [output];
		for (let i = 1; ; i++) {
			const other = this.#byDigest.get(outputKey(key, i));
			const next = other && this.#outputOf(other);
			if (!next) return { key, outputs };
			outputs.push(next);
		}
	}

	#outputOf(record: JsonRecord): CacheOutput<LayerEntry> | undefined {
		const [result] = Array.isArray(record['layers']) ? record['layers'] as readonly unknown[] : [];
		const layers = this.#chain(asRecord(result)?.['layer']);
		if (!layers || layers.length === 0) return undefined;
		if (!('laid' in record)) return { layers };
		const laid = this.#laid(asRecord(record['laid']), layers.length);
		return laid && { layers, laid };
	}

	#laid(laid: JsonRecord | undefined, length: number): LaidLayers<LayerEntry> | undefined {
		const from = indexIn(laid?.['from']);
		const to = indexIn(laid?.['to']);
		const pairs = laid?.['changes'];
		if (from === undefined || to === undefined || from < 0 || to < from || to > length || !Array.isArray(pairs) || pairs.length > maxChain) return undefined;
		const changes: LaidLayers<LayerEntry>['changes'][number][] = [];
		for (const pair of pairs as readonly unknown[]) {
			const [lower, upper] = Array.isArray(pair) ? [this.#chain(pair[0]), this.#chain(pair[1])] : [];
			if (!lower || !upper) return undefined;
			changes.push({ lower, upper });
		}
		return { from, to, changes };
	}

	/** The layers up to a leaf; none for -1. */
	#chain(leaf: unknown): readonly LayerEntry[] | undefined {
		let index = indexIn(leaf);
		const chain: LayerEntry[] = [];
		while (index !== undefined && index >= 0) {
			const layer = this.#layers[index];
			const digest = layer?.['blob'];
			if (typeof digest !== 'string' || !isDigest(digest) || chain.length === maxChain) return undefined;
			const createdAt = asRecord(layer?.['annotations'])?.['createdAt'];
			chain.push({ digest, ...(typeof createdAt === 'string' && createdAt !== zeroTime && { createdAt }) });
			// Go leaves a parent of 0 out.
			index = layer && 'parent' in layer ? indexIn(layer['parent']) : 0;
		}
		return index === undefined ? undefined : chain.reverse();
	}
}

function asRecord(value: unknown): JsonRecord | undefined {
	try {
		return asObject(value, 'cache config');
	} catch {
		return undefined;
	}
}

function indexIn(value: unknown): number | undefined {
	return Number.isSafeInteger(value) ? value as number : undefined;
}

/** The one record a record is the same as. */
function linkOf(record: JsonRecord): number | undefined {
	const { inputs } = record;
	if (!Array.isArray(inputs) || inputs.length !== 1) return undefined;
	const [links] = inputs as readonly unknown[];
	if (!Array.isArray(links) || links.length !== 1) return undefined;
	const link = asRecord(links[0]);
	return link && !('selector' in link) ? indexIn(link['link'] ?? 0) : undefined;
}
