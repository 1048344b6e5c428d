// The plain root file system: as a tar, or as files in a directory; of several platforms each in a directory of
// its own. Attestations become files beside the root's.
import { createReadStream } from 'node:fs';
import { mkdir, rm, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { FileTree, exportTree, readDirInRoot, readFileInRoot, runFileActions, writeRootTar } from '../native/files.js';
import type { ExportReceiver, ExportTree } from '../session/index.js';
import type { SnapshotManager } from '../snapshot/index.js';
import { digestOf, encodeJson } from '../image/index.js';
import { statement, type Subject } from './attestations.js';
import { step, type BuildOutput, type ExportContext, type PlatformResult } from './content.js';
import { makeDirectories } from './directory.js';
import { epochAttribute, type Attributes } from './options.js';
import { epochOf } from './timestamps.js';

export interface RootfsContext extends ExportContext {
	readonly snapshots: SnapshotManager;
	/** Names a file or directory for what cannot go straight to its receiver. */
	readonly temporaryPath: () => Promise<string>;
}

export interface RootfsOptions {
	readonly epoch: number | null | undefined;
	/** Before the names of attestation files. */
	readonly attestationPrefix: string;
	/** Each platform in a directory of its own; undefined: where there are several. */
	readonly platformSplit: boolean | undefined;
}

/** Options of the local and tar exporters. Throws an error that names the attribute. */
export function rootfsOptions(attributes: Attributes): RootfsOptions {
	const split = attributes['platform-split'];
	if (split !== undefined && !/^(?:1|t|T|true|TRUE|True|0|f|F|false|FALSE|False)$/.test(split)) throw new Error(`non-bool value for platform-split: ${split}`);
	const { mode } = attributes;
	if (mode !== undefined && mode !== '' && mode !== 'copy' && mode !== 'delete') throw new Error(`invalid local exporter mode ${JSON.stringify(mode)}`);
	return {
		epoch: epochAttribute(attributes),
		attestationPrefix: attributes['attestation-prefix'] ?? '',
		platformSplit: split === undefined ? undefined : /^(?:1|t)/i.test(split),
	};
}

/** `type=tar`. `destination`: a path, `-` for stdout, or a receiver. */
export async function exportTar(output: BuildOutput, destination: string | ExportReceiver, options: RootfsOptions, context: RootfsContext): Promise<void> {
	const [only] = output.platforms;
	const epoch = only && epochOf(options.epoch, only);
	if (only && !output.multiPlatform && attestationsOf(only).length === 0) return withRoot(only, context, (root) => sendTar(root, destination, epoch, context));
	// What lies in several trees is brought into one first: owners and modes are kept.
	await withStaging(context, async (staging) => {
		for (const result of output.platforms) {
			const target = output.multiPlatform ? path.join(staging, directoryOf(result)) : staging;
			await mkdir(target, { recursive: true, mode: 0o755 });
			await withRoot(result, context, async (root) => {
				const tree = await FileTree.open({ root, skipLostFound: true });
				try {
					await runFileActions(target, [{ type: 'copy', source: tree, src: '/', dest: '/', dirCopyContents: true, createDestPath: true }], { signal: context.signal });
				} finally {
					tree.close();
				}
				await writeAttestations(result, root, target, false, options);
			});
		}
		await sendTar(staging, destination, epoch, context);
	});
}

function sendTar(root: string, destination: string | ExportReceiver, epoch: number | undefined, context: RootfsContext): Promise<void> {
	const write = async (out: string | number): Promise<void> => {
		await writeRootTar({ root, out, ...(epoch !== undefined && { sourceDateEpoch: epoch }) }, { signal: context.signal });
	};
	return step(context, 'sending tarball', () => {
		if (typeof destination === 'string') return write(destination === '-' ? 1 : destination);
		return sendFile(destination, write, context);
	});
}

async function sendFile(receiver: ExportReceiver, write: (out: string) => Promise<void>, { signal, temporaryPath }: RootfsContext): Promise<void> {
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
export async function exportLocal(output: BuildOutput, destination: string | ExportReceiver, options: RootfsOptions, context: RootfsContext): Promise<void> {
	const isSplit = options.platformSplit ?? output.multiPlatform;
	if (output.multiPlatform && !isSplit) await checkDistinct(output, context);
	if (typeof destination === 'string') return exportFiles(output, destination, isSplit, options, context);
	const isPlain = output.platforms.every((result) => attestationsOf(result).length === 0 && epochOf(options.epoch, result) === undefined);
	if (isPlain && (isSplit || !output.multiPlatform)) return sendRoots(output, destination, isSplit, context);
	await withStaging(context, async (staging) => {
		await exportFiles(output, staging, isSplit, options, context);
		await destination.sendTrees([{ prefix: '', root: staging }], context.signal);
	});
}

async function sendRoots({ platforms }: BuildOutput, receiver: ExportReceiver, isSplit: boolean, context: RootfsContext): Promise<void> {
	const views = [];
	const trees: ExportTree[] = [];
	try {
		for (const result of platforms) {
			const view = await context.snapshots.view(result.snapshot, context.signal);
			views.push(view);
			trees.push({ prefix: isSplit ? directoryOf(result) : '', root: view.root });
		}
		await step(context, 'copying files', () => receiver.sendTrees(trees, context.signal));
	} finally {
		await Promise.all(views.map((view) => view.release()));
	}
}

async function exportFiles({ platforms, multiPlatform }: BuildOutput, directory: string, isSplit: boolean, options: RootfsOptions, context: RootfsContext): Promise<void> {
	for (const result of platforms) {
		const target = isSplit ? path.join(directory, directoryOf(result)) : directory;
		const epoch = epochOf(options.epoch, result);
		await withRoot(result, context, async (root) => {
			await makeDirectories(target);
			const name = multiPlatform ? `copying files ${result.id}` : 'copying files';
			await step(context, name, () => exportTree({ root, dest: target, ...(epoch !== undefined && { sourceDateEpoch: epoch }) }, { signal: context.signal }));
			await writeAttestations(result, root, target, multiPlatform && !isSplit, options);
		});
	}
}

/** A directory of our own while `use` runs. */
async function withStaging({ temporaryPath }: RootfsContext, use: (directory: string) => Promise<void>): Promise<void> {
	const directory = await temporaryPath();
	await mkdir(directory, { mode: 0o755 });
	try {
		await use(directory);
	} finally {
		await rm(directory, { recursive: true, force: true });
	}
}

/** Platforms whose files go to one place must not have files of the same name. */
async function checkDistinct({ platforms }: BuildOutput, context: RootfsContext): Promise<void> {
	const owners = new Map<string, string>();
	for (const result of platforms) {
		await withRoot(result, context, async (root) => {
			for await (const name of filesOf(root)) {
				const other = owners.get(name);
				if (other !== undefined) throw new Error(`cannot overwrite ${name} from ${other} with ${result.id} when split option is disabled`);
				owners.set(name, result.id);
			}
		});
	}
}

async function withRoot(result: PlatformResult, { snapshots, signal }: RootfsContext, use: (root: string) => Promise<void>): Promise<void> {
	const view = await snapshots.view(result.snapshot, signal);
	try {
		await use(view.root);
	} finally {
		await view.release();
	}
}

function directoryOf({ id }: PlatformResult): string {
	return id.replaceAll('/', '_');
}

function attestationsOf({ attestations = [] }: PlatformResult): NonNullable<PlatformResult['attestations']> {
	return attestations.filter(({ inlineOnly }) => !inlineOnly);
}

/** Statements about every file of the result, as files. */
async function writeAttestations(result: PlatformResult, root: string, target: string, withPlatform: boolean, options: RootfsOptions): Promise<void> {
	const attestations = attestationsOf(result);
	if (attestations.length === 0) return;
	const subjects: Subject[] = [];
	for await (const name of filesOf(root)) subjects.push({ name, digest: digestOf(await readFileInRoot(root, name)) });
	const written = new Set<string>();
	const epoch = epochOf(options.epoch, result);
	for (const attestation of attestations) {
		const name = fileName(`${options.attestationPrefix}${path.posix.basename(attestation.path)}`, withPlatform ? directoryOf(result) : '');
		if (written.has(name)) throw new Error(`duplicate attestation path name ${name}`);
		written.add(name);
		const file = path.join(target, name);
		await writeFile(file, encodeJson(await statement(attestation, subjects), '  '), { mode: 0o600 });
		if (epoch !== undefined) await utimes(file, epoch, epoch);
	}
}

function fileName(name: string, platform: string): string {
	if (platform === '') return name;
	const { name: stem, ext } = path.posix.parse(name);
	return `${stem}.${platform}${ext}`;
}

/** Regular files of a tree, paths without a slash in front. */
async function* filesOf(root: string, directory = ''): AsyncIterable<string> {
	for (const { path: entry, mode } of await readDirInRoot(root, `/${directory}`)) {
		const name = directory === '' ? entry : `${directory}/${entry}`;
		if (name === 'lost+found') continue;
		const type = mode & 0o170000;
		if (type === 0o040000) yield* filesOf(root, name);
		else if (type === 0o100000) yield name;
	}
}
