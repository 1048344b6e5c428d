// What a file system changes against another, and laying such changes over a third. Block-device layers cannot
// be stacked like overlay directories: files are copied, and what was removed is removed.
import path from 'node:path';
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { FileTree, runFileActions, unpackTar, writeChangeset } from '../native/files.js';
import { snapshotOf, type Snapshot } from '../snapshot/index.js';
import type { Worker } from './worker.js';

/** From `lower` to `upper`: files added, changed and removed. */
export interface Change<Chain = Snapshot> {
	readonly lower: Chain;
	readonly upper: Chain;
}

/** Where a chain has layers that are not changes of what is below them, and what was laid there instead. */
export interface Laid<Chain = Snapshot> {
	/** The layers from here, up to but not with `to`, stand for `changes`. */
	readonly from: number;
	readonly to: number;
	/** May remove files that were not there: on another file system they may be. */
	readonly changes: readonly Change<Chain>[];
}

/** A file system with what was laid to make it. */
export interface Changed {
	readonly snapshot: Snapshot;
	readonly laid?: Laid | undefined;
}

/** Everything it lays over another file system when it is merged, in order. */
export function changesOf({ snapshot, laid }: Changed): readonly Change[] {
	const { layers } = snapshot;
	if (!laid) return layerChanges(snapshot, 0, layers.length);
	return [...layerChanges(snapshot, 0, laid.from), ...laid.changes, ...layerChanges(snapshot, laid.to, layers.length)];
}

function layerChanges({ layers }: Snapshot, from: number, to: number): readonly Change[] {
	return layers.slice(from, to).map((_, i) => ({ lower: snapshotOf(layers.slice(0, from + i)), upper: snapshotOf(layers.slice(0, from + i + 1)) }));
}

/** The changes on top of `base`, as one layer more. */
export async function layChanges(worker: Worker, base: Snapshot, changes: readonly Change[], uuid: string, signal: AbortSignal): Promise<Snapshot> {
	const target = await worker.snapshots.writable(base, signal);
	try {
		for (const change of changes) await apply(worker, change, target.root, signal);
		return await target.commit(uuid);
	} finally {
		await target.abort();
	}
}

async function apply(worker: Worker, { lower, upper }: Change, root: string, signal: AbortSignal): Promise<void> {
	// On nothing there is nothing to remove: files are copied straight.
	if (lower.layers.length === 0) return copy(worker, upper, root, signal);
	const file = path.join(worker.temporaryDir, `changes-${randomBytes(6).toString('hex')}`);
	const below = await worker.snapshots.view(lower, signal);
	try {
		const above = await worker.snapshots.view(upper, signal);
		try {
			await writeChangeset({ lower: below.root, upper: above.root, out: file, compression: 'uncompressed', exact: true }, { signal });
		} finally {
			await above.release();
		}
		await unpackTar(file, root, { mode: 'layer', signal });
	} finally {
		await below.release();
		await rm(file, { force: true });
	}
}

async function copy(worker: Worker, snapshot: Snapshot, root: string, signal: AbortSignal): Promise<void> {
	if (snapshot.layers.length === 0) return;
	const view = await worker.snapshots.view(snapshot, signal);
	try {
		const tree = await FileTree.open({ root: view.root, skipLostFound: true });
		try {
			await runFileActions(root, [
				{ type: 'copy', source: tree, src: '/', dest: '/', dirCopyContents: true, createDestPath: true, alwaysReplaceExistingDestPaths: true },
			], { signal });
		} finally {
			tree.close();
		}
	} finally {
		await view.release();
	}
}

/**
 * The changes from one file system to another. Several that were made on `lower` one after the other stay apart,
 * as with BuildKit: what one of them removed is removed, even if it never was there.
 */
export function difference(lower: Changed, upper: Changed): readonly Change[] {
	if (lower.snapshot.id === upper.snapshot.id) return [];
	const below = changesOf(lower);
	const all = changesOf(upper);
	const isBuiltOn = below.every((change, i) => isSame(change, all[i]));
	return isBuiltOn && all.length > below.length + 1 ? all.slice(below.length) : [{ lower: lower.snapshot, upper: upper.snapshot }];
}

function isSame(a: Change, b: Change | undefined): boolean {
	return a.lower.id === b?.lower.id && a.upper.id === b.upper.id;
}
