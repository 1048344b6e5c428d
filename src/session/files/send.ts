// fsutil's sender: lists trees of ours, and sends the files the receiver asks for.
import { open, lstat, readdir, readlink } from 'node:fs/promises';
import path from 'node:path';
import type { ClientCall } from '../../grpc/index.js';
import { compareBytes } from '../../llb/index.js';
import { goFileMode } from '../../native/files.js';
import { Stat } from '../gen/stat.js';
import { Packet, Packet_PacketType as PacketType } from '../gen/wire.js';
import type { ExportTree } from '../index.js';
import { fileType, goMode } from './stat.js';

const chunkBytes = 256 * 1024;

/** Sends everything; resolves when the receiver has it. */
export async function sendTrees(trees: readonly ExportTree[], call: ClientCall<Packet, Packet>, signal: AbortSignal): Promise<void> {
	const sender = new Sender(call, signal);
	let failure: unknown;
	const fail = (error: unknown): void => {
		// What goes wrong first makes the rest go wrong.
		failure ??= error;
		call.cancel();
	};
	await Promise.all([sender.list(trees).catch(fail), sender.answer().catch(fail)]);
	if (failure !== undefined) throw failure;
}

class Sender {
	/** By their place in the list. */
	readonly #files = new Map<number, string>();
	#count = 0;

	constructor(private readonly call: ClientCall<Packet, Packet>, private readonly signal: AbortSignal) {}

	async list(trees: readonly ExportTree[]): Promise<void> {
		for (const { prefix, root } of [...trees].sort((a, b) => compareBytes(a.prefix, b.prefix))) {
			const links = new Map<string, string>();
			if (prefix !== '') await this.#stat(Stat.create({ path: prefix, mode: goMode.dir + 0o755 }));
			await this.#walk(root, prefix, links, new Set(['lost+found']));
		}
		await this.call.send(Packet.create({ type: PacketType.PACKET_STAT }));
	}

	/** Answers requests until the receiver has had enough. */
	async answer(): Promise<void> {
		for await (const { type, ID, data } of this.call) {
			switch (type) {
				case PacketType.PACKET_REQ:
					await this.#send(ID);
					break;
				case PacketType.PACKET_FIN:
					await this.call.send(Packet.create({ type: PacketType.PACKET_FIN }));
					this.call.end();
					return;
				case PacketType.PACKET_ERR: throw new Error(`error from receiver: ${Buffer.from(data).toString()}`);
				default: throw new Error(`unexpected packet ${type} from receiver`);
			}
		}
		throw new Error('the receiver ended the transfer early');
	}

	async #walk(directory: string, prefix: string, links: Map<string, string>, skip: ReadonlySet<string>): Promise<void> {
		const names = (await readdir(directory)).filter((name) => !skip.has(name)).sort(compareBytes);
		for (const name of names) {
			this.signal.throwIfAborted();
			const file = path.join(directory, name);
			const stat = await statOf(file, prefix === '' ? name : `${prefix}/${name}`, links);
			if (fileType(stat.mode) === goMode.socket) continue;
			if (fileType(stat.mode) === 0) this.#files.set(this.#count, file);
			await this.#stat(stat);
			if (fileType(stat.mode) === goMode.dir) await this.#walk(file, stat.path, links, new Set());
		}
	}

	async #stat(stat: Stat): Promise<void> {
		this.#count++;
		await this.call.send(Packet.create({ type: PacketType.PACKET_STAT, stat }));
	}

	async #send(ID: number): Promise<void> {
		const name = this.#files.get(ID);
		if (name === undefined) throw new Error(`invalid file id ${ID}`);
		this.#files.delete(ID);
		const file = await open(name, 'r');
		try {
			for (;;) {
				this.signal.throwIfAborted();
				const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(chunkBytes));
				await this.call.send(Packet.create({ type: PacketType.PACKET_DATA, ID, data: buffer.subarray(0, bytesRead) }));
				if (bytesRead === 0) return;
			}
		} finally {
			await file.close();
		}
	}
}

async function statOf(file: string, name: string, links: Map<string, string>): Promise<Stat> {
	const info = await lstat(file, { bigint: true });
	const stat = Stat.create({
		path: name,
		mode: goFileMode(Number(info.mode)),
		uid: Number(info.uid),
		gid: Number(info.gid),
		size: Number(info.size),
		modTime: info.mtimeNs,
	});
	if (info.isDirectory()) return { ...stat, size: 0 };
	if (info.isSymbolicLink()) return { ...stat, linkname: await readlink(file) };
	if (info.isCharacterDevice() || info.isBlockDevice()) return { ...stat, devmajor: major(info.rdev), devminor: minor(info.rdev) };
	if (info.nlink > 1n && info.isFile()) {
		const first = links.get(`${info.dev}:${info.ino}`);
		if (first !== undefined) return { ...stat, linkname: first, size: 0 };
		links.set(`${info.dev}:${info.ino}`, name);
	}
	return stat;
}

function major(device: bigint): number {
	return Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n));
}

function minor(device: bigint): number {
	return Number((device & 0xffn) | ((device >> 12n) & 0xffffff00n));
}
