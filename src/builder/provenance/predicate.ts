// The SLSA provenance predicate of a build, v1 and v0.2, as BuildKit writes it.
import { randomBytes } from 'node:crypto';
import { descriptorJson, digestAlgorithm, digestHex, encodeJson, fromParsed, ordered, type Descriptor, type Json, type OrderedObject } from '../../image/index.js';
import { imagePurl } from '../../exporters/index.js';
import { formatPlatform, hostPlatform, type Definition } from '../../llb/index.js';
import { redactCredentials } from '../../sources/index.js';
import { buildConfig, sourceInfo, stepNames } from './build-config.js';
import type { Capture } from './capture.js';
import type { ProvenanceOptions } from './options.js';
import { isEqual, type FrontendRequest } from './requests.js';

const buildTypes = {
	'v1': 'https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md',
	'v0.2': 'https://mobyproject.org/buildkit@v1',
} as const;
export const predicateTypes = { 'v1': 'https://slsa.dev/provenance/v1', 'v0.2': 'https://slsa.dev/provenance/v0.2' } as const;
/** The compatibility version of the BuildKit whose behaviour this is. */
const compatibilityVersion = 30;
/** Arguments that say something of this host rather than of the build. */
const hostArguments: ReadonlySet<string> = new Set(['cgroup-parent', 'image-resolve-mode', 'platform', 'cache-imports']);

/** What a builder says of itself. */
export interface BuilderFacts {
	/** Of the Dockerfile frontend in it. */
	readonly dockerfileVersion?: string | undefined;
	/** What its operator wants to be said of every build. */
	readonly env?: Readonly<Record<string, unknown>>;
}

/** Of an output of a step that the result goes on from. */
export interface StepLayers {
	/** Of the vertex. */
	readonly digest: string;
	readonly index: number;
	/** How many of the result's layers, from the bottom, it has. */
	readonly count: number;
}

export interface PredicateInput {
	readonly request: FrontendRequest;
	/** What the whole build was asked for. */
	readonly root: FrontendRequest;
	readonly capture: Capture;
	readonly definition: Definition | undefined;
	readonly options: ProvenanceOptions;
	readonly builder: BuilderFacts;
	/** Those of the image, bottom first; none where files are exported. */
	readonly layers: readonly Descriptor[];
	readonly stepLayers: readonly StepLayers[];
	readonly started: Date;
	readonly finished: Date;
	/** Names this build. */
	readonly invocation: string;
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
				...builderEntries(input),
			])],
		])],
		['runDetails', ordered([
			['builder', ordered([['id', options.builderId]])],
			['metadata', ordered([
				['invocationId', input.invocation],
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
			['environment', ordered([['platform', formatPlatform(hostPlatform())], ...builderEntries(input)])],
		])],
		['buildConfig', configOf(input)],
		['metadata', ordered([
			['buildInvocationID', input.invocation],
			['buildStartedOn', started.toISOString()],
			['buildFinishedOn', finished.toISOString()],
			['completeness', ordered([['parameters', request.isComplete], ['environment', true], ['materials', isComplete]])],
			['reproducible', options.reproducible],
			['https://mobyproject.org/buildkit@v1#metadata', buildkitMetadata(input, vcs)],
			['https://mobyproject.org/buildkit@v1#hermetic', isHermetic || undefined],
		])],
	]);
}

/** What the builder says of itself; its operator has the last word. */
function builderEntries({ request, builder: { dockerfileVersion, env = {} } }: PredicateInput): [string, Json | undefined][] {
	return [
		['dockerfileVersion', request.frontend === 'dockerfile.v0' ? dockerfileVersion : undefined],
		...Object.entries(env).map(([key, value]): [string, Json] => [key, fromParsed(value)]),
	];
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
function requestOf({ request, root, capture, options }: PredicateInput): RequestParts {
	const isMin = options.mode === 'min';
	const { configSource, args, isWhole, vcs } = argumentsOf(request, capture, isMin);
	const inputs = inputsOf(request, capture, isMin);
	const above = isNamed(root) && !isEqual(root, request) ? producerOf(root, capture, isMin) : undefined;
	return {
		configSource,
		request: {
			json: ordered([
				['frontend', request.frontend || undefined],
				['args', args],
				['secrets', isMin ? undefined : list(capture.secrets.map(lentJson))],
				['ssh', isMin ? undefined : list(capture.ssh.map(lentJson))],
				['locals', list(capture.locals.map((name) => ordered([['name', name]])))],
				['inputs', inputs.json],
				['root', above?.json],
				['compatibilityVersion', compatibilityVersion],
			]),
			isComplete: request.frontend !== '' && isWhole && inputs.isWhole && (above?.isWhole ?? true),
		},
		vcs,
	};
}

interface RequestJson<T> {
	readonly json: T;
	/** Nothing was left out. */
	readonly isWhole: boolean;
}

/** A request that only led to the one the result answers. */
function producerOf(request: FrontendRequest, capture: Capture, isMin: boolean): RequestJson<OrderedObject> {
	const { configSource, args, isWhole } = argumentsOf(request, capture, isMin);
	const inputs = inputsOf(request, capture, isMin);
	const json = ordered([
		['configSource', configSource],
		['request', ordered([['frontend', request.frontend || undefined], ['args', args], ['inputs', inputs.json]])],
	]);
	return { json, isWhole: isWhole && inputs.isWhole };
}

function inputsOf({ inputs }: FrontendRequest, capture: Capture, isMin: boolean): RequestJson<OrderedObject | undefined> {
	const known = [...inputs].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, input]) => [name, producerOf(input, capture, isMin)] as const);
	return {
		json: known.length === 0 ? undefined : ordered(known.map(([name, { json }]) => [name, json])),
		isWhole: known.every(([, { isWhole }]) => isWhole),
	};
}

