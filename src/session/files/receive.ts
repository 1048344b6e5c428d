// fsutil's receiver: brings a directory of ours to what the sender lists, asking only for what has changed.
// The sender is not trusted: a name is taken only when its parent is a directory of the same list, so that no
// symlink leads out. Files reach the disk as a tar, unpacked by native threads.
import { runFileActions, TarSink } from '../../native/files.js';
import type { ClientCall } from '../../grpc/index.js';
import { Packet, Packet_PacketType as PacketType } from '../gen/wire.js';
import type { Stat } from '../gen/stat.js';
import { fileType, isDirectory } from './stat.js';
import { padding, tarEnd, tarHeader } from './tar-entry.js';

/** Files up to this size are collected in memory, the four a sender sends at once; bigger ones come one by one. */
const smallFileBytes = 2 * 1024 * 1024;
/** More entries than any project has: their stats are all in memory. */
const maxEntries = 4_000_000;

export type FileIndex = ReadonlyMap<string, Stat>;

export interface ReceiveOptions {
	/** What `root` holds. */
	readonly known: FileIndex;
	/** Ask for files even where nothing says that they have changed. */
	readonly always: boolean;
	readonly signal: AbortSignal;
	/** Bytes of contents and names that have come so far. */
	readonly onTransfer: (bytes: number) => void;
}

/** Receives into `root`, which only we write to. Returns what it holds now; after an error it may hold anything. */
export async function receiveFiles(call: ClientCall<Packet, Packet>, root: string, options: ReceiveOptions): Promise<FileIndex> {
	const receiver = new Receiver(call, root, await TarSink.open(root, 'archive'), options);
	try {
		return await receiver.run();
	} catch (error) {
		// So that the client can say it as well.
		await Promise.race([call.send(Packet.create({ type: PacketType.PACKET_ERR, data: Buffer.from((error as Error).message) })).catch(() => undefined), new Promise(setImmediate)]);
		throw error;
	} finally {
		await receiver.close();
	}
}

interface Incoming {
	readonly stat: Stat;
	readonly chunks: Uint8Array[];
	size: number;
}

class Receiver {
	readonly #found = new Map<string, Stat>();
	/** Files asked for, by their place in the list. */
	readonly #incoming = new Map<number, Incoming>();
	readonly #large: [id: number, stat: Stat][] = [];
	/** Hard links; made last, when what they link to is there. */
	readonly #links: Stat[] = [];
	/** Directories whose entries change: they get their time back at the end. */
	readonly #touched = new Set<string>();
	readonly #written = new Set<string>();
	#count = 0;
	#bytes = 0;
	#isListed = false;
	#isDone = false;

	constructor(private readonly call: ClientCall<Packet, Packet>, private readonly root: string, private readonly sink: TarSink, private readonly options: ReceiveOptions) {}

