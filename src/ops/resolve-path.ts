import path from 'node:path';
import { statInRoot } from '../native/files.js';

/** As many links as the kernel follows. */
const maxLinks = 40;

/**
 * The path on this host of something inside a root, all symlinks resolved inside the root: what mount(2) is
 * given must not lead elsewhere. Throws ENOENT, ENOTDIR or ELOOP errors naming the path.
 */
export async function resolveInRoot(root: string, inside: string): Promise<string> {
	const pending = inside.split('/').filter((part) => part !== '' && part !== '.');
	let resolved = '/';
	for (let links = 0; pending.length > 0;) {
		const part = pending.shift() ?? '';
		const next = path.posix.resolve(resolved, part);
		const { linkname } = part === '..' ? {} as { linkname?: string } : await statInRoot(root, next);
		if (linkname === undefined) {
			resolved = next;
			continue;
		}
		if (++links > maxLinks) throw Object.assign(new Error(`${inside}: too many levels of symbolic links`), { code: 'ELOOP' });
		if (linkname.startsWith('/')) resolved = '/';
		pending.unshift(...linkname.split('/').filter((piece) => piece !== '' && piece !== '.'));
	}
	return path.join(root, resolved);
}
