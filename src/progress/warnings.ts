// The warnings of a build, listed once more at its end, as buildx does.
import type { VertexWarning } from '../solver/status.js';

const yellow = '\u001b[33m';
const reset = '\u001b[0m';

/** '' without warnings. Warnings that differ in nothing but their vertex are listed once. */
export function formatWarnings(warnings: readonly VertexWarning[], colors: boolean): string {
	const unique = [...new Map(warnings.map((warning) => [key(warning), warning])).values()];
	if (unique.length === 0) return '';
	const heading = `${unique.length === 1 ? '1 warning' : `${unique.length} warnings`} found:\n`;
	const list = unique.map((warning) => ` - ${warning.short}\n`).join('');
	return `\n ${colors ? `${yellow}${heading}${reset}` : heading}${list}`;
}

function key({ level, short, detail, url, source, ranges }: VertexWarning): string {
	return JSON.stringify([level, short, detail, url, source?.filename, ranges]);
}
