// The files of an image, from its layers' tars, as plain values to compare. Uses no code of the product.
import { createHash } from 'node:crypto';
import { posix as path } from 'node:path';
import { Readable } from 'node:stream';
import { extract, type Header } from 'tar-stream';

/** Modification times are whole seconds. */
export interface Entry {
	readonly type: string;
	readonly uid: number;
	readonly gid: number;
	readonly mode?: string;
	readonly size?: number;
	readonly sha256?: string;
	readonly target?: string;
	readonly dev?: string;
	/** By name, in hex. */
	readonly xattrs?: Readonly<Record<string, string>>;
	/** The first path of the same file. */
	readonly hardlink?: string;
	readonly mtime?: number;
}

/** By absolute path, without the root itself. */
export type RootFs = Readonly<Record<string, Entry>>;

type Inode = Omit<Entry, 'hardlink'>;

/** Reads uncompressed layers, bottom first. */
export async function readLayers(layers: readonly Buffer[]): Promise<RootFs> {
	const tree = new Map<string, Inode>();
	for (const layer of layers) await applyLayer(tree, layer);
	return listed(tree);
}

async function applyLayer(tree: Map<string, Inode>, layer: Buffer): Promise<void> {
	const lower = new Set(tree.keys());
	for await (const entry of Readable.from([layer]).pipe(extract())) {
		const { header } = entry;
		const file = path.resolve('/', header.name);
		const name = path.basename(file);
		const parent = path.dirname(file);
		const inode = await readInode(header, entry as AsyncIterable<Buffer>);
		if (name === '.wh..wh..opq') {
			for (const other of [...tree.keys()]) if (isBelow(other, parent) && lower.has(other)) tree.delete(other);
		} else if (name.startsWith('.wh.')) {
			remove(tree, path.join(parent, name.slice('.wh.'.length)));
		} else if (header.type === 'link') {
			const target = tree.get(path.resolve('/', header.linkname ?? ''));
			if (!target) throw new Error(`${header.name}: hard link to ${header.linkname}, which is not there`);
			if (tree.get(file) !== target) remove(tree, file);
			tree.set(file, target);
		} else {
			if (tree.get(file)?.type !== 'dir' || inode.type !== 'dir') remove(tree, file);
			tree.set(file, inode);
		}
		lower.delete(file);
	}
}

async function readInode(header: Header, content: AsyncIterable<Buffer>): Promise<Inode> {
	const sum = createHash('sha256');
	for await (const chunk of content) sum.update(chunk);
	const types: Record<string, string> = { directory: 'dir', symlink: 'symlink', 'character-device': 'char', 'block-device': 'block', fifo: 'fifo' };
	const type = types[header.type ?? ''] ?? 'file';
	const pax = (header.pax ?? {}) as Readonly<Record<string, string>>;
	const xattrs = Object.entries(pax).filter(([key]) => key.startsWith('SCHILY.xattr.')).map(([key, value]) => [key.slice('SCHILY.xattr.'.length), Buffer.from(value).toString('hex')]);
	return {
		type,
		uid: Number(pax['uid'] ?? header.uid ?? 0),
		gid: Number(pax['gid'] ?? header.gid ?? 0),
		...(type === 'symlink' ? { target: header.linkname ?? '' } : { mode: ((header.mode ?? 0) & 0o7777).toString(8).padStart(4, '0') }),
		...(type === 'file' && { size: header.size ?? 0, sha256: sum.digest('hex') }),
		...((type === 'char' || type === 'block') && { dev: `${header.devmajor}:${header.devminor}` }),
		...(xattrs.length > 0 && { xattrs: Object.fromEntries(xattrs) as Record<string, string> }),
		mtime: Math.floor((header.mtime?.getTime() ?? 0) / 1000),
	};
}

function isBelow(file: string, directory: string): boolean {
	return file.startsWith(directory === '/' ? '/' : `${directory}/`);
}

function remove(tree: Map<string, Inode>, file: string): void {
	tree.delete(file);
	for (const other of [...tree.keys()]) if (isBelow(other, file)) tree.delete(other);
}

function listed(tree: ReadonlyMap<string, Inode>): RootFs {
	const names = new Map<Inode, string[]>();
	const paths = [...tree.keys()].filter((file) => file !== '/').sort();
	for (const file of paths) names.set(tree.get(file) as Inode, [...names.get(tree.get(file) as Inode) ?? [], file]);
	return Object.fromEntries(paths.map((file) => {
		const inode = tree.get(file) as Inode;
		const [leader, ...others] = names.get(inode) ?? [];
		return [file, { ...inode, ...(others.length > 0 && leader !== undefined && { hardlink: leader }) }];
	}));
}
