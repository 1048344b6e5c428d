// What a file system changes against another, and laying such changes over a third. Block-device layers cannot
// be stacked like overlay directories: files are copied, and what was removed is removed.
import path from 'node:path';
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { FileTree, runFileActions, unpackTar, writeChangeset } from '../native/files.js';
import { snapshotOf, type Snapshot } from '../snapshot/index.js';
import type { Worker } from './worker.js';

/** From `lower` to `upper`: files added, changed and removed. */
export interface Change {
	readonly lower: Snapshot;
	readonly upper: Snapshot;
}

/** The changes a snapshot is made of, layer by layer from `from` layers on. */
export function changesOf(snapshot: Snapshot, from = 0): readonly Change[] {
	const { layers } = snapshot;
	return layers.slice(from).map((_, i) => ({ lower: snapshotOf(layers.slice(0, from + i)), upper: snapshotOf(layers.slice(0, from + i + 1)) }));
}

/** Whether `upper` was made by working on `lower`. */
export function isBuiltOn(upper: Snapshot, lower: Snapshot): boolean {
	return lower.layers.every((layer, i) => upper.layers[i]?.id === layer.id);
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
			await writeChangeset({ lower: below.root, upper: above.root, out: file, compression: 'uncompressed' }, { signal });
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

/** The changes from one snapshot to another; those that were made one after the other stay apart. */
export function difference(lower: Snapshot, upper: Snapshot): readonly Change[] {
	if (lower.id === upper.id) return [];
	return isBuiltOn(upper, lower) ? changesOf(upper, lower.layers.length) : [{ lower, upper }];
}
