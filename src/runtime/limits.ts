// Resource limits of build processes.
import { readFile } from 'node:fs/promises';
import type { Ulimit } from './container-spec.js';

/** The kernel's own default. Node raises its soft limit to the hard one, which children would inherit, and
 *  programs that close every possible descriptor take forever with a limit of half a million. */
const softOpenFiles = 1024;

/** The limits a caller asked for and, unless among them, an ordinary one of open files. */
export async function withOpenFiles(ulimits: readonly Ulimit[]): Promise<readonly Ulimit[]> {
	if (ulimits.some(({ name }) => name.toLowerCase() === 'nofile')) return ulimits;
	const hard = await hardOpenFiles();
	return [...ulimits, { name: 'nofile', soft: Math.min(softOpenFiles, hard), hard }];
}

let known: Promise<number> | undefined;

function hardOpenFiles(): Promise<number> {
	known ??= readFile('/proc/self/limits', 'utf8').then((text) => Number(/^Max open files\s+\S+\s+(\d+)/m.exec(text)?.[1] ?? softOpenFiles));
	return known;
}
