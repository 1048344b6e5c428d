// Texts as Go's standard library writes them: they are part of definitions and of messages.

/** What Go takes for printable. */
const printable = /[\p{L}\p{M}\p{N}\p{P}\p{S} ]/u;

const short: Readonly<Record<string, string>> = {
	'\u0007': '\\a', '\b': '\\b', '\f': '\\f', '\n': '\\n', '\r': '\\r', '\t': '\\t', '\v': '\\v', '\\': '\\\\', '"': '\\"',
};

/** %q of a string: in double quotes, everything unprintable escaped. */
export function goQuote(text: string): string {
	let out = '"';
	for (const char of text) {
		const code = char.codePointAt(0) ?? 0;
		const known = short[char];
		if (known !== undefined) out += known;
		else if (printable.test(char)) out += char;
		else if (code < 0x80) out += `\\x${code.toString(16).padStart(2, '0')}`;
		else if (code < 0x10000) out += `\\u${code.toString(16).padStart(4, '0')}`;
		else out += `\\U${code.toString(16).padStart(8, '0')}`;
	}
	return `${out}"`;
}

/** JSON without white space; a Map is an object whose members keep their order, whatever they are called. */
function compactJson(value: unknown): string {
	if (Array.isArray(value)) return `[${value.map(compactJson).join(',')}]`;
	if (typeof value !== 'object' || value === null) return JSON.stringify(value);
	const members = value instanceof Map ? [...(value as Map<string, unknown>)] : Object.entries(value);
	return `{${members.filter(([, member]) => member !== undefined).map(([name, member]) => `${JSON.stringify(name)}:${compactJson(member)}`).join(',')}}`;
}

/** JSON as Go's encoding/json writes it, which escapes more than JavaScript does. `indent` as in JSON.stringify. */
export function goJson(value: unknown, indent?: number): string {
	const json = indent === undefined ? compactJson(value) : JSON.stringify(value, undefined, indent);
	return json.replace(/[<>&\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
