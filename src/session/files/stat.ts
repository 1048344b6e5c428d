// Go's os.FileMode, which fsutil's messages carry.

export const goMode = {
	dir: 2 ** 31,
	symlink: 2 ** 27,
	device: 2 ** 26,
	namedPipe: 2 ** 25,
	socket: 2 ** 24,
	setuid: 2 ** 23,
	setgid: 2 ** 22,
	charDevice: 2 ** 21,
	sticky: 2 ** 20,
	irregular: 2 ** 19,
} as const;

const typeBits = goMode.dir + goMode.symlink + goMode.device + goMode.namedPipe + goMode.socket + goMode.charDevice + goMode.irregular;

/** The bits that say what kind of file it is; 0 for a regular one. */
export function fileType(mode: number): number {
	return (mode & typeBits) >>> 0;
}

export function isDirectory(mode: number): boolean {
	return fileType(mode) === goMode.dir;
}

/** Permissions, setuid, setgid and sticky as the kernel has them. */
export function permissions(mode: number): number {
	return (mode & 0o777) | (mode & goMode.setuid ? 0o4000 : 0) | (mode & goMode.setgid ? 0o2000 : 0) | (mode & goMode.sticky ? 0o1000 : 0);
}
