// One line of comma separated values, as the values of --mount and of several options are written.

/**
 * Fields of one line; a field may be in double quotes, with "" for a quote.
 * @throws Error with encoding/csv's text.
 */
export function csvFields(line: string): string[] {
	let rest = line.replace(/\r?\n$/, '');
	if (rest === '') throw new Error('EOF');
	const total = rest.length;
	const fail = (index: number, what: string): Error => new Error(`parse error on line 1, column ${Buffer.byteLength(line.slice(0, index)) + 1}: ${what}`);
	const fields: string[] = [];
	for (;;) {
		if (!rest.startsWith('"')) {
			const comma = rest.indexOf(',');
			const field = comma < 0 ? rest : rest.slice(0, comma);
			const bare = field.indexOf('"');
			if (bare >= 0) throw fail(total - rest.length + bare, 'bare " in non-quoted field');
			fields.push(field);
			if (comma < 0) return fields;
			rest = rest.slice(comma + 1);
			continue;
		}
		const quoted = /^"((?:[^"]|"")*)"/.exec(rest);
		if (!quoted) throw fail(total, 'extraneous or missing " in quoted-field');
		fields.push((quoted[1] ?? '').replaceAll('""', '"'));
		const after = rest.slice(quoted[0].length);
		if (after === '') return fields;
		if (!after.startsWith(',')) throw fail(total - after.length - 1, 'extraneous or missing " in quoted-field');
		rest = after.slice(1);
	}
}
