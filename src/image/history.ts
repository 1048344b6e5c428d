// Bringing a config's history in line with the layers an image really has, by BuildKit's rules.
import type { History, ImageConfig } from './config.js';
import { goTime } from './json.js';

/** A layer as the exporter knows it. */
export interface LayerRecord {
	readonly diffId: string;
	/** What made it, for a layer the history does not mention. */
	readonly description?: string;
	/** RFC 3339. */
	readonly createdAt?: string;
}

/**
 * The config for exactly these layers: diffIDs set, history completed (or, where it claims more layers than
 * there are, corrected), every history entry and the image itself given a creation time where one is known.
 */
export function withLayers(config: ImageConfig, layers: readonly LayerRecord[]): ImageConfig {
	const history = fillTimes(addMissing(limitLayers(config.history ?? [], layers.length), layers), layers);
	const created = config.created ?? history.findLast((entry) => entry.created !== undefined)?.created;
	return {
		...config,
		...(created !== undefined && { created }),
		rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.diffId) },
		history,
	};
}

/** A history that speaks of more layers than there are loses them from the top. */
function limitLayers(history: readonly History[], count: number): History[] {
	let seen = 0;
	return history.map((entry) => {
		if (entry.empty_layer === true) return entry;
		seen++;
		return seen > count ? { ...entry, empty_layer: true } : entry;
	});
}

function addMissing(history: readonly History[], layers: readonly LayerRecord[]): History[] {
	const known = history.filter((entry) => entry.empty_layer !== true).length;
	return [...history, ...layers.slice(known).map((layer) => ({
		...(layer.createdAt !== undefined && { created: layer.createdAt }),
		created_by: layer.description ?? 'created by buildkit',
		comment: 'buildkit.exporter.image.v0',
	}))];
}

function fillTimes(history: readonly History[], layers: readonly LayerRecord[]): History[] {
	let layer = 0;
	const ofLayers = history.map((entry) => {
		if (entry.empty_layer === true) return entry;
		const createdAt = layers[layer++]?.createdAt;
		return entry.created === undefined && createdAt !== undefined ? { ...entry, created: createdAt } : entry;
	});
	// An entry without a time gets that of the entry before it; those at the first gap get the time of the
	// first new layer, or a metadata step would look as old as the base image.
	let created = firstTimeAfterGap(ofLayers);
	let afterGap = false;
	return ofLayers.map((entry) => {
		if (entry.created !== undefined) {
			if (afterGap) created = entry.created;
			return entry;
		}
		afterGap = true;
		return created === undefined ? entry : { ...entry, created };
	});
}

function firstTimeAfterGap(history: readonly History[]): string | undefined {
	const gap = history.findIndex((entry) => entry.created === undefined);
	const after = gap === -1 ? undefined : history.slice(gap).find((entry) => entry.created !== undefined);
	return (after ?? history.findLast((entry) => entry.created !== undefined))?.created;
}

/** Times after `epoch` become it. Entries the base image has too keep theirs. */
export function clampTimes(config: ImageConfig, epoch: Date, base?: ImageConfig): ImageConfig {
	const { created, history = [] } = config;
	const known = base?.history ?? [];
	const diverged = history.findIndex((entry, i) => !isSame(entry, known[i]));
	const own = diverged < 0 ? history.length : diverged;
	return {
		...config,
		...(created !== undefined && { created: clamped(created, epoch) }),
		history: history.map((entry, i) => (i < own ? entry : { ...entry, created: entry.created === undefined ? goTime(epoch) : clamped(entry.created, epoch) })),
	};
}

function clamped(time: string, epoch: Date): string {
	return Date.parse(time) > epoch.getTime() ? goTime(epoch) : time;
}

function isSame(entry: History, other: History | undefined): boolean {
	return other !== undefined && (['created', 'created_by', 'author', 'comment'] as const).every((key) => (entry[key] ?? '') === (other[key] ?? '')) && (entry.empty_layer ?? false) === (other.empty_layer ?? false);
}
