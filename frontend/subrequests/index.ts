// Requests a client may make instead of a build (`requestid` in the options): what buildx calls --call.
import type { FrontendClient } from '../client.js';
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

/** A client asks for something this frontend does not do. */
export class UnsupportedError extends Error {
	override readonly name = 'UnsupportedError';
}

const capabilities = new Set(['moby.buildkit.frontend.inputs', 'moby.buildkit.frontend.subrequests', 'moby.buildkit.frontend.contexts',
	'moby.buildkit.frontend.gitquerystring']);

/** @throws UnsupportedError when `frontend.caps` asks for more than there is. */
export function checkFrontendCaps(opts: Readonly<Record<string, string>>): void {
	for (const wanted of (opts['frontend.caps'] ?? '').split(',').filter((one) => one !== '')) {
		const [name = ''] = wanted.split('+');
		if (!capabilities.has(name)) throw new UnsupportedError(`unsupported frontend capability ${name}`);
	}
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
export async function handleSubrequest(client: FrontendClient): Promise<Metadata | undefined> {
	const request = client.opts['requestid'];
	switch (request) {
		case undefined: return undefined;
		case 'frontend.lint': return checkMetadata(await checkDockerfile(client));
		case 'frontend.outline': return outlineMetadata(await outlineDockerfile(client));
		case 'frontend.targets': return targetsMetadata(await listTargets(client));
		case 'frontend.subrequests.describe': return describe();
		default: throw new UnsupportedError(`unsupported request ${request}`);
	}
}
