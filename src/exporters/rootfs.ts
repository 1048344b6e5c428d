// The plain root file system: as a tar, or as files in a directory.
import path from 'node:path';
import { exportTree, writeRootTar } from '../native/files.js';
import type { SnapshotManager } from '../snapshot/index.js';
import { formatPlatform } from '../image/index.js';
import { step, type BuildOutput, type ExportContext } from './content.js';
import { makeDirectories } from './directory.js';

export interface RootfsContext extends ExportContext {
	readonly snapshots: SnapshotManager;
}

/** `type=tar`: the file system of one platform. `file`: a path, or `-` for stdout. */
export async function exportTar(output: BuildOutput, file: string, context: RootfsContext): Promise<void> {
	const [result, ...others] = output.platforms;
	if (!result || others.length > 0) throw new Error('type=tar exports one platform: choose it with --platform');
	const view = await context.snapshots.view(result.snapshot, context.signal);
	try {
		await step(context, 'sending tarball', () => writeRootTar({ root: view.root, out: file === '-' ? 1 : file }, { signal: context.signal }));
	} finally {
		await view.release();
	}
}

/** `type=local`: the files below `directory`, for several platforms each in a directory `os_arch` of its own. */
export async function exportLocal(output: BuildOutput, directory: string, context: RootfsContext): Promise<void> {
	for (const { platform, snapshot } of output.platforms) {
		const target = output.multiPlatform ? path.join(directory, formatPlatform(platform).replaceAll('/', '_')) : directory;
		const view = await context.snapshots.view(snapshot, context.signal);
		try {
			await makeDirectories(target);
			await step(context, output.multiPlatform ? `copying files ${formatPlatform(platform)}` : 'copying files', () => exportTree({ root: view.root, dest: target }, { signal: context.signal }));
		} finally {
			await view.release();
		}
	}
}
