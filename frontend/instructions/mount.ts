// RUN --mount and RUN --device.
import { messageOf } from '../errors.js';
import { csvFields } from '../text/csv.js';
import { parseBool, parseInteger, quote } from '../text/format.js';
import { parseBytes } from '../text/size.js';
import { withSuggestion } from '../text/suggest.js';

const types = ['bind', 'cache', 'tmpfs', 'secret', 'ssh'] as const;
const sharings = ['shared', 'private', 'locked'] as const;
const keys = ['type', 'from', 'source', 'target', 'readonly', 'id', 'sharing', 'required', 'size', 'mode', 'uid', 'gid',
	'src', 'dst', 'destination', 'ro', 'rw', 'readwrite', 'env'];

export interface Mount {
	type: typeof types[number];
	from: string;
	source: string;
	target: string;
	readonly: boolean;
	/** Bytes. */
	size: number;
	id: string;
	sharing?: typeof sharings[number];
	required: boolean;
	env?: string;
	mode?: number;
	uid?: number;
	gid?: number;
}

type Expand = (word: string) => string;

function fieldsOf(value: string, what: string): string[] {
	try {
		return csvFields(value);
	} catch (error) {
		throw new Error(`failed to parse csv ${what}: ${messageOf(error)}`, { cause: error });
	}
}

function cut(field: string): { key: string; value: string | undefined } {
	const equals = field.indexOf('=');
	return equals < 0 ? { key: field.toLowerCase(), value: undefined } : { key: field.slice(0, equals).toLowerCase(), value: field.slice(equals + 1) };
}

function oneOf<T extends string>(value: string, allowed: readonly T[], what: string): T {
	const found = allowed.find((name) => name === value.toLowerCase());
	if (!found) throw new Error(withSuggestion(`unsupported ${what} ${quote(value)}`, value, allowed, true));
	return found;
}

function bool(key: string, value: string): boolean {
	const parsed = parseBool(value);
	if (parsed === undefined) throw new Error(`invalid value for ${key}: ${value}`);
	return parsed;
}

function number(key: string, value: string, base: 8 | 10): number {
	try {
		return Number(parseInteger(value, { base, bits: 32, unsigned: true }));
	} catch (cause) {
		throw new Error(`invalid value ${value} for ${key}`, { cause });
	}
}

/** The only thing that can be known of a mount before variables are: the stage or image it is from. */
export function mountFrom(spec: string): string {
	let from = '';
	for (const field of fieldsOf(spec, 'mounts')) {
		const { key, value } = cut(field);
		if (key !== 'from' || value === undefined) continue;
		const dollar = value.indexOf('$');
		if (dollar >= 0 && dollar !== value.length - 1) {
			throw new Error(`'${key}' doesn't support variable expansion, define alias stage instead`);
		}
		from = value;
	}
	return from;
}

/**
 * Reads the value of --mount.
 * @throws Error
 */
export function parseMount(spec: string, expand: Expand): Mount {
	const mount: Mount = { type: 'bind', from: '', source: '', target: '', readonly: true, size: 0, id: '', required: false };
	const state = { readonlyGiven: false };
	for (const field of fieldsOf(spec, 'mounts')) {
		const { key, value } = cut(field);
		if (value === undefined) setFlag(mount, state, key, field);
		else setValue(mount, state, key, expand(value), field);
	}
	if (!state.readonlyGiven) mount.readonly = mount.type !== 'cache' && mount.type !== 'tmpfs';
	validate(mount);
	return mount;
}

function requireClientMount(mount: Mount, key: string): void {
	if (mount.type !== 'secret' && mount.type !== 'ssh') throw new Error(`unexpected key '${key}' for mount type '${mount.type}'`);
}

/** A field without a value. */
function setFlag(mount: Mount, state: { readonlyGiven: boolean }, key: string, field: string): void {
	switch (key) {
		case 'readonly': case 'ro': case 'readwrite': case 'rw':
			mount.readonly = key.startsWith('ro') || key === 'readonly';
			state.readonlyGiven = true;
			return;
		case 'required':
			requireClientMount(mount, key);
			mount.required = true;
			return;
		default:
			throw new Error(`invalid field '${field}' must be a key=value pair`);
	}
}

function setValue(mount: Mount, state: { readonlyGiven: boolean }, key: string, value: string, field: string): void {
	switch (key) {
		case 'type': mount.type = oneOf(value, types, 'mount type'); return;
		case 'from': mount.from = value; return;
		case 'source': case 'src': mount.source = value; return;
		case 'target': case 'dst': case 'destination': mount.target = value; return;
		case 'readonly': case 'ro':
			mount.readonly = bool(key, value);
			state.readonlyGiven = true;
			return;
		case 'readwrite': case 'rw':
			mount.readonly = !bool(key, value);
			state.readonlyGiven = true;
			return;
		case 'required':
			requireClientMount(mount, key);
			mount.required = bool(key, value);
			return;
		case 'size':
			if (mount.type !== 'tmpfs') throw new Error(`unexpected key '${key}' for mount type '${mount.type}'`);
			mount.size = size(key, value);
			return;
		case 'id': mount.id = value; return;
		case 'sharing': mount.sharing = oneOf(value, sharings, 'sharing value'); return;
		case 'mode': mount.mode = number(key, value, 8); return;
		case 'uid': mount.uid = number(key, value, 10); return;
		case 'gid': mount.gid = number(key, value, 10); return;
		case 'env': mount.env = value; return;
		default:
			throw new Error(withSuggestion(`unexpected key '${key}' in '${field}'`, key, keys, true));
	}
}

function size(key: string, value: string): number {
	try {
		return parseBytes(value);
	} catch (cause) {
		throw new Error(`invalid value for ${key}: ${value}`, { cause });
	}
}

function validate(mount: Mount): void {
	const { type } = mount;
	if (type === 'bind' || type === 'tmpfs') {
		for (const key of ['mode', 'uid', 'gid'] as const) {
			if (mount[key] !== undefined) throw new Error(`${key} not allowed for ${quote(type)} type mounts`);
		}
	}
	if (type === 'secret') {
		if (mount.from !== '') throw new Error('secret mount should not have a from');
		if (mount.sharing) throw new Error('secret mount should not define sharing');
		if (mount.source === '' && mount.target === '' && mount.id === '') throw new Error('invalid secret mount. one of source, target required');
		if (mount.source !== '' && mount.id !== '') throw new Error('both source and id can\'t be set');
	}
	if (mount.sharing && type !== 'cache') throw new Error(`invalid cache sharing set for ${type} mount`);
}

/**
 * Reads the value of --device.
 * @throws Error
 */
export function parseDevice(spec: string): { name: string; required: boolean } {
	const device = { name: '', required: false };
	for (const field of fieldsOf(spec, 'devices')) {
		const { key, value } = cut(field);
		if (key === 'required') {
			device.required = value === undefined || bool(key, value);
		} else if (key === 'name' && value !== undefined) {
			if (device.name !== '') throw new Error(`device name already set to ${device.name}`);
			device.name = value;
		} else if (device.name === '') {
			device.name = field;
		} else if (value === undefined) {
			throw new Error(`invalid field '${field}' must be a key=value pair`);
		} else {
			throw new Error(withSuggestion(`unexpected key '${key}' in '${field}'`, key, ['name', 'required'], true));
		}
	}
	return device;
}
