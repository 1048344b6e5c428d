// The plain root file system: as a tar, or as files in a directory.
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { exportTree, writeRootTar } from '../native/files.js';
import type { SnapshotManager } from '../snapshot/index.js';
import { formatPlatform } from '../image/index.js';
import { step, type BuildOutput, type ExportContext } from './content.js';
import { makeDirectories } from './directory.js';
import type { ExportReceiver, ExportTree } from '../session/index.js';

export interface RootfsContext extends ExportContext {
	readonly snapshots: SnapshotManager;
	/** Names a file for what cannot go straight to its receiver. */
	readonly temporaryPath: () => Promise<string>;
}

/** `type=tar`: the file system of one platform. `destination`: a path, `-` for stdout, or a receiver. */
export async function exportTar(output: BuildOutput, destination: string | ExportReceiver, context: RootfsContext): Promise<void> {
	const [result, ...others] = output.platforms;
	if (!result || others.length > 0) throw new Error('type=tar exports one platform: choose it with --platform');
	const view = await context.snapshots.view(result.snapshot, context.signal);
	const write = (out: string | number): Promise<unknown> => writeRootTar({ root: view.root, out }, { signal: context.signal });
	try {
		await step(context, 'sending tarball', async () => {
			if (typeof destination === 'string') await write(destination === '-' ? 1 : destination);
			else await sendFile(destination, write, context);
		});
	} finally {
		await view.release();
	}
}

async function sendFile(receiver: ExportReceiver, write: (out: string) => Promise<unknown>, { signal, temporaryPath }: RootfsContext): Promise<void> {
	const target = await receiver.openFile({}, signal);
	const file = await temporaryPath();
	try {
		await write(file);
		await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), target, { signal });
	} finally {
		target.destroy();
		await rm(file, { force: true });
	}
}

/** `type=local`: the files, for several platforms each in a directory `os_arch` of its own. */
export async function exportLocal(output: BuildOutput, destination: string | ExportReceiver, context: RootfsContext): Promise<void> {
	const views = [];
	const trees: ExportTree[] = [];
	try {
		for (const { platform, snapshot } of output.platforms) {
			const view = await context.snapshots.view(snapshot, context.signal);
			views.push(view);
			trees.push({ prefix: output.multiPlatform ? formatPlatform(platform).replaceAll('/', '_') : '', root: view.root });
		}
		if (typeof destination !== 'string') return await step(context, 'copying files', () => destination.sendTrees(trees, context.signal));
		for (const { prefix, root } of trees) {
			const target = path.join(destination, prefix);
			await makeDirectories(target);
			await step(context, `copying files ${prefix.replace('_', '/')}`.trim(), () => exportTree({ root, dest: target }, { signal: context.signal }));
		}
	} finally {
		await Promise.all(views.map((view) => view.release()));
	}
}
