// From flags to one BuildRequest, everything checked.
import type { Readable } from 'node:stream';
import type { BuildRequest } from '../../builder/index.js';
import { csvFields } from '../../../frontend/text/csv.js';
import { parseBytes } from '../../../frontend/text/size.js';
import { defaultPlatform, formatPlatformAll, normalizePlatform, parsePlatform } from '../../image/index.js';
import { attestAttributes } from './attest.js';
import { caches } from './cache.js';
import { callAttributes, parseCall, type Call } from './call.js';
import { allowed, argumentOf, extraHosts, networkMode, ulimits } from './container-options.js';
import { parseBool, type ParsedFlags } from './flag-set.js';
import { findInputs } from './inputs.js';
import { parseSecrets, parseSsh } from './lent.js';
import { parseOutputs } from './outputs.js';

type Environment = Readonly<Record<string, string | undefined>>;

export interface Surroundings {
	readonly env: Environment;
	readonly stdin: Readable;
	readonly stdoutIsTerminal: boolean;
	/** Where `--load` has the archive for docker written. */
	readonly loadPath: string;
	/** Ends what waits for others. */
	readonly signal: AbortSignal;
}

export interface PreparedRequest {
	readonly request: BuildRequest;
	readonly call: Call | undefined;
	/** What the user should know, and does not stop the build. */
	readonly warnings: readonly string[];
	/** What the Dockerfile is called where the user is told of it. */
	readonly dockerfileName: string;
	/** Removes what was written for the build (a Dockerfile from stdin). */
	readonly release: () => Promise<void>;
}

/** Throws errors with docker's texts; nothing is left behind then. */
export async function prepareRequest(flags: ParsedFlags, context: string, surroundings: Surroundings): Promise<PreparedRequest> {
	const { env } = surroundings;
	const call = parseCall(flags.bool('check') ? 'check' : flags.string('call'));
	const attributes = frontendAttributes(flags, env, call);
	const network = networkMode(flags.string('network'));
	const outputFlags = {
		outputs: flags.list('output'),
		push: flags.bool('push'),
		load: flags.bool('load'),
		loadPath: surroundings.loadPath,
		tags: flags.list('tag'),
		stdoutIsTerminal: surroundings.stdoutIsTerminal,
		isCall: call !== undefined,
	};
	const request = {
		exports: await parseOutputs(outputFlags),
		secrets: parseSecrets(flags.list('secret'), env),
		ssh: parseSsh(flags.list('ssh'), env),
		allow: [...allowed(flags.list('allow')), ...(network === 'host' ? ['network.host'] : [])],
		insecureRegistries: flags.list('insecure-registry'),
	};
	if (flags.has('iidfile') && request.exports.some(({ type }) => type === 'local' || type === 'tar')) {
		throw new Error('local and tar exporters are incompatible with image ID file');
	}
	const cache = await caches(flags.list('cache-from'), flags.list('cache-to'));
	const inputs = await findInputs({ context, file: flags.string('file'), namedContexts: flags.list('build-context'), stdin: surroundings.stdin, signal: surroundings.signal }).catch((error: unknown) => {
		surroundings.signal.throwIfAborted();
		throw new Error(`failed to build: ${(error as Error).message}`, { cause: error });
	});
	return {
		request: { ...request, localDirectories: inputs.directories, uploads: inputs.uploads, contentStores: { ...inputs.contentStores, ...cache.contentStores }, cacheImports: cache.imports, cacheExports: cache.exports, frontendAttributes: { ...attributes, ...inputs.attributes } },
		call,
		dockerfileName: inputs.dockerfileName,
		warnings: cache.warnings,
		release: inputs.release,
	};
}

function frontendAttributes(flags: ParsedFlags, env: Environment, call: Call | undefined): Readonly<Record<string, string>> {
	const buildArgs = keyValues(flags.list('build-arg'), (name) => env[name]);
	const epoch = env['SOURCE_DATE_EPOCH'];
	if (epoch && buildArgs['SOURCE_DATE_EPOCH'] === undefined) buildArgs['SOURCE_DATE_EPOCH'] = epoch;
	if (flags.bool('no-cache') && flags.list('no-cache-filter').length > 0) throw new Error('--no-cache and --no-cache-filter cannot currently be used together');

	const attestations = { attest: flags.list('attest'), provenance: flags.string('provenance'), sbom: flags.string('sbom') };
	const attributes: Record<string, string> = { ...callAttributes(call), ...attestAttributes(attestations) };
	for (const [name, value] of Object.entries(buildArgs)) attributes[`build-arg:${name}`] = value;
	for (const [name, value] of Object.entries(keyValues(flags.list('label'), () => ''))) attributes[`label:${name}`] = value;
	const optional = {
		target: flags.string('target'),
		platform: platforms(flags.list('platform').length > 0 ? flags.list('platform') : [env['DOCKER_DEFAULT_PLATFORM'] ?? '']),
		'cgroup-parent': flags.string('cgroup-parent'),
		'image-resolve-mode': flags.bool('pull') ? 'pull' : '',
		'force-network-mode': networkMode(flags.string('network')) ?? '',
		'add-hosts': extraHosts(flags.list('add-host')),
		'shm-size': shmSize(flags.string('shm-size')),
		ulimit: ulimits(flags.list('ulimit')),
		'multi-platform': parseBool(buildArgs['BUILDKIT_MULTI_PLATFORM'] ?? '') === true ? 'true' : '',
	};
	for (const [name, value] of Object.entries(optional)) {
		if (value !== '') attributes[name] = value;
	}
	const stages = flags.list('no-cache-filter').flatMap((value) => (value === '' ? [] : csvFields(value)));
	if (stages.length > 0) attributes['no-cache'] = stages.join(',');
	if (flags.bool('no-cache')) attributes['no-cache'] = '';
	return attributes;
}

/** `name=value`; for a lone name what `byDefault` gives, if anything. */
function keyValues(values: readonly string[], byDefault: (name: string) => string | undefined): Record<string, string> {
	const result: Record<string, string> = {};
	for (const value of values) {
		const equals = value.indexOf('=');
		const name = equals < 0 ? value : value.slice(0, equals);
		if (name === '') throw new Error(`invalid key-value pair ${JSON.stringify(value)}: empty key`);
		const given = equals < 0 ? byDefault(name) : value.slice(equals + 1);
		if (given !== undefined) result[name] = given;
	}
	return result;
}

function platforms(values: readonly string[]): string {
	return values.flatMap((value) => value.split(',')).filter((value) => value !== '')
		.map((value) => formatPlatformAll(normalizePlatform(value.toLowerCase() === 'local' ? defaultPlatform() : parsePlatform(value))))
		.join(',');
}

function shmSize(text: string): string {
	const bytes = text === '' ? 0 : argumentOf('shm-size', text, parseBytes);
	return bytes > 0 ? String(bytes) : '';
}
