/** JSON as Go's encoding/json writes it, which escapes more than JavaScript does. `indent` as in JSON.stringify. */
export function goJson(value: unknown, indent?: number): string {
	return JSON.stringify(value, undefined, indent).replace(/[<>&\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
