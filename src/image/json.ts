// JSON as Go's encoding/json writes it, so that our documents have the bytes (and digests) BuildKit's
// would have; and readers for JSON somebody else wrote.

/** A JSON object whose keys are written in the map's order. */
export type OrderedObject = ReadonlyMap<string, Json>;
export type Json = string | number | boolean | null | readonly Json[] | OrderedObject;

/** A member list for an `OrderedObject`; entries with an undefined value are left out. */
export function ordered(entries: readonly (readonly [key: string, value: Json | undefined])[]): OrderedObject {
	return new Map(entries.filter((entry): entry is readonly [string, Json] => entry[1] !== undefined));
}

/** A Go map: keys sorted, undefined (omitempty) when there are none. */
export function goMap(record: Readonly<Record<string, Json>> | undefined): OrderedObject | undefined {
	const keys = Object.keys(record ?? {}).sort();
	return record === undefined || keys.length === 0 ? undefined : ordered(keys.map((key) => [key, record[key]]));
}

/** A Go string or slice under omitempty. */
export function omitEmpty<T extends string | readonly Json[]>(value: T | undefined): T | undefined {
	return value === undefined || value.length === 0 ? undefined : value;
}

/** A value of `JSON.parse` in the form the encoder takes; objects keep their key order. */
export function fromParsed(value: unknown): Json {
	if (Array.isArray(value)) return value.map(fromParsed);
	if (typeof value === 'object' && value !== null) {
		return ordered(Object.entries(value).map(([key, member]) => [key, member === undefined ? undefined : fromParsed(member)]));
	}
	if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
	return null;
}

/** UTF-8 bytes of the value: compact as json.Marshal, or with `indent` as json.MarshalIndent. */
export function encodeJson(value: Json, indent = ''): Uint8Array {
	return Buffer.from(encode(value, indent, '\n'));
}

function encode(value: Json, indent: string, newline: string): string {
	if (typeof value === 'string') return encodeString(value);
	if (value instanceof Map) {
		const members = [...value as OrderedObject].map(([key, member]) => {
			const encoded = encode(member, indent, newline + indent);
			return `${encodeString(key)}:${indent === '' ? '' : ' '}${encoded}`;
		});
		return wrap('{', members, '}', indent, newline);
	}
	if (Array.isArray(value)) {
		return wrap('[', (value as readonly Json[]).map((item) => encode(item, indent, newline + indent)), ']', indent, newline);
	}
	return JSON.stringify(value);
}

function wrap(open: string, parts: readonly string[], close: string, indent: string, newline: string): string {
	if (parts.length === 0) return open + close;
	if (indent === '') return open + parts.join(',') + close;
	return open + newline + indent + parts.join(`,${newline}${indent}`) + newline + close;
}

/** Go escapes what could end a script element, also outside of HTML. */
function encodeString(text: string): string {
	return JSON.stringify(text).replace(/[<>&\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** An RFC 3339 time as Go prints it: no trailing zeros in the fraction. */
export function goTime(time: Date): string {
	return time.toISOString().replace(/\.?0*Z$/, 'Z');
}

/** A parsed JSON object, its members of any type. */
export type JsonRecord = Readonly<Record<string, unknown>>;

/** Parses JSON that must be an object; `what` names the document in the error. */
export function parseObject(bytes: Uint8Array, what: string): JsonRecord {
	let value: unknown;
	try {
		value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
	} catch (error) {
		throw new Error(`${what} is not valid JSON: ${(error as Error).message}`);
	}
	return asObject(value, what);
}

export function asObject(value: unknown, what: string): JsonRecord {
	if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error(`${what} must be an object`);
	return value as JsonRecord;
}

/** A member that is a string; undefined when it is missing or null. */
export function optionalString(object: JsonRecord, key: string, what: string): string | undefined {
	const value = object[key] ?? undefined;
	if (value !== undefined && typeof value !== 'string') throw new Error(`${what}: ${key} must be a string`);
	return value;
}

export function requiredString(object: JsonRecord, key: string, what: string): string {
	const value = optionalString(object, key, what);
	if (value === undefined) throw new Error(`${what} has no ${key}`);
	return value;
}

/** A member that is a list of strings; undefined when it is missing or null. */
export function optionalStrings(object: JsonRecord, key: string, what: string): readonly string[] | undefined {
	const value = object[key] ?? undefined;
	if (value === undefined) return undefined;
	if (!Array.isArray(value) || value.some((item) => typeof item !== 'string')) {
		throw new Error(`${what}: ${key} must be a list of strings`);
	}
	return value as string[];
}

/** A member that maps strings to strings; undefined when it is missing or null. */
export function optionalStringMap(object: JsonRecord, key: string, what: string): Readonly<Record<string, string>> | undefined {
	const value = object[key] ?? undefined;
	if (value === undefined) return undefined;
	const map = asObject(value, `${what}: ${key}`);
	if (Object.values(map).some((item) => typeof item !== 'string')) throw new Error(`${what}: ${key} must hold strings`);
	return map as Readonly<Record<string, string>>;
}

/** A member that is a list; undefined when it is missing or null. */
export function optionalList(object: JsonRecord, key: string, what: string): readonly unknown[] | undefined {
	const value = object[key] ?? undefined;
	if (value !== undefined && !Array.isArray(value)) throw new Error(`${what}: ${key} must be a list`);
	return value;
}
