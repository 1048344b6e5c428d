// The time of an archive: that of the newest of its files.
import { gunzip } from 'node:zlib';
import { promisify } from 'node:util';

const blockBytes = 512;
/** An archive that unpacks to more has no time here: it is read as a whole. */
const maxBytes = 512 * 1024 * 1024;

/** Seconds since 1970; undefined when it has no files, or is no tar, plain or in gzip. */
export async function archiveTime(bytes: Uint8Array): Promise<number | undefined> {
	const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b;
	const tar = isGzip ? await promisify(gunzip)(bytes, { maxOutputLength: maxBytes }).catch(() => undefined) : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
	return tar && newestFile(tar);
}

function newestFile(tar: Buffer): number | undefined {
	let newest: number | undefined;
	let extended: number | undefined;
	for (let at = 0; at + blockBytes <= tar.length && tar[at] !== 0;) {
		const header = tar.subarray(at, at + blockBytes);
		const size = numberAt(header, 124, 12);
		const body = tar.subarray(at + blockBytes, at + blockBytes + size);
		at += blockBytes + Math.ceil(size / blockBytes) * blockBytes;
		const type = String.fromCharCode(header[156] ?? 0);
		if (type === 'x') {
			extended = extendedTime(body.toString());
			continue;
		}
		const time = extended ?? numberAt(header, 136, 12);
		if (['0', '\0', '7'].includes(type)) newest = Math.max(newest ?? time, time);
		if (!['g', 'L', 'K'].includes(type)) extended = undefined;
	}
	return newest;
}

/** An octal number, or a binary one where that does not suffice. */
function numberAt(header: Buffer, offset: number, length: number): number {
	if (((header[offset] ?? 0) & 0x80) !== 0) return Number(header.readBigUInt64BE(offset + length - 8));
	return Number.parseInt(header.toString('latin1', offset, offset + length), 8) || 0;
}

/** The whole seconds of a pax header's mtime. */
function extendedTime(records: string): number | undefined {
	const match = /^\d+ mtime=(-?\d+)/m.exec(records);
	return match ? Number(match[1]) : undefined;
}
