// --call and --check: instead of an image, what the frontend has to say about the Dockerfile.
import { csvFields } from '../../../frontend/text/csv.js';
import { formatSource } from '../../../frontend/errors.js';
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

export interface CallResult {
	/** For standard output. */
	readonly text: string;
	readonly exitCode: number;
	/** What the build would fail with, with its place. */
	readonly error?: string;
}

/** What to print for the frontend's answer. `dockerfile` is what the user calls the Dockerfile. */
export function callResult(call: Call, metadata: Readonly<Record<string, string>>, dockerfile: string): CallResult {
	const exitCode = call.ignoreStatus ? 0 : Number(metadata['result.statuscode'] ?? 0) || 0;
	const json = metadata['result.json'] ?? '';
	const text = call.format === 'json' ? `${json}\n` : metadata['result.txt'] ?? '';
	return call.name === 'lint' ? lintResult(call, { text, exitCode }, JSON.parse(json) as LintResults, dockerfile) : { text, exitCode };
}

interface LintResults {
	readonly warnings?: readonly unknown[] | null;
	readonly sources?: readonly { readonly filename: string; readonly data: string }[];
	readonly buildError?: {
		readonly message: string;
		readonly location?: { readonly ranges?: readonly { readonly start: { readonly line: number }; readonly end: { readonly line: number } }[] };
	};
}

function lintResult({ format }: Call, { text, exitCode }: CallResult, { warnings, sources, buildError }: LintResults, dockerfile: string): CallResult {
	const count = warnings?.length ?? 0;
	const named = format === 'json' ? text : `${lintHeading(count, buildError !== undefined)}${renamed(text, sources?.[0]?.filename ?? '', dockerfile)}`;
	if (!buildError) return { text: named, exitCode };
	const [source] = sources ?? [];
	const ranges = (buildError.location?.ranges ?? []).map(({ start, end }) => ({ start: { line: start.line, character: 0 }, end: { line: end.line, character: 0 } }));
	const excerpt = source ? formatSource({ info: { filename: dockerfile, data: Buffer.from(source.data, 'base64'), language: 'Dockerfile', definition: undefined }, ranges }) : '';
	return { text: `${named}${format !== 'json' && count > 0 ? '\n' : ''}`, exitCode: 1, error: `${buildError.message}\n${excerpt}` };
}

function lintHeading(count: number, fails: boolean): string {
	if (count === 1) return 'Check complete, 1 warning has been found!\n';
	if (count > 1) return `Check complete, ${count} warnings have been found!\n`;
	return fails ? '' : 'Check complete, no warnings found.\n';
}

/** The frontend knows the Dockerfile by the name it has in its directory; excerpts begin with `NAME:LINE`. */
function renamed(text: string, from: string, to: string): string {
	return text.split('\n').map((line) => (line.startsWith(`${from}:`) && /^\d+$/.test(line.slice(from.length + 1)) ? `${to}${line.slice(from.length)}` : line)).join('\n');
}
