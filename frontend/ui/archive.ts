// Telling an archive from a Dockerfile by its first bytes.

const magics = [
	[0x42, 0x5a, 0x68], // bzip2
	[0x1f, 0x8b, 0x08], // gzip
	[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], // xz
];

/** Whether bytes are the beginning of a tar, packed or not. */
export function isArchive(head: Uint8Array): boolean {
	return magics.some((magic) => magic.every((byte, i) => head[i] === byte)) || isTar(head);
}

/** A header block whose checksum is right. */
function isTar(head: Uint8Array): boolean {
	if (head.length < 512) return false;
	const field = Buffer.from(head.subarray(148, 156)).toString('latin1').replace(/[\0 ]+$/, '').trim();
	if (!/^[0-7]+$/.test(field)) return false;
	let sum = 0;
	for (let i = 0; i < 512; i++) sum += i >= 148 && i < 156 ? 0x20 : head[i] ?? 0;
	return sum === Number.parseInt(field, 8);
}
