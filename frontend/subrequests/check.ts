// --call=check: all the linter has to say, and the error the build would end with.
import type { FrontendClient } from '../client.js';
import { convert } from '../convert/convert.js';
import type { Location } from '../errors.js';
import { formatSource, LocationError, messageOf, rangesOf } from '../errors.js';
import type { LintWarning } from '../lint/linter.js';
import type { SourceInfo } from '../../src/llb/index.js';
import type { Dockerfile } from '../ui/context.js';
import { openDockerfile, sourceInfo } from '../ui/context.js';
import { encodeJson, locationJson, omitEmpty, sourceJson } from './json.js';
import type { Metadata } from './metadata.js';
import { text } from './metadata.js';

export interface CheckResult {
	readonly warnings: readonly LintWarning[];
	readonly source: SourceInfo;
	readonly error?: { readonly message: string; readonly locations: readonly Location[] };
}

/** Places of an error, in order and each line once. */
function merge(locations: readonly Location[]): Location[] {
	const merged: Location[] = [];
	const lines = locations.flatMap(({ start, end }) => Array.from({ length: Math.max(1, end - start + 1) }, (_, i) => start + i));
	for (const line of [...new Set(lines)].sort((a, b) => a - b)) merged.push({ start: line, end: line });
	return merged;
}

/** Checks the stages a target needs, or all when none is given. */
export async function checkDockerfile(client: FrontendClient, dockerfile?: Dockerfile): Promise<CheckResult> {
	const { ui, entrypoint } = dockerfile ?? await openDockerfile(client);
	const warnings: LintWarning[] = [];
	const source = sourceInfo(entrypoint);
	try {
		await convert({
			ui,
			sourceMap: entrypoint.sourceMap,
			allStages: ui.config.target === '',
			warn: (warning) => warnings.push(warning),
		});
	} catch (error) {
		const locations = error instanceof LocationError ? error.locations : [];
		return { warnings, source, error: { message: messageOf(error), locations: merge(locations) } };
	}
	return { warnings, source };
}

/** The warnings as they are printed, by line. */
export function formatWarnings({ warnings, source }: CheckResult): string {
	const sorted = [...warnings].sort((a, b) => a.location.start - b.location.start);
	return sorted.map(({ rule, message, location }) => {
		const title = `\nWARNING: ${rule.name}${rule.url === '' ? '' : ` - ${rule.url}`}\n${message}\n`;
		return title + formatSource({ info: source, ranges: rangesOf(location) });
	}).join('');
}

export function checkMetadata(result: CheckResult): Metadata {
	const warnings = result.warnings.map(({ rule, message, location }) => ({
		ruleName: rule.name,
		...omitEmpty({ description: rule.description, url: rule.url, detail: message }),
		location: locationJson([location]),
	}));
	const json = {
		warnings: warnings.length > 0 ? warnings : null,
		sources: [sourceJson(result.source)],
		...(result.error ? { buildError: { message: result.error.message, location: locationJson(result.error.locations) } } : {}),
	};
	const status = result.warnings.length > 0 || result.error ? '1' : '0';
	return new Map([
		['result.json', encodeJson(json)],
		['result.txt', text(formatWarnings(result))],
		['result.statuscode', text(status)],
		['version', text('1.0.0')],
	]);
}
