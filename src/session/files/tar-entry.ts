// One file of a transfer as an entry of a tar: how it gets to disk, with everything fsutil says of it.
import type { Stat } from '../gen/stat.js';
import { fileType, goMode, permissions } from './stat.js';

const block = 512;

/** The header of an entry with `size` bytes of content, which follow it, padded by `padding`. */
export function tarHeader(stat: Stat, size: number): Buffer {
	const type = typeFlag(stat);
	const records = [
		record('path', stat.path),
		record('mtime', nanoseconds(stat.modTime)),
		...(stat.linkname !== '' ? [record('linkpath', stat.linkname)] : []),
		...(size > 0o77777777777 ? [record('size', String(size))] : []),
		...[...stat.xattrs].map(([name, value]) => record(`SCHILY.xattr.${name}`, value)),
	];
	const pax = Buffer.concat(records);
	return Buffer.concat([
		header({ name: 'pax', mode: 0o644, size: pax.length, type: 'x' }),
		pax, padding(pax.length),
		header({ name: 'entry', mode: permissions(stat.mode), uid: stat.uid, gid: stat.gid, size, type, major: stat.devmajor, minor: stat.devminor }),
	]);
}

/** What fills the last block of `size` bytes of content. */
export function padding(size: number): Buffer {
	return Buffer.alloc((block - (size % block)) % block);
}

/** What ends a tar. */
export const tarEnd = Buffer.alloc(2 * block);

function typeFlag({ mode, linkname, path }: Stat): string {
	switch (fileType(mode)) {
		case 0: return linkname === '' ? '0' : '1';
		case goMode.dir: return '5';
		case goMode.symlink: return '2';
		case goMode.device: return '4';
		case goMode.device + goMode.charDevice: return '3';
		case goMode.namedPipe: return '6';
		default: throw new Error(`${path}: a file of this kind (mode ${mode.toString(8)}) cannot be sent`);
	}
}

interface HeaderFields {
	readonly name: string;
	readonly mode: number;
	readonly uid?: number;
	readonly gid?: number;
	readonly size: number;
	readonly type: string;
	readonly major?: number;
	readonly minor?: number;
}

function header({ name, mode, uid = 0, gid = 0, size, type, major = 0, minor = 0 }: HeaderFields): Buffer {
	const buffer = Buffer.alloc(block);
	const octal = (value: number, at: number, length: number): void => {
		const digits = value.toString(8);
		if (digits.length < length) buffer.write(digits.padStart(length - 1, '0'), at, 'latin1');
		else base256(buffer, value, at, length);
	};
	buffer.write(name, 0, 'latin1');
	octal(mode, 100, 8);
	octal(uid, 108, 8);
	octal(gid, 116, 8);
	octal(Math.min(size, 0o77777777777), 124, 12);
	octal(0, 136, 12);
	buffer.write('        ', 148, 'latin1');
	buffer.write(type, 156, 'latin1');
	buffer.write('ustar\u000000', 257, 'latin1');
	octal(major, 329, 8);
	octal(minor, 337, 8);
	let sum = 0;
	for (const byte of buffer) sum += byte;
	buffer.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
	return buffer;
}

/** Numbers too long for octal digits, as GNU tar has them. */
function base256(buffer: Buffer, value: number, at: number, length: number): void {
	let rest = BigInt(value);
	for (let i = at + length - 1; i > at; i--) {
		buffer[i] = Number(rest & 0xffn);
		rest >>= 8n;
	}
	buffer[at] = 0x80;
}

/** `length key=value\n`, where the length counts itself. */
function record(key: string, value: string | Uint8Array): Buffer {
	const content = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
	let length = content.length + 1;
	while (String(length).length + content.length !== length) length = String(length).length + content.length;
	return Buffer.concat([Buffer.from(String(length)), content]);
}

function nanoseconds(time: bigint): string {
	const negative = time < 0n;
	const digits = String(negative ? -time : time).padStart(10, '0');
	return `${negative ? '-' : ''}${digits.slice(0, -9)}.${digits.slice(-9)}`;
}