/** Whether there is anything to say of it. */
function isNamed({ frontend, attributes, inputs }: FrontendRequest): boolean {
	return frontend !== '' || inputs.size > 0 || Object.keys(attributes).some((key) => !isHidden(key));
}

/** Says something of this host, or of what is said of the build. */
function isHidden(key: string): boolean {
	return hostArguments.has(key) || key.startsWith('attest:');
}

interface Arguments {
	readonly configSource: OrderedObject;
	readonly args: OrderedObject | undefined;
	readonly vcs: Readonly<Record<string, string>>;
	readonly isWhole: boolean;
}

function argumentsOf({ attributes }: FrontendRequest, capture: Capture, isMin: boolean): Arguments {
	const args = new Map(Object.entries(attributes).filter(([key]) => !isHidden(key)));
	const take = (key: string): string => {
		const value = args.get(key) ?? '';
		args.delete(key);
		return value;
	};
	const context = take(args.get('contextkey') || 'context');
	const file = take('filename');
	const vcs = Object.fromEntries([...args.keys()].filter((key) => key.startsWith('vcs:')).map((key) => [key.slice('vcs:'.length), redactCredentials(take(key))]).filter(([, value]) => value !== ''));
	const hidden = isMin ? [...args.keys()].filter((key) => key.startsWith('build-arg:') || key.startsWith('label:')) : [];
	for (const key of hidden) args.delete(key);
	for (const [key, value] of args) if (key.startsWith('context:')) args.set(key, redactCredentials(value));
	const found = capture.git.find(({ url }) => url === context) ?? capture.http.find(({ url }) => url === context);
	return {
		configSource: ordered([
			['uri', context === '' ? undefined : redactCredentials(context)],
			['digest', found && (found.kind === 'git' ? ordered([[commitAlgorithm(found.commit), found.commit]]) : ordered([[digestAlgorithm(found.digest), digestHex(found.digest)]]))],
			['path', file === '' ? undefined : file],
		]),
		args: args.size === 0 ? undefined : ordered([...args].sort(([a], [b]) => (a < b ? -1 : 1))),
		vcs,
		isWhole: hidden.length === 0,
	};
}

function lentJson({ id, optional }: Capture['secrets'][number]): OrderedObject {
	return ordered([['id', id], ['optional', optional || undefined]]);
}

function configOf({ definition, options }: PredicateInput): Json | undefined {
	return options.mode === 'max' && definition ? fromParsed(buildConfig(definition)) : undefined;
}

function buildkitMetadata(input: PredicateInput, vcs: Readonly<Record<string, string>>): OrderedObject {
	const { definition, options } = input;
	const detailed = options.mode === 'max' ? definition : undefined;
	const source = detailed && sourceInfo(detailed);
	return ordered([
		['vcs', Object.keys(vcs).length > 0 ? fromParsed(vcs) : undefined],
		['source', source && fromParsed(source)],
		['layers', detailed && layersOfSteps(detailed, input)],
	]);
}

/** The layers each step's result has, by `stepN:OUTPUT`: one list, as there is one way to make them. */
function layersOfSteps(definition: Definition, { layers, stepLayers }: PredicateInput): OrderedObject | undefined {
	const names = stepNames(definition);
	const entries = layers.length === 0 ? [] : stepLayers.flatMap(({ digest, index, count }): [string, Json][] => {
		const name = names.get(digest);
		return name === undefined || count === 0 ? [] : [[`${name}:${index}`, [layers.slice(0, count).map(descriptorJson)]]];
	});
	return entries.length > 0 ? ordered(entries.sort(([a], [b]) => (a < b ? -1 : 1))) : undefined;
}

function list(items: readonly Json[]): readonly Json[] | undefined {
	return items.length > 0 ? items : undefined;
}

/** 25 characters of base 36, as BuildKit's ids. */
export function invocationId(): string {
	return BigInt(`0x${randomBytes(17).toString('hex')}`).toString(36).padStart(25, '0').slice(-25);
}
