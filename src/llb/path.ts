// Paths as Go's package path has them, which is what the definitions of other clients contain.
import * as posix from 'node:path/posix';

/** path.Clean: the shortest equal path, no trailing slash, '.' for ''. */
export function cleanPath(path: string): string {
	const normal = posix.normalize(path);
	return normal.length > 1 && normal.endsWith('/') ? normal.slice(0, -1) : normal;
}

/** path.Join: the cleaned parts that are not empty; '' when none is. */
export function joinPath(...parts: readonly string[]): string {
	const joined = parts.filter((part) => part !== '').join('/');
	return joined === '' ? '' : cleanPath(joined);
}

/** path.Base: the last element; '.' for '', '/' for the root. */
export function basePath(path: string): string {
	if (path === '') return '.';
	const trimmed = path.replace(/\/+$/, '');
	return trimmed === '' ? '/' : trimmed.slice(trimmed.lastIndexOf('/') + 1);
}
