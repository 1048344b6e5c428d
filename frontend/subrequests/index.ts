// Requests a client may make instead of a build (`requestid` in the options): what buildx calls --call.
import type { FrontendClient } from '../client.js';
import type { Dockerfile } from '../ui/context.js';
import { checkDockerfile, checkMetadata } from './check.js';
import { encodeJson, table } from './json.js';
import type { Metadata } from './metadata.js';
import { text } from './metadata.js';
import { listTargets, targetsMetadata } from './targets.js';
import { outlineDockerfile, outlineMetadata } from './outline.js';

export type { Metadata } from './metadata.js';
export type { CheckResult } from './check.js';
export { checkDockerfile, checkMetadata, formatWarnings } from './check.js';
export type { OutlineArg, OutlineResult, OutlineSecret } from './outline.js';
export { formatOutline, outlineDockerfile, outlineMetadata } from './outline.js';
export type { Target, TargetsResult } from './targets.js';
export { formatTargets, listTargets, targetsMetadata } from './targets.js';

/** A client asks for something this frontend does not do. BuildKit's status code for it is Unimplemented. */
export class UnsupportedError extends Error {
	override readonly name = 'UnsupportedError';

	/** @param feature the name of what was asked for */
	constructor(readonly kind: 'capability' | 'request', readonly feature: string) {
		super(kind === 'capability' ? `unsupported frontend capability ${feature}` : `unsupported request ${feature}`);
	}
}

const capabilities = new Set(['moby.buildkit.frontend.inputs', 'moby.buildkit.frontend.subrequests', 'moby.buildkit.frontend.contexts',
	'moby.buildkit.frontend.gitquerystring']);

/** What `frontend.caps` asks for in vain. `forward`: another frontend, if the Dockerfile names one, may have all of it. */
export function missingFrontendCap(opts: Readonly<Record<string, string>>): { readonly error: UnsupportedError; readonly forward: boolean } | undefined {
	const wanted = (opts['frontend.caps'] ?? '').split(',').filter((one) => one !== '');
	const missing = wanted.filter((one) => !capabilities.has(one.split('+', 1)[0] ?? ''));
	const final = missing.find((one) => !one.includes('+forward'));
	const worst = final ?? missing.at(-1);
	return worst === undefined ? undefined : { error: new UnsupportedError('capability', worst.split('+', 1)[0] ?? ''), forward: final === undefined };
}

interface Description {
	readonly name: string;
	readonly description: string;
	readonly opts: readonly { readonly name: string; readonly description: string }[] | null;
	readonly metadata: readonly string[];
}

const described: readonly Description[] = [
	{
		name: 'frontend.outline', description: 'List all parameters current build target supports',
		opts: [{ name: 'target', description: 'Target build stage' }], metadata: ['result.json', 'result.txt'],
	},
	{ name: 'frontend.targets', description: 'List all targets current build supports', opts: [], metadata: ['result.json', 'result.txt'] },
	{ name: 'frontend.subrequests.describe', description: 'List available subrequest types', opts: null, metadata: ['result.json', 'result.txt'] },
];

function describe(): Metadata {
	const json = described.map(({ name, description, opts, metadata }) => ({
		name, version: '1.0.0', type: 'rpc', description, opts, inputs: null, metadata: metadata.map((one) => ({ name: one, description: '' })), refs: null,
	}));
	const rows = described.map(({ name, description }) => [name.replace(/^frontend\./, ''), '1.0.0', description]);
	return new Map([
		['result.json', encodeJson(json)],
		['result.txt', text(table([['NAME', 'VERSION', 'DESCRIPTION'], ...rows], 1))],
		['version', text('1.0.0')],
	]);
}

/**
 * Answers the request the options make; undefined when they ask for a build.
 * @throws UnsupportedError for a request nobody knows.
 */
export async function handleSubrequest(client: FrontendClient, dockerfile?: Dockerfile): Promise<Metadata | undefined> {
	const request = client.opts['requestid'];
	switch (request) {
		case undefined: return undefined;
		case 'frontend.lint': return checkMetadata(await checkDockerfile(client, dockerfile));
		case 'frontend.outline': return outlineMetadata(await outlineDockerfile(client, dockerfile));
		case 'frontend.targets': return targetsMetadata(await listTargets(client, dockerfile));
		case 'frontend.subrequests.describe': return describe();
		default: throw new UnsupportedError('request', request);
	}
}
