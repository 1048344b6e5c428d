// --call and --check: instead of an image, what the frontend has to say about the Dockerfile.
import { csvFields } from '../../../frontend/text/csv.js';
import { parseBool } from './flag-set.js';

export interface Call {
	/** The frontend's name of the request: `lint`, `outline`, `targets`. */
	readonly name: string;
	/** `json`, or '' for text. */
	readonly format: string;
	readonly ignoreStatus: boolean;
}

/** `check`, `outline,format=json`, ...; undefined for an ordinary build. */
export function parseCall(text: string): Call | undefined {
	let [name, format, ignoreStatus] = ['', '', false];
	for (const field of text === '' ? [] : csvFields(text)) {
		const equals = field.indexOf('=');
		const value = field.slice(equals + 1);
		if (equals < 0) {
			if (name !== '') throw new Error(`invalid print value: ${text}`);
			name = field === 'check' ? 'lint' : field;
		} else if (field.startsWith('format=')) {
			format = value;
		} else if (field.startsWith('ignorestatus=')) {
			const ignore = parseBool(value);
			if (ignore === undefined) throw new Error(`invalid ignorestatus print value: ${value}`);
			ignoreStatus = ignore;
		} else {
			throw new Error(`invalid print field: ${field}`);
		}
	}
	return name === '' || name === 'build' ? undefined : { name, format, ignoreStatus };
}

export function callAttributes(call: Call | undefined): Record<string, string> {
	return call ? { requestid: `frontend.${call.name}`, 'frontend.caps': 'moby.buildkit.frontend.subrequests' } : {};
}

/** What to print for the frontend's answer, and the exit code. */
export function callResult(call: Call, metadata: Readonly<Record<string, string>>): { readonly text: string; readonly exitCode: number } {
	const exitCode = call.ignoreStatus ? 0 : Number(metadata['result.statuscode'] ?? 0) || 0;
	if (call.format === 'json') return { text: `${metadata['result.json'] ?? ''}\n`, exitCode };
	const text = metadata['result.txt'] ?? '';
	return { text: call.name === 'lint' ? `${lintHeading(metadata['result.json'])}${text}` : text, exitCode };
}

interface LintResults {
	readonly warnings?: readonly unknown[] | null;
	readonly buildError?: unknown;
}

function lintHeading(json = '{}'): string {
	const { warnings, buildError } = JSON.parse(json) as LintResults;
	const count = warnings?.length ?? 0;
	if (count === 1) return 'Check complete, 1 warning has been found!\n';
	if (count > 1) return `Check complete, ${count} warnings have been found!\n`;
	return buildError === undefined ? 'Check complete, no warnings found.\n' : '';
}
