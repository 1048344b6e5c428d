// The SLSA provenance predicate of a build, v1 and v0.2, as BuildKit writes it.
import { randomBytes } from 'node:crypto';
import { digestAlgorithm, digestHex, encodeJson, fromParsed, ordered, type Json, type OrderedObject } from '../../image/index.js';
import { imagePurl } from '../../exporters/index.js';
import { formatPlatform, hostPlatform, type Definition } from '../../llb/index.js';
import { buildConfig, sourceInfo } from './build-config.js';
import type { Capture } from './capture.js';
import type { ProvenanceOptions } from './options.js';

const buildTypes = {
	'v1': 'https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md',
	'v0.2': 'https://mobyproject.org/buildkit@v1',
} as const;
export const predicateTypes = { 'v1': 'https://slsa.dev/provenance/v1', 'v0.2': 'https://slsa.dev/provenance/v0.2' } as const;
/** The compatibility version of the BuildKit whose behaviour this is. */
const compatibilityVersion = 30;
/** Arguments that say something of this host rather than of the build. */
const hostArguments: ReadonlySet<string> = new Set(['cgroup-parent', 'image-resolve-mode', 'platform', 'cache-imports']);

export interface FrontendRequest {
	/** `dockerfile.v0`, ... */
	readonly frontend: string;
	readonly attributes: Readonly<Record<string, string>>;
}

export interface PredicateInput {
	readonly request: FrontendRequest | undefined;
	readonly capture: Capture;
	readonly definition: Definition | undefined;
	readonly options: ProvenanceOptions;
	readonly started: Date;
	readonly finished: Date;
}

/** The predicate's bytes. */
export function predicate(input: PredicateInput): Uint8Array {
	return encodeJson(input.options.version === 'v1' ? version1(input) : version02(input), '  ');
}

function version1(input: PredicateInput): OrderedObject {
	const { options, started, finished } = input;
	const { configSource, request, vcs } = requestOf(input);
	const { isComplete, isHermetic } = completeness(input);
	return ordered([
		['buildDefinition', ordered([
			['buildType', buildTypes.v1],
			['resolvedDependencies', list(materials(input.capture))],
			['externalParameters', ordered([['configSource', configSource], ['request', request.json]])],
			['internalParameters', ordered([
				['buildConfig', configOf(input)],
				['builderPlatform', formatPlatform(hostPlatform())],
			])],
		])],
		['runDetails', ordered([
			['builder', ordered([['id', options.builderId]])],
			['metadata', ordered([
				['invocationId', invocationId()],
				['startedOn', started.toISOString()],
				['finishedOn', finished.toISOString()],
				['buildkit_metadata', buildkitMetadata(input, vcs)],
				['buildkit_hermetic', isHermetic || undefined],
				['buildkit_completeness', ordered([['request', request.isComplete], ['resolvedDependencies', isComplete]])],
				['buildkit_reproducible', options.reproducible || undefined],
			])],
		])],
	]);
}

function version02(input: PredicateInput): OrderedObject {
	const { options, started, finished } = input;
	const { configSource, request, vcs } = requestOf(input);
	const { isComplete, isHermetic } = completeness(input);
	return ordered([
		['builder', ordered([['id', options.builderId]])],
		['buildType', buildTypes['v0.2']],
		['materials', list(materials(input.capture))],
		['invocation', ordered([
			['configSource', ordered([...configSource].map(([key, value]) => [key === 'path' ? 'entryPoint' : key, value]))],
			['parameters', request.json],
			['environment', ordered([['platform', formatPlatform(hostPlatform())]])],
		])],
		['buildConfig', configOf(input)],
		['metadata', ordered([
			['buildInvocationID', invocationId()],
			['buildStartedOn', started.toISOString()],
			['buildFinishedOn', finished.toISOString()],
			['completeness', ordered([['parameters', request.isComplete], ['environment', true], ['materials', isComplete]])],
			['reproducible', options.reproducible],
			['https://mobyproject.org/buildkit@v1#metadata', buildkitMetadata(input, vcs)],
			['https://mobyproject.org/buildkit@v1#hermetic', isHermetic || undefined],
		])],
	]);
}

function completeness({ capture }: PredicateInput): { readonly isComplete: boolean; readonly isHermetic: boolean } {
	const isComplete = !capture.isIncomplete && capture.locals.length === 0;
	return { isComplete, isHermetic: isComplete && !capture.networkAccess };
}

