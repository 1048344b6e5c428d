// Attributes of a source op, checked.
import type { SourceOp } from '../llb/index.js';

/** A list attribute: a JSON array of strings; undefined when it is not given. */
export function listAttribute(op: SourceOp, name: string): readonly string[] | undefined {
	const text = op.attrs.get(name);
	if (text === undefined || text === '') return undefined;
	const list: unknown = JSON.parse(text);
	if (!Array.isArray(list) || list.some((item) => typeof item !== 'string')) throw new Error(`${op.identifier}: ${name} must be a JSON array of strings, not ${text}`);
	return list as string[];
}

/** An integer as Go's strconv reads it with base 0: decimal, 0x, 0o, 0b or a leading 0 for octal. */
export function integerAttribute(op: SourceOp, name: string): number | undefined {
	const text = op.attrs.get(name);
	if (text === undefined) return undefined;
	const octal = /^0[0-7_]*$/.test(text) ? `0o${text.slice(1) || '0'}` : text;
	const value = /^-?(0[xX][\da-fA-F]+|0[oO][0-7]+|0[bB][01]+|\d+)$/.test(octal) ? Number(octal) : NaN;
	if (!Number.isSafeInteger(value)) throw new Error(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
	return value;
}

/** `image.layerlimit`, `oci.layerlimit`: how many layers from the bottom count. */
export function layerLimit(op: SourceOp, name: string): number | undefined {
	const text = op.attrs.get(name);
	if (text === undefined) return undefined;
	if (!/^\+?0*[1-9]\d*$/.test(text)) throw new Error(`invalid layer limit ${text}`);
	return Number(text);
}
