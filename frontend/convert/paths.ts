// Paths of COPY and WORKDIR, on Linux and on Windows.
import { cleanPath, joinPath } from '../../src/llb/index.js';
import { messageOf } from '../errors.js';
import { quote } from '../text/format.js';

function toSlash(path: string, os: string): string {
	return os === 'windows' ? path.replaceAll('\\', '/') : path;
}

function clean(path: string, keepSlash: boolean): string {
	const result = cleanPath(path);
	return keepSlash && result.length > 1 && path.endsWith('/') ? `${result}/` : result;
}

/** A Windows path without `C:`; on Linux the path as it is. @throws Error for other drives. */
function withoutDrive(path: string, os: string, keepSlash: boolean): string {
	if (os !== 'windows') return path;
	if (path.length === 2 && path[1] === ':') throw new Error(`No relative path specified in ${quote(path)}`);
	const slashed = toSlash(path, os);
	if (slashed.startsWith('//')) throw new Error('UNC paths are not supported');
	const colon = slashed.indexOf(':');
	if (colon < 0) return clean(slashed, keepSlash);
	if (slashed.slice(0, colon).toLowerCase() !== 'c') throw new Error('The specified path is not on the system drive (C:)');
	return clean(slashed.slice(colon + 1), keepSlash);
}

export function isAbsolute(path: string, os: string): boolean {
	try {
		return withoutDrive(path, os, false).startsWith('/');
	} catch {
		return false;
	}
}

/** The same, with BuildKit's words around the error. */
export function dropDrive(path: string, os: string, keepSlash: boolean): string {
	try {
		return withoutDrive(path, os, keepSlash);
	} catch (error) {
		throw new Error(`removing drive letter: ${messageOf(error)}`, { cause: error });
	}
}

/** An absolute path: relative ones are in `parent`. An absolute one is not cleaned on Linux. */
export function normalizePath(parent: string, path: string, os: string, keepSlash: boolean): string {
	const original = toSlash(path, os);
	let base = dropDrive(toSlash(parent, os) || '/', os, keepSlash);
	if (!base.startsWith('/')) base = joinPath('/', base);
	let result = dropDrive(original || base, os, keepSlash);
	if (!isAbsolute(result, os)) result = joinPath(base, result);
	if (keepSlash && original.endsWith('/') && !result.endsWith('/')) result += '/';
	else if (keepSlash && original.endsWith('/.')) result = `${result === '/' ? '' : result}/.`;
	return toSlash(result, os);
}

/** The working directory after `WORKDIR path`, written as the system writes paths. */
export function normalizeWorkdir(current: string, path: string, os: string): string {
	const result = normalizePath(current, path, os, false);
	return os === 'windows' ? result.replaceAll('/', '\\') : result;
}

export { toSlash };