	async run(): Promise<FileIndex> {
		for await (const packet of this.call) {
			this.options.signal.throwIfAborted();
			this.#bytes += packet.data.length + (packet.stat?.path.length ?? 0);
			this.options.onTransfer(this.#bytes);
			switch (packet.type) {
				case PacketType.PACKET_STAT:
					if (packet.stat) await this.#entry(packet.stat, this.#count++);
					else this.#isListed = true;
					break;
				case PacketType.PACKET_DATA:
					await this.#data(packet);
					break;
				case PacketType.PACKET_ERR:
					throw new Error(`error from sender: ${Buffer.from(packet.data).toString()}`);
				case PacketType.PACKET_FIN:
					if (!this.#isDone) throw new Error('the sender ended the transfer early');
					return this.#found;
				default:
					throw new Error(`unexpected packet ${packet.type} from sender`);
			}
			if (!this.#isDone && this.#isListed && this.#incoming.size === 0 && !this.#askLarge()) await this.#finish();
		}
		throw new Error('the sender ended the transfer early');
	}

	async close(): Promise<void> {
		await this.sink.abort();
	}

	async #entry(stat: Stat, id: number): Promise<void> {
		if (this.#isListed) throw new Error('the sender lists files after the end of its list');
		if (id >= maxEntries) throw new Error(`the sender lists more than ${maxEntries} files`);
		this.#check(stat);
		this.#found.set(stat.path, stat);
		const old = this.options.known.get(stat.path);
		if (old && !this.options.always && this.#isSame(old, stat)) return;
		if (old && fileType(old.mode) !== fileType(stat.mode)) await this.#remove([stat.path]);
		this.#touched.add(parentOf(stat.path));
		this.#written.add(stat.path);
		if (fileType(stat.mode) !== 0) return this.sink.write(tarHeader(stat, 0));
		if (stat.linkname !== '') this.#links.push(stat);
		else if (stat.size > smallFileBytes) this.#large.push([id, stat]);
		else this.#ask(id, stat);
	}

	#check({ path, linkname, mode }: Stat): void {
		const isBad = path === '' || path.startsWith('/') || path.includes('\0') || path.split('/').some((part) => part === '' || part === '.' || part === '..');
		if (isBad) throw new Error(`invalid path ${JSON.stringify(path)} from sender`);
		if (this.#found.has(path)) throw new Error(`duplicate path ${path} from sender`);
		const parent = parentOf(path);
		if (parent !== '' && !isDirectory(this.#found.get(parent)?.mode ?? 0)) throw new Error(`changes out of order: ${path} before its directory`);
		if (fileType(mode) === 0 && linkname !== '') {
			const target = this.#found.get(linkname);
			if (!target || fileType(target.mode) !== 0) throw new Error(`invalid link ${path} to ${linkname}`);
		}
	}

	/** fsutil's metadata differ. A link counts as changed with the file it links to. */
	#isSame(a: Stat, b: Stat): boolean {
		if (a.mode !== b.mode || a.uid !== b.uid || a.gid !== b.gid || a.devmajor !== b.devmajor || a.devminor !== b.devminor || a.linkname !== b.linkname) return false;
		if (!sameXattrs(a.xattrs, b.xattrs)) return false;
		if (isDirectory(a.mode)) return true;
		if (a.size !== b.size || a.modTime !== b.modTime) return false;
		return fileType(b.mode) !== 0 || b.linkname === '' || !this.#written.has(b.linkname);
	}

	/** Not awaited: a sender that is busy sending reads its requests later. */
	#ask(ID: number, stat: Stat): void {
		this.#incoming.set(ID, { stat, chunks: [], size: 0 });
		this.call.send(Packet.create({ type: PacketType.PACKET_REQ, ID })).catch(() => undefined); // the responses say why
	}

	#askLarge(): boolean {
		const next = this.#large.shift();
		if (next) this.#ask(...next);
		return next !== undefined;
	}

	async #data({ ID, data }: Packet): Promise<void> {
		const file = this.#incoming.get(ID);
		if (!file) throw new Error(`invalid file request ${ID}`);
		const { stat, chunks } = file;
		const isLarge = stat.size > smallFileBytes;
		if (isLarge && file.size === 0) await this.sink.write(tarHeader(stat, stat.size));
		file.size += data.length;
		if (data.length > 0) {
			if (file.size > Math.max(stat.size, 2 * smallFileBytes)) throw new Error(`${stat.path} has grown while it was sent`);
			if (isLarge) await this.sink.write(data);
			else chunks.push(data);
			return;
		}
		this.#incoming.delete(ID);
		if (isLarge) {
			if (file.size !== stat.size) throw new Error(`${stat.path} has changed while it was sent: ${file.size} of ${stat.size} bytes`);
			await this.sink.write(padding(file.size));
		} else {
			await this.sink.write(Buffer.concat([tarHeader(stat, file.size), ...chunks, padding(file.size)]));
		}
	}

	async #finish(): Promise<void> {
		this.#isDone = true;
		const gone = [...this.options.known.keys()].filter((path) => !this.#found.has(path));
		for (const path of gone) this.#touched.add(parentOf(path));
		// What is below a directory that goes, goes with it.
		const goneSet = new Set(gone);
		await this.#remove(gone.filter((path) => !goneSet.has(parentOf(path)) && this.#isStillThere(path)));
		for (const link of this.#links) await this.sink.write(tarHeader(link, 0));
		for (const path of this.#touched) {
			const stat = this.#found.get(path);
			if (stat && isDirectory(stat.mode)) await this.sink.write(tarHeader(stat, 0));
		}
		await this.sink.write(tarEnd);
		await this.sink.end();
		await this.call.send(Packet.create({ type: PacketType.PACKET_FIN }));
	}

	/** False for what went when a file took the place of its directory. */
	#isStillThere(path: string): boolean {
		const parent = parentOf(path);
		return parent === '' || isDirectory(this.#found.get(parent)?.mode ?? 0);
	}

	async #remove(paths: readonly string[]): Promise<void> {
		if (paths.length === 0) return;
		await runFileActions(this.root, paths.map((path) => ({ type: 'rm', path: `/${path}`, allowNotFound: true })));
	}
}

function parentOf(path: string): string {
	return path.slice(0, Math.max(path.lastIndexOf('/'), 0));
}

function sameXattrs(a: ReadonlyMap<string, Uint8Array>, b: ReadonlyMap<string, Uint8Array>): boolean {
	return a.size === b.size && [...a].every(([name, value]) => {
		const other = b.get(name);
		return other !== undefined && Buffer.compare(value, other) === 0;
	});
}
