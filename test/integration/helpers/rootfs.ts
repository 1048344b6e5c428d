// What an image's file system holds, seen without the builder: layer blobs from the registry, flattened to
// a disk by obd-image, checked by e2fsck and mounted by the kernel. Needs root.
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { lstatSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { extract } from 'tar-stream';
import { Readable } from 'node:stream';
import { getBlob, getManifest } from './base-images.js';
import { fsckProblems } from './device.js';
import { runObdImage, type TestStore } from './obd.js';

const run = promisify(execFile);

/** Files of the image's layer blobs, bottom first, in a directory of the store. */
export async function downloadLayers(store: TestStore, host: string, name: string): Promise<string[]> {
	const { manifest } = await getManifest(host, name);
	const directory = await mkdtemp(path.join(store.directory, 'layers-'));
	return Promise.all(manifest.layers.map(async ({ digest }, i) => {
		const file = path.join(directory, String(i));
		await writeFile(file, await getBlob(host, name.split(/[:@]/)[0] ?? '', digest));
		return file;
	}));
}

/** The disk of a stack of overlaybd layers as a raw file. */
export async function flattened(store: TestStore, layers: readonly string[]): Promise<string> {
	const disk = `${layers.at(-1) ?? ''}.disk`;
	const { code, stderr } = await runObdImage(store, ['flatten', ...layers, '-o', disk]);
	if (code !== 0) throw new Error(`obd-image flatten: ${stderr}`);
	return disk;
}

/** What e2fsck has against any prefix of the layers. */
export async function prefixProblems(store: TestStore, layers: readonly string[]): Promise<string[]> {
	const problems: string[] = [];
	for (let count = 1; count <= layers.length; count++) {
		const disk = await flattened(store, layers.slice(0, count));
		problems.push(...(await fsckProblems(disk)).map((line) => `${count} layers: ${line}`));
		await rm(disk);
	}
	return problems;
}

/** Runs `body` with the file system of an overlaybd image mounted read-only. */
export async function withRootfs<T>(store: TestStore, host: string, name: string, body: (root: string) => Promise<T>): Promise<T> {
	const disk = await flattened(store, await downloadLayers(store, host, name));
	const root = `${disk}.mount`;
	await mkdir(root);
	await run('mount', ['-o', 'ro,loop', disk, root]);
	try {
		return await body(root);
	} finally {
		await run('umount', [root]);
		await rm(disk);
	}
}

/** Reads an image's text files by path. */
export function readImageFiles(store: TestStore, host: string, name: string, files: readonly string[]): Promise<string[]> {
	return withRootfs(store, host, name, (root) => Promise.all(files.map((file) => readFile(path.join(root, file), 'utf8'))));
}

/** Every file below a directory: path, type, mode, owner, and time in seconds and content, or target. Without lost+found, which only block images have. */
export async function listTree(root: string): Promise<Record<string, string>> {
	const tree: Record<string, string> = {};
	const visit = async (directory: string): Promise<void> => {
		for (const name of (await readdir(path.join(root, directory))).sort()) {
			const file = path.join(directory, name);
			if (file === 'lost+found') continue;
			tree[file] = await describe(path.join(root, file));
			if (lstatSync(path.join(root, file)).isDirectory()) await visit(file);
		}
	};
	await visit('');
	return tree;
}

async function describe(file: string): Promise<string> {
	const stats = lstatSync(file);
	const mode = (stats.mode & 0o7777).toString(8);
	const owner = `${stats.uid}:${stats.gid}`;
	if (stats.isSymbolicLink()) return `link ${owner} ${await readlink(file)}`;
	if (stats.isDirectory()) return `directory ${mode} ${owner}`;
	return `file ${mode} ${owner} ${Math.floor(stats.mtimeMs / 1000)} ${(await readFile(file)).toString('base64').slice(0, 64)}`;
}

/** Unpacks ordinary layers (files, bottom first, any compression tar knows) with their whiteouts, as a runtime does. */
export async function unpackLayers(layers: readonly string[], root: string): Promise<void> {
	await mkdir(root, { recursive: true });
	for (const layer of layers) {
		const { stdout } = await run('tar', ['-tf', layer]);
		for (const name of stdout.split('\n').filter((line) => path.basename(line).startsWith('.wh.'))) {
			const directory = path.join(root, path.dirname(name));
			const hidden = path.basename(name).slice('.wh.'.length);
			const gone = hidden === '.wh..opq' ? await readdir(directory).catch(() => []) : [hidden];
			for (const one of gone) await rm(path.join(directory, one), { recursive: true, force: true });
		}
		await run('tar', ['--numeric-owner', '--xattrs', '--exclude=.wh.*', '-C', root, '-xpf', layer]);
	}
}

/** Names and contents of the entries of a tar, in order. */
export async function readTar(bytes: Buffer): Promise<{ readonly name: string; readonly type: string; readonly content: Buffer; readonly linkname: string }[]> {
	const entries: { name: string; type: string; content: Buffer; linkname: string }[] = [];
	const reader = Readable.from([bytes]).pipe(extract());
	for await (const entry of reader) {
		const chunks: Buffer[] = [];
		for await (const chunk of entry as AsyncIterable<Buffer>) chunks.push(chunk);
		entries.push({ name: entry.header.name, type: entry.header.type ?? 'file', content: Buffer.concat(chunks), linkname: entry.header.linkname ?? '' });
	}
	return entries;
}
