// Who a process runs as: a `USER` string against the image's own passwd and group files, with the rules and
// error texts of BuildKit (moby/sys/user).

export interface ContainerUser {
	readonly uid: number;
	readonly gid: number;
	/** With the primary group. */
	readonly additionalGids: readonly number[];
}

const maxId = 2 ** 31 - 1;

/**
 * @param spec '', `name`, `uid`, `user:group`, `uid:gid`
 * @param passwd the file's text; undefined when the image has none
 */
export function resolveUser(spec: string, passwd: string | undefined, group: string | undefined): ContainerUser {
	const pair = numericPair(spec);
	if (pair) return withPrimaryGroup(pair.uid, pair.gid, []);
	try {
		return lookUp(spec === '' ? '0' : spec, passwd ?? '', group ?? '');
	} catch (error) {
		if (spec === '') return withPrimaryGroup(0, 0, []);
		throw error;
	}
}

/** Whether resolving this user needs the image's files. */
export function needsUserFiles(spec: string): boolean {
	return numericPair(spec) === undefined;
}

/** `uid:gid`, both given as numbers (or `root`): taken as they are, without a look at the files. */
function numericPair(spec: string): { readonly uid: number; readonly gid: number } | undefined {
	const colon = spec.indexOf(':');
	if (colon < 0) return undefined;
	const uid = unsigned32(spec.slice(0, colon));
	const gid = unsigned32(spec.slice(colon + 1));
	return uid === undefined || gid === undefined ? undefined : { uid, gid };
}

function unsigned32(text: string): number | undefined {
	if (text === 'root') return 0;
	if (!/^[0-9]+$/.test(text)) return undefined;
	const value = Number(text);
	return value <= 0xffffffff ? value : undefined;
}

function lookUp(spec: string, passwd: string, group: string): ContainerUser {
	const [userName = '', groupName = ''] = spec.split(':');
	const wantedUid = numeric(userName);
	const wantedGid = numeric(groupName);

	const isUser = (fields: readonly string[]): boolean => {
		if (wantedUid === undefined && userName !== '') return fields[0] === userName;
		return id(fields[2]) === (wantedUid ?? 0);
	};
	const user = entries(passwd).find(isUser);
	if (!user && userName !== '' && wantedUid === undefined) throw new Error(`unable to find user ${userName}: no matching entries in passwd file`);
	const uid = user ? id(user[2]) : wantedUid ?? 0;
	const gid = user ? id(user[3]) : 0;

	const groups = entries(group).filter((fields) => !fields[0]?.startsWith('#'));
	if (groupName === '') {
		const name = user?.[0] ?? '';
		const member = name === '' ? [] : groups.filter((fields) => (fields[3] ?? '').split(',').includes(name));
		return withPrimaryGroup(uid, gid, member.map((fields) => id(fields[2])));
	}
	const found = groups.find((fields) => (wantedGid === undefined ? fields[0] === groupName : id(fields[2]) === wantedGid));
	if (!found && wantedGid === undefined) throw new Error(`unable to find group ${groupName}: no matching entries in group file`);
	return withPrimaryGroup(uid, found ? id(found[2]) : wantedGid ?? 0, []);
}

function withPrimaryGroup(uid: number, gid: number, groups: readonly number[]): ContainerUser {
	return { uid, gid, additionalGids: groups.includes(gid) ? groups : [gid, ...groups] };
}

/** The lines of a passwd or group file, split at colons. */
function entries(text: string): readonly (readonly string[])[] {
	return text.split('\n').map((line) => line.trim()).filter((line) => line !== '').map((line) => line.split(':'));
}

/** A number in a file; what is none counts as 0. */
function id(field: string | undefined): number {
	return field !== undefined && /^[+-]?[0-9]+$/.test(field) ? Number(field) : 0;
}

/** A number in the spec; undefined for a name. Throws when out of range. */
function numeric(text: string): number | undefined {
	if (!/^[+-]?[0-9]+$/.test(text)) return undefined;
	const value = Number(text);
	if (value < 0 || value > maxId) throw new Error(`uids and gids must be in range 0-${maxId}`);
	return value;
}
