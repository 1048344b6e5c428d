// The text of --help, in docker's form.
import { buildFlags, obdFlags } from './flags.js';
import type { Flag } from './flag-set.js';

export const usageLine = 'obd-build [OPTIONS] PATH | URL | -';

/** What follows the message of a usage error. */
export const usageHint = `Usage:  ${usageLine}\n\nRun 'obd-build --help' for more information`;

/** @param columns width of the terminal */
export function helpText(columns: number): string {
	return [
		`Usage:  ${usageLine}`,
		'',
		'Start a build; the image has overlaybd layers that start on demand',
		'',
		'Options:',
		flagUsages(buildFlags, columns),
		'',
		'Options of obd (those above are as in docker buildx build):',
		flagUsages(obdFlags, columns),
		'',
	].join('\n');
}

const minimumText = 24;

export function flagUsages(flags: readonly Flag[], columns: number): string {
	const rows = flags.filter((flag) => !flag.hidden).map((flag) => ({ head: head(flag), text: text(flag) }));
	const indent = Math.max(...rows.map((row) => row.head.length)) + 3;
	const width = Math.max(columns - 1 - indent, minimumText);
	return rows.map((row) => row.head.padEnd(indent) + wrap(row.text, width).join(`\n${' '.repeat(indent)}`)).join('\n');
}

const valueTypes: Readonly<Record<Flag['kind'], string>> = { bool: '', string: 'string', list: 'stringArray', csv: 'strings' };

function head(flag: Flag): string {
	const names = `${flag.short === undefined ? '    ' : `-${flag.short}, `}--${flag.name}`;
	return `  ${names} ${flag.type ?? valueTypes[flag.kind]}`.trimEnd();
}

function text(flag: Flag): string {
	const help = flag.choices ? `${flag.help} (${flag.choices.map((choice) => JSON.stringify(choice)).join(', ')})` : flag.help;
	if (flag.default === undefined) return help;
	return `${help} (default ${JSON.stringify(flag.default)})`;
}

function wrap(text: string, width: number): readonly string[] {
	const lines: string[] = [];
	let line = '';
	for (const word of text.split(' ')) {
		if (line !== '' && line.length + 1 + word.length > width) {
			lines.push(line);
			line = word;
		} else {
			line = line === '' ? word : `${line} ${word}`;
		}
	}
	return [...lines, line];
}
