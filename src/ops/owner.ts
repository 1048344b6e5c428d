// Resolves `--chown` of file ops.
import type { pb } from '../llb/index.js';
import { readFileInRoot } from '../native/files.js';

export interface Owner {
	readonly uid: number;
	readonly gid: number;
}

/** Gives the root of the file system whose passwd or group file is meant, by input index. */
export type RootOf = (input: number) => Promise<string>;

const maxUserFileBytes = 16 * 1024 * 1024;

/**
 * The ids of a chown option, undefined when there is none. As BuildKit's file op does it: a name that the
 * file does not list, or a missing file, gives id 0; a user by number sets the group to the same number.
 */
export async function resolveOwner(option: pb.ChownOpt | undefined, rootOf: RootOf): Promise<Owner | undefined> {
	if (!option) return undefined;
	let uid = 0;
	let gid = 0;
	const user = await resolve(option.user, '/etc/passwd', rootOf);
	if (user) {
		uid = user.id;
		gid = user.group ?? user.id;
	}
	const group = await resolve(option.group, '/etc/group', rootOf);
	if (group) gid = group.id;
	return { uid, gid };
}

interface Entry {
	readonly id: number;
	/** Primary group, in passwd only. */
	readonly group?: number;
}

async function resolve(option: pb.UserOpt | undefined, file: '/etc/passwd' | '/etc/group', rootOf: RootOf): Promise<Entry | undefined> {
	if (!option?.user) return undefined;
	if (option.user.$case === 'byID') return { id: option.user.byID };
	const { name, input } = option.user.byName;
	if (input < 0) throw new Error(`invalid user index: ${input}`);
	const text = await readUserFile(await rootOf(input), file);
	for (const line of text.split('\n')) {
		const fields = line.trim().split(':');
		if (fields[0] !== name) continue;
		const id = Number(fields[2]);
		if (!Number.isInteger(id)) continue;
		const group = Number(fields[3]);
		return file === '/etc/passwd' && Number.isInteger(group) ? { id, group } : { id };
	}
	return undefined;
}

async function readUserFile(root: string, file: string): Promise<string> {
	try {
		return Buffer.from(await readFileInRoot(root, file, { maxBytes: maxUserFileBytes })).toString('utf8');
	} catch (error) {
		const code = (error as NodeJS.ErrnoException).code;
		if (code === 'ENOENT' || code === 'ENOTDIR') return '';
		throw error;
	}
}
