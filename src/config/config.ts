// buildkitd.toml as a value: moby/buildkit cmd/buildkitd/config. Keys that have no meaning for obd are listed,
// so that a daemon can say that it does not look at them.
import { readFile } from 'node:fs/promises';
import { parse, TomlError } from 'smol-toml';
import type { HostConfigs } from '../registry/index.js';
import type { GcConfig, GcPolicy } from './gc.js';
import { bytesOf } from './quantities.js';
import { parseRegistries } from './registries.js';
import { Table } from './table.js';

export interface Config {
	readonly root: string | undefined;
	/** `error`, `warn`, `info`, `debug` or `trace`. */
	readonly logLevel: string | undefined;
	readonly logFormat: string | undefined;
	/** `network.host`, `security.insecure`: what clients may ask for. */
	readonly entitlements: readonly string[];
	readonly grpc: GrpcConfig;
	readonly worker: WorkerConfig;
	readonly hosts: HostConfigs;
	readonly dns: Dns | undefined;
	readonly history: HistoryConfig;
	readonly dockerfileFrontend: boolean;
	readonly gatewayFrontend: boolean;
	/** Repositories whose images may be run as frontends; empty: all. */
	readonly allowedFrontends: readonly string[];
	/** Where what is said in the provenance of every build is (provenance-env.ts). */
	readonly provenanceEnvDir: string | undefined;
	/** Keys of the file that change nothing here. */
	readonly ignored: readonly string[];
}

export interface GrpcConfig {
	readonly addresses: readonly string[] | undefined;
	readonly uid: number | undefined;
	readonly gid: number | undefined;
	readonly tls: { readonly cert: string | undefined; readonly key: string | undefined; readonly ca: string | undefined };
}

export interface WorkerConfig {
	readonly enabled: boolean | undefined;
	readonly labels: Readonly<Record<string, string>>;
	readonly platforms: readonly string[] | undefined;
	readonly gc: GcConfig;
	readonly networkMode: string | undefined;
	/** The runtime's program, instead of runc. */
	readonly binary: string | undefined;
	readonly cgroupParent: string | undefined;
	readonly apparmorProfile: string | undefined;
	/** Steps that run at once; undefined: obd decides. */
	readonly maxParallelism: number | undefined;
	/** obd's own key: what --device says elsewhere. */
	readonly device: string | undefined;
}

export interface Dns {
	readonly nameservers: readonly string[];
	readonly options: readonly string[];
	readonly searchDomains: readonly string[];
}

export interface HistoryConfig {
	/** Milliseconds. */
	readonly maxAge: number | undefined;
	readonly maxEntries: number | undefined;
}

const known = new Set(['debug', 'trace', 'root', 'insecure-entitlements', 'log', 'grpc', 'worker', 'registry', 'dns', 'history', 'frontend', 'provenanceEnvDir']);

/** Reads a file; undefined when it is not there. Errors name the file and the line or key. */
export async function readConfig(file: string): Promise<Config | undefined> {
	let text: string;
	try {
		text = await readFile(file, 'utf8');
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
		throw new Error(`failed to read ${file}: ${(error as Error).message}`, { cause: error });
	}
	try {
		return parseConfig(text);
	} catch (error) {
		throw new Error(`failed to load config from ${file}: ${error instanceof TomlError ? `line ${error.line}, column ${error.column}: ` : ''}${firstLine((error as Error).message)}`, { cause: error });
	}
}

export function parseConfig(text: string): Config {
	const file = new Table(parse(text));
	const worker = file.table('worker');
	const frontend = file.table('frontend');
	const gateway = frontend.table('gateway.v0');
	const history = file.table('history');
	const log = file.table('log');
	return {
		root: file.string('root'),
		logLevel: log.string('level') ?? (file.boolean('trace') === true ? 'trace' : file.boolean('debug') === true ? 'debug' : undefined),
		logFormat: log.string('format'),
		entitlements: file.strings('insecure-entitlements') ?? [],
		grpc: parseGrpc(file.table('grpc')),
		worker: parseWorker(worker.table('oci')),
		hosts: parseRegistries(file.table('registry')),
		dns: parseDns(file.table('dns')),
		history: { maxAge: history.duration('maxAge'), maxEntries: history.number('maxEntries') },
		dockerfileFrontend: frontend.table('dockerfile.v0').boolean('enabled') ?? true,
		gatewayFrontend: gateway.boolean('enabled') ?? true,
		allowedFrontends: gateway.strings('allowedRepositories') ?? [],
		provenanceEnvDir: file.string('provenanceEnvDir'),
		ignored: [...file.keys().filter((key) => !known.has(key)), ...worker.keys().filter((key) => key !== 'oci').map((key) => `worker.${key}`)],
	};
}

function parseGrpc(table: Table): GrpcConfig {
	const tls = table.table('tls');
	return {
		addresses: table.strings('address'),
		uid: table.number('uid'),
		gid: table.number('gid'),
		tls: { cert: tls.string('cert'), key: tls.string('key'), ca: tls.string('ca') },
	};
}

function parseWorker(table: Table): WorkerConfig {
	const labels = table.table('labels');
	return {
		enabled: table.boolean('enabled'),
		labels: Object.fromEntries(labels.keys().map((key) => [key, labels.string(key) ?? ''])),
		platforms: table.strings('platforms'),
		gc: parseGc(table),
		networkMode: table.string('networkMode'),
		binary: table.string('binary') || undefined,
		cgroupParent: table.string('defaultCgroupParent') || undefined,
		apparmorProfile: table.string('apparmor-profile') || undefined,
		maxParallelism: table.number('max-parallelism') || undefined,
		device: table.string('device') || undefined,
	};
}

function parseGc(table: Table): GcConfig {
	const reservedSpace = table.diskSpace('reservedSpace') ?? table.diskSpace('gckeepstorage');
	const maxUsedSpace = table.diskSpace('maxUsedSpace');
	const minFreeSpace = table.diskSpace('minFreeSpace');
	const rules = table.tables('gcpolicy').map(parsePolicy);
	return {
		enabled: table.boolean('gc') ?? true,
		...(reservedSpace && { reservedSpace }),
		...(maxUsedSpace && { maxUsedSpace }),
		...(minFreeSpace && { minFreeSpace }),
		...(rules.length > 0 && { policies: ({ total }) => rules.map((rule) => rule(total)) }),
	};
}

/** The rule for a disk of so many bytes. */
function parsePolicy(table: Table): (total: number) => GcPolicy {
	const zero = { bytes: 0 };
	const [reserved, keep] = [table.diskSpace('reservedSpace'), table.diskSpace('keepBytes')];
	const used = table.diskSpace('maxUsedSpace') ?? zero;
	const free = table.diskSpace('minFreeSpace') ?? zero;
	const rule = { all: table.boolean('all') ?? false, filters: table.strings('filters') ?? [], keepDuration: table.duration('keepDuration') ?? 0 };
	return (total) => ({
		...rule,
		reservedSpace: bytesOf(reserved ?? keep ?? zero, total),
		maxUsedSpace: bytesOf(used, total),
		minFreeSpace: bytesOf(free, total),
	});
}

function parseDns(table: Table): Dns | undefined {
	if (table.keys().length === 0) return undefined;
	return { nameservers: table.strings('nameservers') ?? [], options: table.strings('options') ?? [], searchDomains: table.strings('searchDomains') ?? [] };
}

function firstLine(text: string): string {
	return text.split('\n')[0] ?? text;
}