function materials({ images, git, http }: Capture): OrderedObject[] {
	return [
		...images.map(({ reference, digest, platform, local }) => material(imagePurl(local ? 'oci' : 'docker', reference, platform), digestAlgorithm(digest), digestHex(digest))),
		...git.map(({ url, commit }) => material(url, commitAlgorithm(commit), commit)),
		...http.map(({ url, digest }) => material(url, digestAlgorithm(digest), digestHex(digest))),
	];
}

function material(uri: string, algorithm: string, hex: string): OrderedObject {
	return ordered([['uri', uri], ['digest', ordered([[algorithm, hex]])]]);
}

function commitAlgorithm(commit: string): string {
	return commit.length === 64 ? 'sha256' : 'sha1';
}

interface RequestParts {
	readonly configSource: OrderedObject;
	readonly request: { readonly json: OrderedObject; readonly isComplete: boolean };
	readonly vcs: Readonly<Record<string, string>>;
}

/** What was asked for. `mode=min` leaves out what may be nobody's business: arguments, labels, secrets. */
function requestOf({ request, capture, options }: PredicateInput): RequestParts {
	const args = new Map(Object.entries(request?.attributes ?? {}).filter(([key]) => !hostArguments.has(key) && !key.startsWith('attest:')));
	const take = (key: string): string => {
		const value = args.get(key) ?? '';
		args.delete(key);
		return value;
	};
	const context = take(args.get('contextkey') || 'context');
	const file = take('filename');
	const vcs = Object.fromEntries([...args.keys()].filter((key) => key.startsWith('vcs:')).map((key) => [key.slice('vcs:'.length), redact(take(key))]).filter(([, value]) => value !== ''));
	const isMin = options.mode === 'min';
	const hidden = isMin ? [...args.keys()].filter((key) => key.startsWith('build-arg:') || key.startsWith('label:')) : [];
	for (const key of hidden) args.delete(key);
	for (const [key, value] of args) if (key.startsWith('context:')) args.set(key, redact(value));
	const found = capture.git.find(({ url }) => url === context) ?? capture.http.find(({ url }) => url === context);
	return {
		configSource: ordered([
			['uri', context === '' ? undefined : redact(context)],
			['digest', found && (found.kind === 'git' ? ordered([[commitAlgorithm(found.commit), found.commit]]) : ordered([[digestAlgorithm(found.digest), digestHex(found.digest)]]))],
			['path', file === '' ? undefined : file],
		]),
		request: {
			json: ordered([
				['frontend', request?.frontend],
				['args', args.size === 0 ? undefined : ordered([...args].sort(([a], [b]) => (a < b ? -1 : 1)))],
				['secrets', isMin ? undefined : list(capture.secrets.map(lentJson))],
				['ssh', isMin ? undefined : list(capture.ssh.map(lentJson))],
				['locals', list(capture.locals.map((name) => ordered([['name', name]])))],
				['compatibilityVersion', compatibilityVersion],
			]),
			isComplete: request !== undefined && hidden.length === 0,
		},
		vcs,
	};
}

function lentJson({ id, optional }: Capture['secrets'][number]): OrderedObject {
	return ordered([['id', id], ['optional', optional || undefined]]);
}

function configOf({ definition, options }: PredicateInput): Json | undefined {
	return options.mode === 'max' && definition ? fromParsed(buildConfig(definition)) : undefined;
}

function buildkitMetadata({ definition, options }: PredicateInput, vcs: Readonly<Record<string, string>>): OrderedObject {
	const source = options.mode === 'max' && definition ? sourceInfo(definition) : undefined;
	return ordered([
		['vcs', Object.keys(vcs).length > 0 ? fromParsed(vcs) : undefined],
		['source', source && fromParsed(source)],
	]);
}

function redact(text: string): string {
	if (!URL.canParse(text)) return text;
	const url = new URL(text);
	if (url.username === '' && url.password === '') return text;
	if (url.username !== '') url.username = 'xxxxx';
	if (url.password !== '') url.password = 'xxxxx';
	return url.href;
}

function list(items: readonly Json[]): readonly Json[] | undefined {
	return items.length > 0 ? items : undefined;
}

/** 25 characters of base 36, as BuildKit's ids. */
function invocationId(): string {
	return BigInt(`0x${randomBytes(17).toString('hex')}`).toString(36).padStart(25, '0').slice(-25);
}
